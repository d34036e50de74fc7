"""Transcripts of Raft: commands to a small cluster, and below ``----`` what came of each.

=================================  ============================================================
``cluster N [course] [key=N...]``  a new cluster of n1..nN; other keys are fields of Config, and
                                   ``learners=n4,n5``; ``traced`` for ``trace``
``campaign n1``                    an election, as if the timer had run out
``tick n1 [N]``                    ticks
``propose n1 words...``            a command for each word
``read n1 word``                   a linearizable read
``transfer n1 n2``                 leadership to n2
``members n1 n1,n2 [n3]``          voters and learners
``deliver [n1 n2 ...]``            messages to these peers, all of them without names, and what
                                   comes of them, until there are no more
``drop [n1 n2 ...]``               forgets messages to these peers
``hold n1`` / ``sync n1``          stops syncing / makes everything durable and goes on
``snapshot n1 words``              a snapshot with these bytes
``crash n1`` / ``start n1``        loses power / comes back
``join n4``                        a new peer that waits to be told who is in
``log n1`` / ``status [n1 ...]``   what it is
``trace``                          in a ``cluster`` with ``traced``: what its peers have told since
=================================  ============================================================
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from tests.support.raft_cluster import Owner, course, quick
from tests.support.raft_trace_model import Model
from trio440.errors import RaftError
from trio440.raft.membership import decode_configuration
from trio440.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    RequestVote,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from trio440.raft.storage import bootstrap, joining
from trio440.raft.trace_lines import Recorder

SEPARATOR = "----"


def rewrite(text: str) -> str:
    """Run a transcript and return it with the output that it has now."""
    transcript = Transcript()
    return "\n".join(transcript.run(block) for block in blocks(text))


def blocks(text: str) -> Iterator[str]:
    """Split a transcript into commands, each with the comments before it, without output."""
    head: list[str] = []
    in_output = False
    for line in text.split("\n"):
        if in_output:
            in_output = bool(line)
        elif line == SEPARATOR:
            yield "\n".join(head)
            head, in_output = [], True
        elif line or head:
            head.append(line)


def show_entry(entry: Entry) -> str:
    what = entry.data.decode() or "no-op"
    if entry.kind is EntryKind.CONFIGURATION:
        fields = attrs.asdict(decode_configuration(entry.data))
        what = " ".join(f"{name} {','.join(names)}" for name, names in fields.items() if names)
    return f"{entry.index}/{entry.term} {what}"


def show(message: Message) -> str:  # noqa: C901, PLR0911 - a line for each kind
    start = f"{message.sender} -> {message.to} t{message.term} {type(message).__name__}"
    match message:
        case RequestVote(last_index=index, last_term=term, pre=pre, transfer=transfer):
            return f"{start} last {index}/{term}{' pre' * pre}{' transfer' * transfer}"
        case VoteReply(granted=granted, pre=pre):
            return f"{start} {'granted' if granted else 'refused'}{' pre' * pre}"
        case Append(prev_index=index, prev_term=term, entries=entries, commit=commit):
            shown = ", ".join(map(show_entry, entries))
            return f"{start} after {index}/{term} [{shown}] commit {commit}"
        case AppendReply(index=index, rejected=True, hint_index=at, hint_term=term):
            return f"{start} rejected {index} hint {at}/{term}"
        case AppendReply(index=index):
            return f"{start} {index}"
        case Heartbeat(commit=commit, round=number):
            return f"{start} round {number} commit {commit}"
        case HeartbeatReply(round=number):
            return f"{start} round {number}"
        case InstallSnapshot(meta=meta, offset=offset, data=data):
            return f"{start} {meta.index}/{meta.term} at {offset} of {meta.size} {data.decode()!r}"
        case SnapshotReply(index=index, offset=offset):
            return f"{start} {index} wants {offset}"
        case ReadReply(index=index):
            return f"{start} {index}"
        case ReadRequest() | TimeoutNow():
            return start


def show_event(event: dict[str, Any]) -> str:
    """A line of a trace, short."""
    state = event["state"]
    parts = [f"{event['nid']} {event['name']} t{state['term']} vote {state['vote']}"]
    parts.append(f"commit {state['commit']} log {event['log']} {event['role']}")
    parts.append("/".join(",".join(group) for group in event["conf"] if group))
    for name in ("msg", "prop"):
        fields = event.get(name, {})
        shown = {key: value for key, value in fields.items() if value not in {0, "0"}}
        if shown:
            parts.append(f"{name} {json.dumps(shown)}")
    return " ".join(parts)


class Transcript:
    """A cluster whose messages wait to be delivered."""

    def __init__(self) -> None:
        self.config = quick()
        self.owners: dict[str, Owner] = {}
        self.flying: list[Message] = []
        self.lines: list[str] = []
        self.told: dict[str, tuple[int, int]] = {}
        self.recorder: Recorder | None = None
        self.trace: list[bytes] = []
        self.model = Model()

    def run(self, head: str) -> str:
        """Carry out the command in the last line of a block, and return the block."""
        words = head.rsplit("\n", maxsplit=1)[-1].split()
        self.lines = []
        command: Callable[..., Any] = getattr(self, f"do_{words[0]}")
        try:
            command(*words[1:])
            self.pump()
        except RaftError as error:
            self.lines.append(f"{type(error).__name__}: {error}")
        return "\n".join([head, SEPARATOR, *(self.lines or ["ok"]), ""])

    # What an Owner wants

    def send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.lines.append(show(message))
            self.flying.append(message)

    # Commands

    def do_cluster(self, count: str, *options: str) -> None:
        fields = dict(option.split("=") for option in options if "=" in option)
        learners = [name for name in fields.pop("learners", "").split(",") if name]
        numbers = {name: int(value) for name, value in fields.items()}
        self.config = (course if "course" in options else quick)(**numbers)
        names = [f"n{number}" for number in range(1, int(count) + 1)]
        if "traced" in options:
            known = {name: number for number, name in enumerate(names, start=1)}
            self.recorder = Recorder(self.trace.append, lambda: 0, known)
        stored = bootstrap(names, learners)
        self.owners = {name: self.owner(name, stored) for name in (*names, *learners)}

    def owner(self, name: str, stored: Any) -> Owner:
        return Owner(self, name, stored, seed=1)  # type: ignore[arg-type]

    def do_join(self, name: str) -> None:
        self.owners[name] = self.owner(name, joining())

    def do_campaign(self, name: str) -> None:
        self.owners[name].node.campaign()

    def do_tick(self, name: str, count: str = "1") -> None:
        for _ in range(int(count)):
            self.owners[name].node.tick()
            self.owners[name].pump()

    def do_propose(self, name: str, *commands: str) -> None:
        for command in commands:
            self.owners[name].node.propose(command.encode())

    def do_read(self, name: str, context: str) -> None:
        self.owners[name].node.read_index(context)

    def do_transfer(self, name: str, to: str) -> None:
        self.owners[name].node.transfer_leadership(to)

    def do_members(self, name: str, voters: str, learners: str = "") -> None:
        heard = [learner for learner in learners.split(",") if learner]
        self.owners[name].node.change_membership(voters.split(","), heard)

    def do_deliver(self, *names: str) -> None:
        chosen = names or tuple(self.owners)
        self.pump()
        while due := [message for message in self.flying if message.to in chosen]:
            self.flying = [message for message in self.flying if message.to not in chosen]
            for message in due:
                if self.owners[message.to].is_up:
                    self.owners[message.to].node.step(message)
                    self.pump()

    def do_drop(self, *names: str) -> None:
        self.flying = [m for m in self.flying if names and m.to not in names]

    def do_hold(self, name: str) -> None:
        self.owners[name].auto_sync = False

    def do_sync(self, name: str) -> None:
        self.owners[name].auto_sync = True
        self.owners[name].sync()

    def do_snapshot(self, name: str, *words: str) -> None:
        meta = self.owners[name].snapshot(" ".join(words).encode())
        self.lines.append(f"{meta.index}/{meta.term}, {meta.size} bytes")

    def do_crash(self, name: str) -> None:
        self.owners[name].crash()

    def do_start(self, name: str) -> None:
        self.owners[name].start()
        self.told.pop(name, None)

    def do_log(self, name: str) -> None:
        log = self.owners[name].node.log
        self.lines.append(f"base {log.base_index}/{log.base_term}, stable {log.stable}")
        entries = log.entries(log.base_index + 1, log.last_index)
        self.lines += [show_entry(entry) for entry in entries]

    def do_status(self, *names: str) -> None:
        for name in names or self.owners:
            status = self.owners[name].node.status()
            line = f"{name} {status.role.value} t{status.term} leader {status.leader}"
            line += f" last {status.last_index} commit {status.commit} applied {status.applied}"
            self.lines.append(line)
            for peer, progress in status.peers.items():
                self.lines.append(
                    f"  {peer} {progress.flow.value} match {progress.match} next {progress.next}"
                )

    def do_trace(self) -> None:
        """Show the lines since the last time, without their heads and fields that are 0."""
        self.pump()
        lines, self.trace[:] = list(self.trace), []
        self.model.read(lines)
        for line in lines:
            self.lines.append(show_event(json.loads(line)["event"]))

    # What comes of it

    def pump(self) -> None:
        for name, owner in self.owners.items():
            if owner.is_up:
                owner.pump()
                self.tell(name, owner)

    def tell(self, name: str, owner: Owner) -> None:
        """Show what was applied and which reads were answered since it was last shown."""
        applied, reads = self.told.get(name, (0, 0))
        entries = [entry for entry in owner.log_applied if entry.index > applied]
        self.lines += [f"{name} applies {show_entry(entry)}" for entry in entries]
        for read in owner.reads[reads:]:
            self.lines.append(f"{name} may read {read.context} at {read.index}")
        last = owner.log_applied[-1].index if owner.log_applied else applied
        self.told[name] = (last, len(owner.reads))
