"""Clients of the simulated map: each writes and reads, tries again, and keeps a history."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from trio440.errors import NotLeader, ProposalRefused, ReadRefused
from trio440.sim.checking.history import Call, History
from trio440.sim.checking.models import KeyValue
from trio440.sim.stage import Stage
from trio440.sim.systems.raft_owner import Owner
from trio440.sim.systems.raft_watch import Watch

__all__ = ["Client"]

MILLI: Final = 1_000
THINKING: Final = 400 * MILLI
"""Up to so long between an answer and the next operation."""
PATIENCE: Final = 900 * MILLI
"""After so long without an answer it asks again."""
HURRY: Final = 60 * MILLI
"""After a refusal it asks somebody else about so soon."""
KEYS: Final = ("x", "y")
TOO_LATE: Final = 1_500 * MILLI
"""No operation begins so shortly before the end."""


class Client:
    """Does one operation at a time; each has a number, under which it is carried out once."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        history: History,
        watch: Watch,
        up: Callable[[], list[Owner]],
        *,
        doubts: bool = False,
    ) -> None:
        """Begin soon.

        Args:
            stage: where it lives; it has no host, and asks peers without a network.
            name: its name in the history.
            history: what it did and was told.
            watch: checks what it is told.
            up: gives the peers that can be asked.
            doubts: it only reads, often, and from whoever has believed longest to be the leader:
                who answers from the past answers it.
        """
        self.name = name
        self.done_after_heal = 0
        """Operations that were answered after the last fault."""
        self._stage = stage
        self._history = history
        self._watch = watch
        self._up = up
        self._doubts = doubts
        self._thinking = THINKING // 8 if doubts else THINKING
        self._rng = stage.rng(f"client/{name}")
        self._number = 0
        self._attempt = 0
        self._hint: str | None = None
        self._later(self._rng.randrange(self._thinking), self._begin)

    def _later(self, delay: int, action: Any) -> None:
        stage = self._stage
        stage.at(stage.now + delay, action)

    def _begin(self) -> None:
        stage, rng = self._stage, self._rng
        if stage.now > stage.duration - TOO_LATE:
            return
        self._number += 1
        call = self._draw()
        self._invocation = self._history.invoke(self.name, call)
        self._call = call
        self._burst = 1 if rng.random() < 0.7 else 3  # noqa: PLR2004 - some send copies at once
        self._try(self._number)

    def _draw(self) -> Call:
        rng = self._rng
        key = rng.choice(KEYS)
        token = f"{self.name}.{self._number} "
        kind = 0.0 if self._doubts else rng.random()
        if kind < 0.45:  # noqa: PLR2004 - nearly half are reads
            return KeyValue.get(key)
        if kind < 0.75:  # noqa: PLR2004 - appends show what is lost and what is done twice
            return KeyValue.append(key, token)
        if kind < 0.9:  # noqa: PLR2004 - puts keep the values short
            return KeyValue.put(key, token)
        return KeyValue.cas(key, token, f"{token}cas ")

    def _try(self, number: int) -> None:
        """Ask some peer, the leader if it is known, and again when nothing comes of it."""
        if number != self._number:
            return
        self._attempt += 1
        up = self._up()
        delay = HURRY
        if up:
            owner = self._choose(up)
            ask = partial(self._ask, owner, number, self._attempt)
            self._stage.at(self._stage.now, ask, host=owner.host)
            delay = PATIENCE
        self._later(delay, partial(self._try_again, number, self._attempt))

    def _ask(self, owner: Owner, number: int, attempt: int) -> None:
        """Ask a peer, which may have stood still in the meantime."""
        if number != self._number:
            return
        try:
            if self._call.name == "get":
                self._read(owner, attempt)
            else:
                for _ in range(self._burst):
                    self._write(owner)
        except (NotLeader, ProposalRefused, ReadRefused) as error:
            self._hint = error.leader if isinstance(error, NotLeader) else None
            delay = self._rng.randrange(HURRY, 2 * HURRY)
            self._later(delay, partial(self._try_again, number, attempt))

    def _try_again(self, number: int, attempt: int) -> None:
        if number == self._number and attempt == self._attempt:
            self._try(number)

    def _choose(self, up: list[Owner]) -> Owner:
        hint, self._hint = self._hint, None
        if self._doubts:
            leaders = [owner for owner in up if owner.node.is_leader]
            return min(leaders or up, key=lambda owner: owner.node.term)
        if self._call.name != "get" or self._rng.random() < 0.3:  # noqa: PLR2004 - any may read
            leading = [owner for owner in up if owner.node.is_leader or owner.name == hint]
            if leading:
                return self._rng.choice(leading)
        return self._rng.choice(up)

    def _write(self, owner: Owner) -> None:
        number, call = self._number, self._call
        command = json.dumps([self.name, number, call.name, call.key, call.args]).encode()
        owner.catch_up()
        index, term = owner.node.propose(command)
        waiting = owner.waiting.setdefault(index, [])
        waiting.append((term, partial(self._written, index, term, number)))
        owner.pump()

    def _written(
        self,
        index: int,
        term: int,
        number: int,
        was_it: bool,
        result: Any,
    ) -> None:
        if number != self._number:
            return
        if was_it:
            self._watch.acknowledged(index, term)
            self._answered(result)
        else:  # another entry took its place
            self._try(number)

    def _read(self, owner: Owner, attempt: int) -> None:
        number = self._number
        key = str(self._call.key)

        def answer(is_good: bool) -> None:
            if number != self._number:
                return
            if is_good:
                self._answered(owner.machine.values.get(key))
            else:
                self._later(HURRY, partial(self._try_again, number, attempt))

        owner.read((self.name, number, attempt), answer)

    def _answered(self, result: Any) -> None:
        stage = self._stage
        self._invocation.ok(result)
        if stage.now >= stage.plan.heal_at:
            self.done_after_heal += 1
        self._number += 1  # what comes for this one now comes too late
        self._later(self._rng.randrange(self._thinking), self._begin)
