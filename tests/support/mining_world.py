"""A scheduler with miners of given speed and clients, in virtual time and without an event loop."""

import heapq
import itertools
from collections.abc import Callable
from typing import Final

import attrs

from trio440.mining.hashing import hash_of
from trio440.mining.messages import Join, Request, Result
from trio440.mining.ranges import NonceRange
from trio440.mining.scheduler import Disconnect, Scheduler

SECOND: Final = 1_000_000
LATENCY_MICROS: Final = 200


@attrs.define(eq=False)
class ModelMiner:
    """Hashes one chunk after another at its speed; each takes exactly as long as it should."""

    speed: float
    """Nonces a second."""
    free_at: int = 0
    lost: bool = False
    stuck: bool = False
    """It takes chunks and never answers."""
    hashed: int = 0
    chunks: list[int] = attrs.field(factory=list)
    """The sizes of what it was given."""


@attrs.define(eq=False)
class Answer:
    at: int
    result: Result


class MiningWorld:
    """Runs a scheduler against models; every method may be called before or between runs."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self.scheduler = scheduler or Scheduler()
        self.now = 0
        self.miners: dict[int, ModelMiner] = {}
        self.answers: dict[int, list[Answer]] = {}
        self.disconnected: list[int] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._ids = itertools.count(1)

    def at(self, when: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._sequence), action))

    def add_miner(self, speed: float, *, at: int = 0, stuck: bool = False) -> int:
        conn_id = next(self._ids)
        self.miners[conn_id] = ModelMiner(speed, stuck=stuck)
        self.at(at, lambda: self.scheduler.receive(conn_id, Join(), self.now))
        return conn_id

    def lose(self, conn_id: int, *, at: int) -> None:
        def happen() -> None:
            if conn_id in self.miners:
                self.miners[conn_id].lost = True
            self.scheduler.disconnected(conn_id, self.now)

        self.at(at, happen)

    def request(self, size: int, *, at: int = 0, client: int | None = None) -> int:
        conn_id = next(self._ids) if client is None else client
        self.answers.setdefault(conn_id, [])
        message = Request(f"client {conn_id}", NonceRange(0, size - 1))
        self.at(at, lambda: self.scheduler.receive(conn_id, message, self.now))
        return conn_id

    def finished_at(self, client: int) -> float:
        """Return when a client got its only answer, in seconds."""
        (answer,) = self.answers[client]
        return answer.at / SECOND

    def run(self, until: int = 10**15) -> None:
        """Let time pass until nothing more happens, or to a given microsecond."""
        while True:
            deadline = self.scheduler.next_deadline()
            event = self._events[0][0] if self._events else None
            if event is not None and (deadline is None or event <= deadline):
                if event > until:
                    break
                self.now, _, action = heapq.heappop(self._events)
                action()
            elif deadline is not None and deadline <= until:
                self.now = max(self.now, deadline)
                self.scheduler.on_deadline(self.now)
                assert self.scheduler.next_deadline() != deadline
            else:
                break
            self._perform()

    def _perform(self) -> None:
        for action in self.scheduler.actions():
            if isinstance(action, Disconnect):
                self.disconnected.append(action.conn_id)
            elif isinstance(action.message, Request):
                self._mine(action.conn_id, action.message)
            else:
                assert isinstance(action.message, Result)
                self.answers[action.conn_id].append(Answer(self.now, action.message))

    def _mine(self, conn_id: int, request: Request) -> None:
        miner = self.miners[conn_id]
        miner.chunks.append(request.nonces.size)
        if miner.stuck:
            return
        start = max(miner.free_at, self.now + LATENCY_MICROS)
        miner.free_at = start + int(request.nonces.size / miner.speed * SECOND)
        nonce = request.nonces.lower  # a right hash, though not the least: time is the matter here
        result = Result(hash_of(request.text, nonce), nonce)

        def answer() -> None:
            if not miner.lost:
                miner.hashed += request.nonces.size
                self.scheduler.receive(conn_id, result, self.now)

        self.at(miner.free_at + LATENCY_MICROS, answer)
