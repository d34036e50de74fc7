"""linekv at level A: lines, store and the journal's files on a stage with a disk.

A connection is a pair of streams of segments; an empty segment ends a direction. What the shells
do between the pure parts is done here by the book: the server writes what it has applied in
group commits, and keeps every answer back until the commit that it depends on is on disk.
"""

from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Final

import attrs

from trio440.errors import BadMessage, InvariantViolated, JournalCorrupt
from trio440.journal.files import Committed, Entry, JournalFiles
from trio440.journal.format import Kind, Snapshot, segment_name, snapshot_name
from trio440.journal.recovery import Recovery, SegmentState
from trio440.linekv.changes import decode_changes, encode_changes, encode_contents
from trio440.linekv.protocol import (
    Get,
    LineSplitter,
    Request,
    error_line,
    parse_untrusted_request,
    value_line,
)
from trio440.linekv.store import Answer, Refused, Store, Values
from trio440.sim.chance import stream
from trio440.sim.disk import SimDisk
from trio440.sim.faults import DiskErrors, DiskFull, SlowDisk
from trio440.sim.power import PowerCut
from trio440.sim.stage import Stage
from trio440.sim.systems.linekv_watch import DATA, Dialog, Promises, draw_cuts

__all__ = ["CLIENTS", "SERVER", "play"]

SERVER: Final = "server"
CLIENTS: Final = ("client1", "client2", "client3", "client4")
MILLI: Final = 1_000
LINE_LIMIT: Final = 200
SEGMENT_BYTES: Final = 2_000
LOG_BYTES: Final = 3_000
"""A snapshot is taken when so much has been logged since the last."""
BURST: Final = 8
"""A client sends up to so many requests at a time."""
THINKING: Final = 1_200 * MILLI
PATIENCE: Final = 3_000 * MILLI
"""A client gives a connection up when an answer takes longer."""
REOPEN: Final = 200 * MILLI
"""How soon a server whose disk has failed is started again."""
LOOK_SHARE: Final = 0.06
"""For so many answers it is looked at what a power cut would leave."""
LOOK: Final = 250 * MILLI
SYNC_MICROS: Final = (100, 3_000)

Connection = tuple[int, int]
"""The number of a client's connection, and the server's life in which it began."""


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
        self.server = _Server(self)
        self.clients = [_Client(self, host) for host in CLIENTS]

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


@attrs.define(eq=False)
class _Session:
    """A connection, as the server sees it."""

    client: str
    connection: Connection
    splitter: LineSplitter = attrs.Factory(lambda: LineSplitter(LINE_LIMIT))
    answers: deque[tuple[int, bytes]] = attrs.Factory(deque)
    """Each with the index of the record that must be on disk first."""
    ended: bool = False


class _Server:
    """The store, its journal and the sessions."""

    def __init__(self, game: _Game) -> None:
        self.game = game
        self.stage = stage = game.stage
        self.rng = stage.rng(SERVER)
        self.disk = SimDisk(stage.rng("disk"))
        self.life = 0
        """0: it does not listen."""
        self._lives = 0
        self._slow = 0
        self._watch_disk()
        stage.on_segment(SERVER, self._take)
        stage.on_crash(SERVER, self._crash)
        stage.on_restart(SERVER, self._boot)
        self._plan_disk_faults()
        self._boot()

    # Faults

    def _watch_disk(self) -> None:
        def note(kind: str, text: str) -> None:
            self.stage.note(SERVER, f"{kind} {text}", "disk")

        self.disk.on_operation = note

    def _plan_disk_faults(self) -> None:
        for _, fault in self.stage.plan.happening:
            if isinstance(fault, DiskErrors | DiskFull | SlowDisk):
                self.stage.at(fault.start, partial(self._set_fault, fault, on=True))
                self.stage.at(fault.end, partial(self._set_fault, fault, on=False))

    def _set_fault(self, fault: DiskErrors | DiskFull | SlowDisk, *, on: bool) -> None:
        match fault:
            case DiskErrors():
                self.disk.error_share = fault.share if on else 0.0
            case DiskFull():
                self.disk.full = on
            case SlowDisk():
                self._slow = fault.extra if on else 0

    def _crash(self) -> None:
        """Lose power, in the midst of a commit perhaps."""
        if self.life and self._gathering and self.rng.random() < 0.7:  # noqa: PLR2004 - mostly
            operation = self.disk.operations + self.rng.randrange(3)
            self.disk.cut_power_at(operation, after=self.rng.choice([False, True]))
            with suppress(PowerCut, OSError):
                self._files.commit(self._gathering)
        self.life = 0
        self.disk = self.disk.crash(stream(self.stage.setup.seed, "crash", self._lives))
        self.game.reset()

    def _boot(self) -> None:
        """Start the server's program on what the disk has."""
        self._lives += 1
        self.store = Store(max_keys=100_000, max_bytes=1 << 30)
        self._sessions: dict[tuple[str, Connection], _Session] = {}
        self._gathering: list[Entry] = []
        self._committing = False
        self._failure = ""
        self._logged = 0
        self._removable: list[str] = []
        self._files = JournalFiles(self.disk.tree(DATA), DATA, segment_bytes=SEGMENT_BYTES)
        salt, nonce = self.rng.randbytes(8), self.rng.randbytes(8)
        try:
            found = self._files.open(salt, nonce)
        except JournalCorrupt as error:
            raise InvariantViolated("a power cut damages nothing", str(error)) from error
        except OSError:
            self._files.close()
            self._later(REOPEN, self._boot)
            return
        self._restore(found)
        self.life = self._lives

    def _restore(self, found: Recovery) -> None:
        snapshot = found.snapshot
        self._snapshot_index = 0 if snapshot is None else snapshot.index
        for data in (b"" if snapshot is None else snapshot.data, *found.records):
            for request in decode_changes(data):
                self.store.apply(request)
        self._last = self._durable = found.last_index
        self._sealed: list[SegmentState] = list(found.segments[:-1])
        self._current = self._files.current
        self.game.promises.require_contents(dict(self.store.contents()))

    def _fail(self, error: OSError) -> None:
        """Refuse everything until somebody starts the server again."""
        self._failure = str(error)
        for session in list(self._sessions.values()):
            session.answers = deque((0, self._disk_refusal()) for _ in session.answers)
            self._send_answers(session)
        self._later(REOPEN, self._start_again)

    def _start_again(self) -> None:
        if self.life:
            self.life = 0
            self._files.close()
            self.game.reset()
            self._boot()

    # Requests

    def _take(self, data: bytes, source: str, connection: Hashable) -> None:
        assert isinstance(connection, tuple)  # noqa: S101 - as clients make them
        if connection[1] != self.life:
            return
        session = self._sessions.setdefault((source, connection), _Session(source, connection))
        if session.ended:
            return
        if not data:
            session.ended = True
            self._send_answers(session)
            return
        batch: list[Request] = []
        for line in session.splitter.feed(data):
            try:
                batch.append(parse_untrusted_request(line))
            except BadMessage as error:
                self._carry_out(session, batch)
                batch = []
                session.answers.append((0, error_line(str(error))))
        self._carry_out(session, batch)
        if session.splitter.too_long:
            problem = f"a line is too long, the limit is {LINE_LIMIT} bytes"
            session.answers.append((0, error_line(problem)))
            session.ended = True
        self._send_answers(session)

    def _carry_out(self, session: _Session, batch: list[Request]) -> None:
        if self._failure:
            session.answers.extend((0, self._disk_refusal()) for _ in batch)
            return
        answers = [self.store.apply(request) for request in batch]
        changes = [request for request in batch if not isinstance(request, Get)]
        if changes:
            self._last += 1
            record = encode_changes(changes)
            self._logged += len(record)
            self._gathering.append(Entry(Kind.RECORDS, self._last, [record]))
            self._commit_soon()
        session.answers.extend((self._last, _written(a)) for a in answers if a is not None)

    def _send_answers(self, session: _Session) -> None:
        """Send what may be seen, in order, in pieces."""
        lines: list[bytes] = []
        while session.answers and session.answers[0][0] <= self._durable:
            lines.append(session.answers.popleft()[1])
        pieces = draw_cuts(self.rng, b"".join(lines))
        for piece in pieces:
            self.stage.segment(SERVER, session.client, piece, stream=session.connection)
        if session.ended and not session.answers:
            del self._sessions[session.client, session.connection]
            self.stage.segment(SERVER, session.client, b"", stream=session.connection)

    def _disk_refusal(self) -> bytes:
        return error_line(f"this server cannot write its disk any more: {self._failure}")

    # The journal

    def _commit_soon(self) -> None:
        if not self._committing:
            self._committing = True
            wait = self.rng.randint(*SYNC_MICROS) + self.rng.randint(0, self._slow)
            self._later(wait, partial(self._commit, self.life))

    def _commit(self, life: int) -> None:
        if self.life != life:
            return
        entries, self._gathering = self._gathering, []
        self._committing = False
        index = self._last
        try:
            self._note(self._files.commit(entries))
            self._compact()
        except OSError as error:
            self._fail(error)
            return
        self._durable = index
        for session in list(self._sessions.values()):
            self._send_answers(session)
        if self._gathering:
            self._commit_soon()

    def _note(self, committed: Committed) -> None:
        self._sealed += committed.sealed
        self._current = committed.current

    def _compact(self) -> None:
        """Put a snapshot in the place of all that is on disk, when that is long."""
        if self._removable:
            self._files.remove(self._removable)
            self._removable = []
        if self._logged <= LOG_BYTES:
            return
        self._logged = 0
        upto = self._last
        needed = (s.sequence for s in self._sealed if s.highest > upto)
        first = next(needed, self._current.sequence)
        self._files.write_snapshot(Snapshot(upto, first, encode_contents(self.store.contents())))
        self._removable = [segment_name(s.sequence) for s in self._sealed if s.sequence < first]
        if self._snapshot_index:
            self._removable.append(snapshot_name(self._snapshot_index))
        self._sealed = [s for s in self._sealed if s.sequence >= first]
        self._snapshot_index = upto
        self._gathering.append(Entry(Kind.KEPT, upto))

    def _later(self, delay: int, action: Callable[[], None]) -> None:
        self.stage.at(self.stage.now + delay, action, host=SERVER)


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


def _written(answer: Answer) -> bytes:
    match answer:
        case Values(key, values):
            return b"".join(value_line(key, value) for value in values)
        case Refused(problem):
            return error_line(problem)
        case None:
            return b""
