"""Reads what strace saw of Raft peers, and finds what left a peer before it was on its disk.

The trace is one of all peers together, so that its order is the order of events: a call's begin
is seen before the kernel does it, its end after. What a peer has on its disk is followed from the
writes to its journal: bytes that were written before a sync began are durable when it has ended.
What it says is read from the bytes that it sends. Both are decoded by the code that a peer itself
uses. That a file's name is durable, too, is left to simulated disks. The clients of these peers
only propose, and each command is one change of the map.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from trio440.errors import BadMessage
from trio440.journal.format import Kind, scan_segment, split_records
from trio440.raft import dedupe
from trio440.raft.acquaintance import Verdict
from trio440.raft.kept import Kept, replay
from trio440.raft.kv import Changed, decode_result
from trio440.raft.messages import (
    AppendReply,
    EntryKind,
    HardState,
    Heartbeat,
    RequestVote,
    VoteReply,
)
from trio440.raft.records import decode_record
from trio440.raft.wire import Answered, AppendEntries, Clients, Peers
from trio440.rpc.envelope import HELLO, Answer, Tell, decode_untrusted
from trio440.wire.framing import FrameReader

LONGEST: Final = 1_000_000
CALLS: Final = (
    *("write", "writev", "pwrite64", "pwritev", "fsync", "fdatasync", "ftruncate"),
    *("sendto", "sendmsg", "sendmmsg", "sendfile"),
)
STRACE: Final = (
    *("--seccomp-bpf", "-f", "-yy", "-qq", "-xx", "-s", str(LONGEST)),
    *("-e", "signal=none", "-e", f"trace={','.join(CALLS)}"),
)
"""What strace is to be told, but for the file of the trace."""

BEGIN = re.compile(r"(\d+) +(\w+)\(\d+<([\w-]+:\[.*?\]|[^>]*)>(.*)")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
RETURNED = re.compile(r".* = (-?\d+)(?: .*)?")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
TCP = re.compile(r"TCP(?:v6)?:\[.*:(\d+)->.*:\d+\]")
SEGMENT = re.compile(r"(.*/([^/]+)/journal/segment-\d+)(?:\.tmp)?")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@attrs.define
class _Syscall:
    """A call of the system, as far as it has come."""

    thread: str
    name: str
    what: str
    """The file or connection."""
    text: str
    """The arguments behind it."""
    result: int | None = None

    @property
    def data(self) -> bytes:
        """The bytes that were written."""
        match = TEXT.search(self.text)
        assert match is not None, self.text
        assert not match[2], "strace has cut something off"
        return _bytes(match[1])[: self.result]


def _events(lines: Sequence[str]) -> Iterator[tuple[_Syscall, bool]]:
    """Yield each call when it begins (False) and when it has ended (True)."""
    pending: dict[str, _Syscall] = {}
    for line in lines:
        if match := BEGIN.match(line):
            thread, name, what, text = match.groups()
            if what.startswith("\\x"):
                what = _bytes(what.removesuffix("(deleted)")).decode()
            call = _Syscall(thread, name, what, text.removesuffix("<unfinished ...>"))
            yield call, False
            if text.endswith("<unfinished ...>"):
                pending[thread] = call
                continue
        elif (match := RESUMED.match(line)) and match[1] in pending:
            call = pending.pop(match[1])
            call.text += match[3]
        else:
            continue
        if returned := RETURNED.fullmatch(call.text):  # not where the process was killed in it
            call.result = int(returned[1])
            yield call, True


NOTHING: Final = HardState(term=-1)


@attrs.frozen
class _Durable:
    """What a peer finds after a power cut."""

    hard_state: HardState = NOTHING
    last_index: int = -1
    commands: int = 0
    """How many there are of clients, those that open a session not counted."""
    stores: frozenset[int] = frozenset()
    """Of the peers that it has noted."""

    def has_voted(self, term: int, candidate: str) -> bool:
        return (self.hard_state.term, self.hard_state.vote) == (term, candidate)


class _Disk:
    """The journal of a peer, as its writes and syncs make it."""

    def __init__(self) -> None:
        self.durable = _Durable()
        self._files: dict[str, bytearray] = {}
        self._synced: dict[str, int] = {}
        self._begun: dict[str, tuple[str, int]] = {}
        self._kept: Kept | None = None
        self._records = 0

    def event(self, call: _Syscall, file: str, *, ended: bool) -> None:
        content = self._files.setdefault(file, bytearray())
        if call.name == "write":
            if ended:
                content += call.data
        elif call.name in {"fdatasync", "fsync"}:
            if not ended:
                self._begun[call.thread] = (file, len(content))
            elif call.result == 0:
                name, size = self._begun.pop(call.thread)
                self._synced[name] = size
                self._look()
        else:
            raise AssertionError(f"a journal is not followed through {call.name}")

    def _look(self) -> None:
        """Replay what is durable; records that were seen before are as they were."""
        records: list[bytes] = []
        for name in sorted(self._synced):
            data = bytes(self._files[name][: self._synced[name]])
            for head, at in scan_segment(data).frames:
                is_cut = head.kind is Kind.RESUME and head.index < len(records)
                assert not is_cut, "a log that is cut is not followed"
                if head.kind is Kind.RECORDS:
                    records += split_records(data, at, head) or []
        if not records:
            return
        if self._kept is None:
            self._kept, self._records = replay(records[0], 1, []), 1
        for place, record in enumerate(records[self._records :], self._records + 1):
            self._kept.take(decode_record(record), place)
        self._records = len(records)
        commands = sum(
            dedupe.encode(dedupe.Open()) != entry.data
            for entry in self._kept.entries
            if entry.kind is EntryKind.COMMAND
        )
        stores = frozenset(one.store for one in self._kept.compacted().acquaintances)
        self.durable = _Durable(self._kept.hard_state, self._kept.last_index, commands, stores)


Known: TypeAlias = Mapping[str, _Durable]


class Findings:
    """What the peers of a trace have said, and what of it was too early."""

    def __init__(self, trace: str, ports: Mapping[str, int]) -> None:
        """Read a trace.

        Args:
            trace: what strace has written.
            ports: by its id, where each peer listens; its directory has its name.
        """
        self.said: Counter[str] = Counter()
        """By kind: ``candidate``, ``vote``, ``append reply``, ``yes``, ``consent``, ``other``."""
        self.early: list[tuple[str, str]] = []
        """What left before it was durable: its kind and what it was. Pre-votes, and answers to
        heartbeats, promise nothing that would have to be."""
        self._ports = {str(port) for port in ports.values()}
        self._disks = {name: _Disk() for name in ports}
        self._sent: defaultdict[str, FrameReader] = defaultdict(_reader)
        self._leaving: dict[str, Known] = {}
        for call, ended in _events(trace.splitlines()):
            if match := SEGMENT.fullmatch(call.what):
                self._disks[match[2]].event(call, match[1], ended=ended)
            elif match := TCP.fullmatch(call.what):
                self._tcp(call, match[1], ended=ended)

    def _tcp(self, call: _Syscall, port: str, *, ended: bool) -> None:
        if call.name not in {"sendto", "write"}:
            raise AssertionError(f"a connection is not followed through {call.name}")
        if not ended:  # how much of it leaves is known at the end, what counts is this moment
            self._leaving[call.thread] = {n: disk.durable for n, disk in self._disks.items()}
        else:
            known = self._leaving.pop(call.thread)
            if call.result and call.result > 0:
                self._send(call.what, port, call.data, known)

    def _send(self, connection: str, port: str, data: bytes, known: Known) -> None:
        for payload in self._sent[connection].feed_untrusted(data):
            if payload[0] == HELLO:
                continue
            message = decode_untrusted(payload)
            if isinstance(message, Tell) and message.method == Peers.message.name:
                self._judge(Peers.message.message.decode_untrusted(message.body), known)
            elif isinstance(message, Tell) and message.method == Peers.append.name:
                self._judge(Peers.append.message.decode_untrusted(message.body), known)
            elif isinstance(message, Answer) and port in self._ports:
                self._judge_answer(message, known)

    def _judge_answer(self, answer: Answer, known: Known) -> None:
        try:
            outcome = Clients.propose.result.decode_untrusted(answer.body)
        except BadMessage:
            opinion = Peers.introduce.result.decode_untrusted(answer.body).opinion
            if opinion.verdict is Verdict.SAME:
                self._note("consent", opinion.about in known[opinion.sender].stores, opinion)
            return
        if not isinstance(outcome, Answered):
            return
        match reply := dedupe.decode_reply(outcome.data):
            case dedupe.Opened(index):
                having = sum(durable.last_index >= index for durable in known.values())
            case dedupe.Done(result):
                changed = decode_result(result)
                assert isinstance(changed, Changed)
                having = sum(durable.commands >= changed.revision for durable in known.values())
            case _:
                raise AssertionError(reply)
        self._note("yes", 2 * having > len(known), reply)

    def _judge(self, message: Any, known: Known) -> None:
        mine = known[message.sender]
        match message:
            case RequestVote(pre=False):
                sound = mine.has_voted(message.term, message.sender)
                self._note("candidate", sound, message)
            case VoteReply(pre=False, granted=True):
                self._note("vote", mine.has_voted(message.term, message.to), message)
            case AppendReply(rejected=False):
                sound = mine.hard_state.term >= message.term and mine.last_index >= message.index
                self._note("append reply", sound, message)
            case VoteReply(pre=False) | AppendReply() | AppendEntries() | Heartbeat():
                self._note("other", mine.hard_state.term >= message.term, message)

    def _note(self, kind: str, sound: bool, what: object) -> None:
        self.said[kind] += 1
        if not sound:
            self.early.append((kind, str(what)))


def _reader() -> FrameReader:
    return FrameReader(64 << 20)
