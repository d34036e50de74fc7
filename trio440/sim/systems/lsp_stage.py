"""LSP at level A: its sessions on a stage, every rule of its timetable checked to the tick."""

import random
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from trio440.errors import BadMessage, InvariantViolated
from trio440.lsp.message import (
    Ack,
    CAck,
    Connect,
    Data,
    Message,
    PayloadFault,
    check_payload,
    decode_untrusted,
    encode,
)
from trio440.lsp.params import Limits, Params
from trio440.lsp.session import Session, State
from trio440.sim.stage import Stage
from trio440.sim.systems.lsp_watch import Ledger, Wire, is_harmless

__all__ = ["CLIENTS", "SERVER", "draw_limits", "draw_params", "play"]

SERVER: Final = "server"
CLIENTS: Final = ("client1", "client2", "client3", "client4", "client5")
MILLI: Final = 1_000
BURST: Final = 24
"""A client writes up to so many messages at a time."""
THINKING: Final = 3_500_000
"""Up to so many microseconds pass between a client's bursts."""
LAST_THINKING: Final = 300_000
LAST_BURST: Final = 10
"""What each client writes after the last fault."""
MAX_PAYLOAD: Final = 60


def draw_params(rng: random.Random) -> Params:
    """Draw parameters whose losses are noticed within two seconds."""
    return Params(
        epoch_limit=rng.choice([4, 5, 7]),
        epoch_millis=rng.choice([200, 250]),
        window_size=rng.choice([1, 2, 5, 20]),
        max_backoff_interval=rng.choice([0, 1, 2, 4]),
        max_unacked_messages=rng.choice([1, 2, 5, 20]),
    )


def draw_limits(rng: random.Random) -> Limits:
    """Draw a roomy receive buffer, or one that a few messages fill."""
    return Limits(receive_buffer=rng.choice([4 << 20, 4 << 20, 5 * (MAX_PAYLOAD + 64)]))


def play(stage: Stage) -> None:
    """Let five clients write bursts and read them back, through all that the plan holds."""
    game = _Game(stage)
    stage.run()
    game.require_liveness()


@attrs.define(eq=False)
class _Due:
    """When a message goes out again, by the rules of back-off."""

    backoff: int = 0
    waited: int = 0

    def tick(self, cap: int) -> bool:
        """Let an epoch pass; true when the message is due."""
        self.waited += 1
        if self.waited <= self.backoff:
            return False
        self.backoff = min(max(1, 2 * self.backoff), cap)
        self.waited = 0
        return True


class _End:
    """One end of a connection: a session, and what the rules say that it must do."""

    def __init__(self, game: "_Game", host: str, remote: str, session: Session, name: str) -> None:
        self.session = session
        self.name = name
        """The connection's, equal at both ends."""
        self.host = host
        self.remote = remote
        self._game = game
        self._due: dict[int, _Due] = {}
        self._silent = 0
        self._sent_data = False
        self._unsent = 0
        """Messages written and not yet sent."""
        self._next = session.isn + 1
        """The number of the next message to be sent for the first time."""

    def write(self, payload: bytes) -> None:
        """Write and send what may be sent."""
        self.session.write(payload)
        self._unsent += 1
        self._game.ledger.wrote((self.name, self.host), payload)
        self.pump()

    def read_all(self) -> list[bytes]:
        """Read everything, checking that it is what was written."""
        payloads = []
        while (payload := self.session.read()) is not None:
            self._game.ledger.read((self.name, self.remote), payload)
            payloads.append(payload)
        return payloads

    def receive(self, message: Message) -> None:
        """Take in a message."""
        was_connecting = self.session.state is State.CONNECTING
        self.session.receive(message, self._game.stage.now)
        self._require_bounded_memory()
        if was_connecting:
            self._silent *= self.session.state is State.CONNECTING
        elif self.session.over:
            return
        elif isinstance(message, Connect):
            self._silent = 0
        elif message.conn_id == self.session.conn_id:
            short = isinstance(message, Data) and check_payload(message) is PayloadFault.SHORT
            self._silent = self._silent if short else 0
            if isinstance(message, Ack):
                self._due.pop(message.seq_num, None)
            elif isinstance(message, CAck):
                self._due = {n: due for n, due in self._due.items() if n > message.seq_num}

    def pump(self) -> None:
        """Send what the session has to say."""
        for message in self.session.messages_to_send(self._game.stage.now):
            self._take_note(message)
            self._send(message)
        if self._unsent and self.session.state is State.OPEN:
            self._require_full_windows()

    def tick(self) -> None:
        """Let an epoch pass, and require exactly what the rules want of it."""
        session, cap = self.session, self._game.params.max_backoff_interval
        was_connecting = session.state is State.CONNECTING
        self._silent += 1
        lost = self._silent >= self._game.params.epoch_limit
        due = {number for number, one in self._due.items() if one.tick(cap)}
        session.on_epoch()
        messages = session.messages_to_send(self._game.stage.now)
        self._game.stage.require(
            session.over is lost,
            "a loss is noticed at the K-th silent tick",
            f"{self.host}: {session.state.value} after {self._silent} silent ticks",
        )
        resent = {m.seq_num for m in messages if isinstance(m, Data) and m.seq_num in self._due}
        beats = messages.count(Ack(session.conn_id, 0))
        if not lost and not was_connecting:
            self._require_schedule(due, resent, beats)
        self._sent_data = False
        for message in messages:
            self._take_note(message)
            self._send(message)

    def _take_note(self, message: Message) -> None:
        if isinstance(message, Data) and message.seq_num not in self._due:
            self._due[message.seq_num] = _Due()
            self._sent_data = True
            self._unsent -= 1
            self._next = message.seq_num + 1

    def _require_full_windows(self) -> None:
        """Require that what waits has no room to be sent."""
        params = self._game.params
        room = len(self._due) < params.max_unacked_messages
        inside = self._next < min(self._due, default=self._next) + params.window_size
        shown = f"{self.host}: {self._unsent} wait, {sorted(self._due)} are on their way"
        self._game.stage.require(
            not (room and inside), "what waits is sent as soon as there is room", shown
        )

    def _require_bounded_memory(self) -> None:
        held, limit = self.session.receive_buffered, 2 * self._game.limits.receive_buffer
        if held > limit:
            shown = f"{self.host}: {held} bytes, the limit is {limit}"
            raise InvariantViolated("the receive buffer is bounded", shown)

    def _require_schedule(self, due: set[int], resent: set[int], beats: int) -> None:
        require = self._game.stage.require
        shown = f"{self.host}: {sorted(resent)}, due were {sorted(due)}"
        require(resent == due, "Data is sent again by its back-off", shown)
        expected = int(not due and not self._sent_data)
        shown = f"{self.host}: {beats} heartbeats, {expected} expected"
        require(beats == expected, "a heartbeat in an epoch without Data", shown)

    def _send(self, message: Message) -> None:
        self._game.transmit(self.host, self.remote, message)


class _Client:
    """Connects, writes bursts, reads the echoes, and connects again after a loss."""

    def __init__(self, game: "_Game", host: str) -> None:
        self.end: _End | None = None
        self.host = host
        self.done_after_heal = 0
        """Echoes read on a connection's writes after the last fault."""
        self._game = game
        self._connections = 0
        self._unanswered: deque[bytes] = deque()
        self._written = 0
        self._rng = game.stage.rng(host)
        game.stage.on_datagram(host, self._receive)
        game.stage.on_crash(host, self._lose)
        game.stage.on_restart(host, self._connect)
        game.stage.at(self._rng.randrange(500 * MILLI), self._connect, host=host)

    def _connect(self) -> None:
        game = self._game
        self._connections += 1
        self._unanswered.clear()
        isn = self._rng.randrange(1, 2**31)
        session = Session(game.params, game.limits, isn)
        name = f"{self.host}/{self._connections}"
        self.end = end = _End(game, self.host, SERVER, session, name)
        game.names[self.host, isn] = name
        end.pump()
        self._later(game.epoch, lambda: self._tick(end))
        self._later(self._think(), lambda: self._burst(end))

    def _lose(self) -> None:
        self.end = None

    def _tick(self, end: _End) -> None:
        if end is not self.end:
            return
        end.tick()
        if end.session.over:
            self.end = None
            # The server must notice, too, before it can take this address again.
            patience = (self._game.params.epoch_limit + 2) * self._game.epoch
            self._later(patience + self._rng.randrange(self._game.epoch), self._connect)
        else:
            self._later(self._game.epoch, lambda: self._tick(end))

    def _burst(self, end: _End) -> None:
        if end is not self.end:
            return
        game, rng = self._game, self._rng
        self._later(self._think(), lambda: self._burst(end))
        if end.session.state is not State.OPEN or self._unanswered:
            return
        healed = game.stage.now >= game.stage.plan.heal_at
        if healed and self.done_after_heal >= LAST_BURST:
            return
        for _ in range(LAST_BURST if healed else rng.randint(1, BURST)):
            self._written += 1
            payload = b"%s %d " % (end.name.encode(), self._written)
            payload += rng.randbytes(rng.randrange(MAX_PAYLOAD - len(payload)))
            self._unanswered.append(payload)
            end.write(payload)

    def _think(self) -> int:
        """Draw the time to the next burst; after the last fault there is no time to lose."""
        healed = self._game.stage.now >= self._game.stage.plan.heal_at
        return self._rng.randrange(LAST_THINKING if healed else THINKING)

    def _receive(self, data: bytes, source: str) -> None:
        message = self._game.untrusted_arrival(self.host, source, data)
        end = self.end
        if message is None or end is None:
            return
        end.receive(message)
        for payload in end.read_all():
            wanted = self._unanswered.popleft()
            self._game.stage.require(payload == wanted, "echoes come in order", f"{payload!r}")
            if self._game.stage.now >= self._game.stage.plan.heal_at:
                self.done_after_heal += 1
        end.pump()

    def _later(self, delay: int, action: Callable[[], None]) -> None:
        self._game.later(self.host, delay, action)


class _Server:
    """Writes back what it reads, at once or, under some seeds, lazily."""

    def __init__(self, game: "_Game") -> None:
        self.ends: dict[str, _End] = {}
        self._game = game
        self._last_id = 0
        rng = game.stage.rng(SERVER)
        self._laziness = rng.choice([0, 0, 150 * MILLI])
        game.stage.on_datagram(SERVER, self._receive)
        game.later(SERVER, rng.randrange(1, game.epoch), self._tick)
        if self._laziness:
            game.later(SERVER, self._laziness, self._read_now_and_then)

    def _receive(self, data: bytes, source: str) -> None:
        message = self._game.untrusted_arrival(SERVER, source, data)
        if message is None:
            return
        end = self.ends.get(source)
        if end is not None:
            end.receive(message)
        elif isinstance(message, Connect):
            self._last_id += 1
            session = Session(
                self._game.params, self._game.limits, message.seq_num, conn_id=self._last_id
            )
            name = self._game.names[source, message.seq_num]
            end = self.ends[source] = _End(self._game, SERVER, source, session, name)
        else:
            return
        if not self._laziness:
            self._echo(end)
        end.pump()

    def _echo(self, end: _End) -> None:
        for payload in end.read_all():
            if end.session.state is State.OPEN:
                end.write(payload)

    def _read_now_and_then(self) -> None:
        for end in list(self.ends.values()):
            self._echo(end)
            end.pump()
        self._game.later(SERVER, self._laziness, self._read_now_and_then)

    def _tick(self) -> None:
        for source, end in list(self.ends.items()):
            end.tick()
            if end.session.over:
                self._echo(end)
                del self.ends[source]
        self._game.later(SERVER, self._game.epoch, self._tick)


class _Game:
    """What server and clients share."""

    def __init__(self, stage: Stage) -> None:
        rng = stage.rng("params")
        self.stage = stage
        self.params = draw_params(rng)
        self.limits = draw_limits(rng)
        self.epoch = self.params.epoch_millis * MILLI
        self.ledger = Ledger()
        self.wire = Wire(self.params, SERVER)
        self.names: dict[tuple[str, int], str] = {}
        """Connections by client and initial sequence number."""
        stage.note("", f"{self.params}")
        self._server = _Server(self)
        self._clients = [_Client(self, host) for host in CLIENTS]

    def transmit(self, source: str, destination: str, message: Message) -> None:
        """Put a message on the network, under the eyes of the watch."""
        self.wire.sent(self.stage.now, source, destination, message)
        self.stage.send(source, destination, encode(message))

    def untrusted_arrival(self, host: str, source: str, data: bytes) -> Message | None:
        """Decode what reached a host, unless UDP's checksum would have caught it."""
        if self.stage.altered and not is_harmless(b"", data):
            return None
        try:
            message = decode_untrusted(data)
        except BadMessage:
            return None
        if message is not None:
            self.wire.arrived(self.stage.now, source, host, message)
        return message

    def later(self, host: str, delay: int, action: Callable[[], None]) -> None:
        """Call ``action`` on a host after a delay in microseconds."""
        self.stage.at(self.stage.now + delay, action, host=host)

    def require_liveness(self) -> None:
        """Require that what was written after the last fault came back."""
        for client in self._clients:
            if client.done_after_heal < LAST_BURST:
                raise InvariantViolated(
                    "after the faults everything written is delivered",
                    f"{client.done_after_heal} of {LAST_BURST} echoes at {client.host}",
                )
