"""linekv at level A: lines, store and the journal's files on a stage with a disk.

A connection is a pair of streams of segments; an empty segment ends a direction.
"""

from collections.abc import Callable, Hashable
from typing import Final

from trio440.errors import InvariantViolated
from trio440.linekv.protocol import LineSplitter
from trio440.sim.stage import Stage
from trio440.sim.systems.linekv_desk import LINE_LIMIT, SERVER, Connection, LineServer
from trio440.sim.systems.linekv_watch import Dialog, Promises, draw_cuts

__all__ = ["CLIENTS", "SERVER", "play"]

CLIENTS: Final = ("client1", "client2", "client3", "client4")
MILLI: Final = 1_000
BURST: Final = 8
"""A client sends up to so many requests at a time."""
THINKING: Final = 1_200 * MILLI
PATIENCE: Final = 3_000 * MILLI
"""A client gives a connection up when an answer takes longer."""
LOOK_SHARE: Final = 0.03
"""For so many answers it is looked at what a power cut would leave."""
LOOK: Final = 250 * MILLI


def play(stage: Stage) -> None:
    """Let four clients change and read lists, through all that the plan holds."""
    game = _Game(stage)
    until = 0
    while not game.is_finished and until < stage.duration:
        until = min(until + LOOK, stage.duration)
        stage.run(until)
    game.judge()


class _Game:
    """What server and clients share."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.promises = Promises(lambda: stage.now, stage.setup.seed)
        self.clients: list[_Client] = []
        self.server = LineServer(stage, self.promises, self.reset)
        self.clients += [_Client(self, host) for host in CLIENTS]

    @property
    def is_finished(self) -> bool:
        """Whether all clients have done what they had to."""
        return all(client.is_finished for client in self.clients)

    def reset(self) -> None:
        """Tell clients that the server has forgotten their connections."""
        for client in self.clients:
            client.lose_soon()

    def judge(self) -> None:
        """Require what must hold in the end."""
        for client in self.clients:
            if not client.is_finished:
                raise InvariantViolated("after the faults everybody is answered", client.host)
        self.promises.look_at(self.server.disk, share=1.0)
        self.promises.require_contents(dict(self.server.store.contents()))
        self.promises.judge()


class _Client:
    """Sends bursts of requests over one connection after the other."""

    def __init__(self, game: _Game, host: str) -> None:
        self.host = host
        self.is_finished = False
        self._game = game
        self._stage = stage = game.stage
        self._rng = stage.rng(host)
        self._connections = 0
        self._forget()
        stage.on_segment(host, self._take)
        stage.on_crash(host, self._forget)
        stage.on_restart(host, self._live)
        self._live()

    def _forget(self) -> None:
        self._dialog: Dialog | None = None
        self._connection: Connection = (0, 0)
        self._splitter = LineSplitter(1 << 20)
        self._bursts = 0
        self._thinking = False
        self._closing = False
        self._last_words = False

    def lose_soon(self) -> None:
        """Learn that the connection is gone."""
        connection = self._connection
        if self._dialog is not None:
            self._later(self._rng.randint(1, 50) * MILLI, lambda: self._end(connection))

    def _live(self) -> None:
        self._later(self._rng.randrange(THINKING), self._burst)

    def _burst(self) -> None:
        if self.is_finished:
            return
        if self._dialog is None and not self._connect():
            self._later(100 * MILLI, self._burst)
            return
        dialog, rng = self._dialog, self._rng
        assert dialog is not None  # noqa: S101 - connected above
        looks = self._game.promises.old_keys(self.host)
        if self._stage.now >= self._stage.plan.heal_at:
            self._last_words = True
            data = b"".join(map(dialog.get, looks))
        else:
            count = rng.randint(1, BURST)
            data = b"".join(dialog.draw_request(looks[-3:]) for _ in range(count))
        self._bursts -= 1
        self._thinking = False
        self._closing = self._last_words or self._bursts <= 0
        end = self._closing and rng.random()
        if self._closing and end < 0.2 and not self._last_words:  # noqa: PLR2004 - some of them
            data += dialog.endless_line(LINE_LIMIT)
        elif self._closing and end < 0.7:  # noqa: PLR2004
            data += dialog.draw_half_line()
        for piece in draw_cuts(rng, data):
            self._send(piece)
        if self._closing:
            self._send(b"")
        connection, answered = self._connection, dialog.answered
        self._later(PATIENCE, lambda: self._lose_patience(connection, answered))
        self._go_on()

    def _connect(self) -> bool:
        life = self._game.server.life
        if not life or not self._stage.is_up(SERVER):
            return False
        self._forget()
        self._connections += 1
        self._connection = self._connections, life
        self._bursts = self._rng.randint(1, 6)
        self._dialog = self._game.promises.connect(self.host, self._connections, self._rng)
        return True

    def _send(self, data: bytes) -> None:
        self._stage.segment(self.host, SERVER, data, stream=self._connection)

    def _take(self, data: bytes, _source: str, connection: Hashable) -> None:
        dialog = self._dialog
        if dialog is None or connection != self._connection:
            return
        if not data:
            if dialog.owed and not dialog.refused:
                raise InvariantViolated("what was asked is answered before the end", dialog.name)
            self._end(self._connection)
            return
        for line in self._splitter.feed(data):
            if dialog.receive_line(line):
                self._game.promises.look_at(self._game.server.disk, share=LOOK_SHARE)
        if dialog.refused:
            self._end(self._connection)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next burst when this one was answered."""
        dialog = self._dialog
        if dialog is not None and not (dialog.owed or self._closing or self._thinking):
            self._thinking = True
            connection = self._connection
            self._later(self._rng.randrange(THINKING), lambda: self._think_of(connection))

    def _think_of(self, connection: Connection) -> None:
        if connection == self._connection and self._thinking:
            self._burst()

    def _lose_patience(self, connection: Connection, answered: int) -> None:
        dialog = self._dialog
        if connection == self._connection and dialog is not None and dialog.owed:
            if dialog.answered == answered:
                self._send(b"")
                self._end(connection)
            else:
                now = dialog.answered
                self._later(PATIENCE, lambda: self._lose_patience(connection, now))

    def _end(self, connection: Connection) -> None:
        if connection != self._connection or self._dialog is None:
            return
        if self._last_words and not self._dialog.owed:
            self.is_finished = True
        self._forget()
        self._live()

    def _later(self, delay: int, action: Callable[[], None]) -> None:
        self._stage.at(self._stage.now + delay, action, host=self.host)
