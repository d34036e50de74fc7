"""What a peer does as lines of JSON, in the form that etcd's Raft validates against TLA+. Pure.

One line is one event: its name, the peer, the peer's state, and a message where there is one. See
``state_trace.go`` and ``tla/Traceetcdraft.tla`` of etcd-io/raft, and docs/raft-traces.md for what
stands for what. The state is the one after the event, but before it for ``Receive...``,
``Replicate`` and ``ChangeConf``.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from trio440.raft.membership import Configuration
from trio440.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    RequestVote,
    VoteReply,
)
from trio440.raft.state import Role, State

__all__ = ["Recorder", "describe", "event_of", "shown_role"]

NOBODY: Final = "0"
LARGEST: Final = (1 << 64) - 1
NANOSECONDS: Final = 1_000_000_000

_ROLES: Final = {
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StateFollower",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}
_EVENTS: Final = {
    "MsgApp": "AppendEntriesRequest",
    "MsgHeartbeat": "AppendEntriesRequest",
    "MsgSnap": "AppendEntriesRequest",
    "MsgAppResp": "AppendEntriesResponse",
    "MsgHeartbeatResp": "AppendEntriesResponse",
    "MsgVote": "RequestVoteRequest",
    "MsgVoteResp": "RequestVoteResponse",
}


def shown_role(role: Role) -> str:
    """Return a role as a trace has it; who asks for pre-votes is still a follower."""
    return _ROLES[role]


class Recorder:
    """Writes the lines of any number of peers, in the order in which it is told."""

    def __init__(
        self,
        write: Callable[[bytes], object],
        now_ns: Callable[[], int],
        numbers: Mapping[str, int] | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            write: takes each line, its end included; must not raise or block.
            now_ns: the time of day in nanoseconds. Lines have times that grow, whatever it says.
            numbers: by peer, 1 to 2**64 - 1, what it is called. Others have a number that is made
                of their name, the same everywhere, and a line that says so; a name that is such a
                number stays what it is.
        """
        self._write = write
        self._now_ns = now_ns
        self._last_ns = 0
        self._names = {name: str(number) for name, number in (numbers or {}).items()}

    def encode(
        self,
        name: str,
        state: State,
        message: Message | None = None,
        prop: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return an event as :meth:`put` takes it."""
        log = state.log
        fields: dict[str, Any] = {
            "name": name,
            "nid": self.number(state.id),
            "state": {"term": state.term, "vote": self.number(state.vote), "commit": log.commit},
            "role": _ROLES[state.role],
            "log": log.last_index,
            "conf": self.conf(state.configurations.current),
        }
        if message is not None:
            fields["msg"] = self._message(message)
        if prop:
            fields["prop"] = prop
        return msgspec.json.encode(fields)

    def put(self, event: bytes) -> None:
        """Write an event that was encoded before."""
        self._line("trace", b'"event":' + event)

    def _line(self, tag: str, rest: bytes) -> None:
        # etcd's validate.sh sorts lines as text by what follows the second colon: the time.
        self._last_ns = now = max(self._now_ns(), self._last_ns + 1)
        head = b'{"level":"debug","ts":%d.%09d,"tag":"%s",'
        self._write(head % (*divmod(now, NANOSECONDS), tag.encode()) + rest + b"}\n")

    def number(self, name: str | None) -> str:
        """Return what a peer is called, "0" for nobody."""
        if name is None:
            return NOBODY
        number = self._names.get(name)
        if number is None:
            is_number = name.isascii() and name.isdecimal() and not name.startswith("0")
            if is_number and int(name) <= LARGEST:
                number = name
            else:
                digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
                number = str(int.from_bytes(digest[:8], "big") or 1)
            self._names[name] = number
            if number != name:
                self._line("id", msgspec.json.encode({"name": name, "nid": number})[1:-1])
        return number

    def conf(self, configuration: Configuration) -> list[list[str]]:
        """Return the voters, and those before while a change is half done."""
        groups = (configuration.voters, configuration.outgoing)
        return [sorted(map(self.number, group), key=int) for group in groups]

    def _message(self, message: Message) -> dict[str, Any]:
        kind, fields = describe(message)
        return {
            "type": kind,
            "term": message.term,
            "from": self.number(message.sender),
            "to": self.number(message.to),
            "entries": 0,
            "logTerm": 0,
            "index": 0,
            "commit": 0,
            "vote": NOBODY,
            "reject": False,
            "rejectHint": 0,
            **fields,
        }


def event_of(message: Message) -> str | None:
    """Return what the sending or receiving of a message is called; None: it has no counterpart."""
    kind, _ = describe(message)
    return _EVENTS.get(kind)


def describe(message: Message) -> tuple[str, dict[str, Any]]:  # noqa: PLR0911 - one for each kind
    """Return what a message is for etcd, and the fields that are not 0; "" for no counterpart."""
    match message:
        case Append(prev_index=index, prev_term=term, entries=entries):
            # What the receiver may make of the commit, which is all that etcd's model sends.
            commit = min(message.commit, index + len(entries))
            fields = {"entries": len(entries), "logTerm": term, "index": index, "commit": commit}
            return "MsgApp", fields
        case AppendReply(index=index, hint_index=hint, hint_term=term) if message.rejected:
            return "MsgAppResp", {
                "logTerm": term,
                "index": index,
                "reject": True,
                "rejectHint": hint,
            }
        case AppendReply(index=index):
            return "MsgAppResp", {"index": index}
        case Heartbeat(commit=commit):
            return "MsgHeartbeat", {"commit": commit}
        case HeartbeatReply():
            return "MsgHeartbeatResp", {}
        case InstallSnapshot(meta=meta):
            return "MsgSnap", {"entries": meta.index}
        case RequestVote(last_index=index, last_term=term) if not message.pre:
            return "MsgVote", {"logTerm": term, "index": index}
        case VoteReply(granted=granted) if not message.pre:
            return "MsgVoteResp", {"reject": not granted}
        case _:
            return "", {}
