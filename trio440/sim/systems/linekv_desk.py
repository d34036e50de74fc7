"""The server of linekv's level A: lines, store and the journal's files, by the book.

What the shells do between the pure parts is done here: the server writes what it has applied in
group commits, and keeps every answer back until the commit that it depends on is on disk. Power
goes at any operation of a commit, of a compaction or of an opening.
"""

import errno
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
    Delete,
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
from trio440.sim.systems.linekv_watch import DATA, Promises, draw_cuts

__all__ = ["LINE_LIMIT", "SERVER", "Connection", "LineServer"]

SERVER: Final = "server"
LINE_LIMIT: Final = 1_000
SPARE_KEY: Final = b"shared\xff, put by nobody"
SEGMENT_BYTES: Final = 3_000
LOG_BYTES: Final = 4_000
"""A snapshot is taken when so much has been logged since the last."""
REOPEN: Final = 200_000
"""How soon, in microseconds, a server whose disk has failed is started again."""
SYNC_MICROS: Final = ((100, 3_000), (100, 3_000), (10_000, 150_000))
"""How long a commit is under way, on disks of all kinds."""
LOOK_SHARE: Final = 0.05
"""At so many operations of the disk it is looked at what a power cut would leave."""
NAMES_LOOK_SHARE: Final = 0.3
"""The same where names change, which is rarer."""

Connection = tuple[int, int]
"""The number of a client's connection, and the server's life in which it began."""


@attrs.define(eq=False)
class _Session:
    """A connection, as the server sees it."""

    client: str
    connection: Connection
    splitter: LineSplitter = attrs.Factory(lambda: LineSplitter(LINE_LIMIT))
    answers: deque[tuple[int, bytes]] = attrs.Factory(deque)
    """Each with the index of the record that must be on disk first."""
    ended: bool = False


class LineServer:
    """The store, its journal and the sessions."""

    _files: JournalFiles

    def __init__(self, stage: Stage, promises: Promises, reset: Callable[[], None]) -> None:
        """Start on an empty disk.

        Args:
            stage: where :data:`SERVER` is a host.
            promises: what the store is held to whenever it is restored.
            reset: called when all connections are forgotten.
        """
        self.stage = stage
        self._promises = promises
        self._reset = reset
        self.rng = stage.rng(SERVER)
        self.disk = SimDisk(stage.rng("disk"))
        self.life = 0
        """0: it does not listen."""
        self._lives = 0
        self._sync_micros = self.rng.choice(SYNC_MICROS)
        self._crashes = 0
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
            share = NAMES_LOOK_SHARE if kind in ("rename", "remove") else LOOK_SHARE
            self._promises.look_at(self.disk, share=share)

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
                if on:  # one of the next operations fails for certain
                    operation = self.disk.operations + self.rng.randrange(6)
                    self.disk.fail_at(operation, errno.EIO)
            case DiskFull():
                self.disk.full = on
            case SlowDisk():
                self._slow = fault.extra if on else 0

    def _crash(self) -> None:
        """Lose power, in the midst of a commit perhaps."""
        if self.life and not self._failure and self.rng.random() < 0.8:  # noqa: PLR2004 - mostly
            self._cut_power_soon(self.rng.choice([3, 12]))
            # Something is under way in any case, if only what changes nothing.
            last = encode_changes([Delete(SPARE_KEY)] * self.rng.randint(1, 30))
            entry = Entry(Kind.RECORDS, self._last + 1, [last])
            with suppress(PowerCut, OSError):
                self._note(self._files.commit([*self._gathering, entry]))
                self._last += 1
                if self.rng.random() < 0.5:  # noqa: PLR2004 - half
                    self._logged = LOG_BYTES + 1
                    self._compact()
                    self._compact()
        self.life = 0
        self._crashes += 1
        self._crash_disk()
        self._reset()

    def _crash_disk(self) -> None:
        self.disk = self.disk.crash(stream(self.stage.setup.seed, "crash", self._lives))

    def _cut_power_soon(self, most: int) -> None:
        """Let power go before or after one of the next operations of the disk."""
        operation = self.disk.operations + self.rng.randrange(most)
        self.disk.cut_power_at(operation, after=self.rng.choice([False, True]))

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
        if self.stage.now < self.stage.plan.heal_at and self._crashes and self.rng.random() < 0.3:  # noqa: PLR2004
            self._cut_power_soon(8)
        try:
            found = self._files.open(salt, nonce)
        except JournalCorrupt as error:
            raise InvariantViolated("a power cut damages nothing", str(error)) from error
        except PowerCut:
            self._crash_disk()
            self._later(REOPEN, self._boot)
            return
        except OSError:
            self._files.close()
            self._later(REOPEN, self._boot)
            return
        self.disk.cut_power_at(1 << 60)  # never, if it has not come yet
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
        self._promises.require_contents(dict(self.store.contents()))

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
            self._reset()
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
            wait = self.rng.randint(*self._sync_micros) + self.rng.randint(0, self._slow)
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
        if self._logged <= LOG_BYTES or self._last <= self._snapshot_index:
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


def _written(answer: Answer) -> bytes:
    match answer:
        case Values(key, values):
            return b"".join(value_line(key, value) for value in values)
        case Refused(problem):
            return error_line(problem)
        case None:
            return b""
