"""A node that tells a recorder what it does, event by event. Pure.

It is a node whose parts say what they are about to do, so that a node that is not traced pays
nothing, and one that is says it in the order in which it happens.
"""

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs

from trio440.raft.config import Config
from trio440.raft.membership import Configuration
from trio440.raft.messages import (
    Append,
    AppendReply,
    EntryKind,
    InstallSnapshot,
    Message,
    SnapshotMeta,
)
from trio440.raft.node import Node
from trio440.raft.ready import Ready
from trio440.raft.replication import Replication
from trio440.raft.roles import Roles
from trio440.raft.state import State
from trio440.raft.storage import Stored
from trio440.raft.trace_lines import Recorder, event_of, shown_role

__all__ = ["TracedNode", "make_node"]

IGNORED = ("misdirected", "disloyal")
"""Counts that grow when a message is taken for one that was never received."""


class _Teller:
    """Says what one peer does."""

    def __init__(self, state: State, recorder: Recorder) -> None:
        self.recorder = recorder
        self.piece: InstallSnapshot | None = None
        """The last one of the snapshot that is being installed."""
        self._state = state
        self._conf = state.configurations.current
        self._first = recorder.encode("InitState", state, prop={"lastTerm": state.log.last_term})
        """Told before all else; a peer that is never let in tells nothing."""
        self._held = b""
        self._cause = ""

    def event(
        self, name: str, message: Message | None = None, prop: Mapping[str, Any] | None = None
    ) -> None:
        """Tell of an event, and before of what was received and of new members."""
        self.let_go()
        self._tell_members()
        self._put(self.recorder.encode(name, self._state, message, prop))

    def _put(self, event: bytes) -> None:
        if self._first:
            first, self._first = self._first, b""
            self.recorder.put(first)
        self.recorder.put(event)

    def _tell_members(self) -> None:
        current = self._state.configurations.current
        if current is not self._conf:
            self._conf = current
            change = {"newconf": self.recorder.conf(current)[0]}
            self._put(self.recorder.encode("ApplyConfChange", self._state, prop={"cc": change}))

    def sent(self, message: Message) -> None:
        """Tell of a message that is on its way, if it has a counterpart."""
        name = event_of(message)
        if name is not None:
            self.event(f"Send{name}", message)

    def hold(self, message: Message, prop: Mapping[str, Any] | None = None) -> None:
        """Keep what there is to tell of a message that arrives, until something comes of it."""
        name = event_of(message)
        self._cause = "" if name else type(message).__name__
        if name is not None and message.to == self._state.id:
            self._tell_members()
            self._held = self.recorder.encode(f"Receive{name}", self._state, message, prop)

    def let_go(self) -> None:
        """Tell of the message that is held, if there is one."""
        if self._held:
            held, self._held = self._held, b""
            self._put(held)

    def forget(self) -> None:
        """Let it count as lost."""
        self._held = b""

    def became_follower(self, *, in_new_term: bool) -> None:
        """Tell of a step down; and which message it was, where that has no counterpart."""
        prop = {"cause": self._cause} if in_new_term and self._cause else None
        self.event("BecomeFollower", prop=prop)

    def change(self, before: Configuration, after: Configuration) -> None:
        """Tell of members that a leader proposes."""
        number, recorder = self.recorder.number, self.recorder
        kinds = [
            ("AddNewServer", set(after.voters) - set(before.voters)),
            ("RemoveServer", set(before.members) - set(after.members)),
            ("AddLearner", set(after.learners) - set(before.learners)),
        ]
        changes = [
            {"nid": number(name), "action": action}
            for action, names in kinds
            for name in sorted(names)
        ]
        change: dict[str, Any] = {"newconf": recorder.conf(after)[0]}
        if changes:
            change["changes"] = changes
        self.event("ChangeConf", prop={"cc": change, "conf": recorder.conf(after)})


@attrs.define(eq=False)
class _TracedState(State):
    """Tells of messages as they are made."""

    teller: _Teller | None = None

    def send(self, message: Message) -> None:
        """Send, and tell."""
        super().send(message)
        if self.teller is not None:
            self.teller.sent(message)

    def send_after_sync(self, message: Message) -> None:
        """Send after a sync, and tell."""
        super().send_after_sync(message)
        if self.teller is not None:
            self.teller.sent(message)


class _TracedRoles(Roles):
    """Tells of roles, and of a leader's entries and commits."""

    @property
    def teller(self) -> _Teller:
        """Who is told."""
        assert isinstance(self._state, _TracedState)  # noqa: S101 - made by TracedNode
        assert self._state.teller is not None  # noqa: S101 - the same
        return self._state.teller

    def step(self, message: Message) -> None:
        """Take in a message, which is told unless it is the same as lost."""
        state, teller = self._state, self.teller
        counts = [state.counts[name] for name in IGNORED]
        installing = state.installing
        is_piece = isinstance(message, InstallSnapshot) and message.meta.index > state.log.commit
        is_late = isinstance(message, Append) and installing is not None
        ignores = (is_piece or is_late) and message.term >= state.term
        teller.hold(message)
        try:
            super().step(message)
        except BaseException:
            teller.let_go()
            raise
        if ignores or counts != [state.counts[name] for name in IGNORED]:
            teller.forget()
        teller.let_go()
        if isinstance(message, InstallSnapshot) and state.installing is not installing:
            teller.piece = message

    def append(self, kind: EntryKind, data: bytes) -> tuple[int, int]:
        """Append an entry; changes of members are told of by :meth:`reconfigure`."""
        if kind is not EntryKind.CONFIGURATION:
            self.teller.event("Replicate")
        return super().append(kind, data)

    def reconfigure(self, configuration: Configuration) -> tuple[int, int]:
        """Append a configuration."""
        self.teller.change(self._state.configurations.current, configuration)
        return super().reconfigure(configuration)

    def _become_follower(self, term: int, leader: str | None) -> None:
        state = self._state
        role, before = shown_role(state.role), state.term
        super()._become_follower(term, leader)
        if (role, before) != (shown_role(state.role), state.term):
            self.teller.became_follower(in_new_term=state.term != before)

    def _become_candidate(self) -> None:
        super()._become_candidate()
        self.teller.event("BecomeCandidate")

    def _take_the_lead(self) -> None:
        super()._take_the_lead()
        self.teller.event("BecomeLeader")

    def _advance_commit(self, leading: Replication) -> bool:
        has_grown = super()._advance_commit(leading)
        if has_grown:
            self.teller.event("Commit")
        return has_grown


class TracedNode(Node):
    """A node that is traced."""

    _STATE = _TracedState
    _ROLES = _TracedRoles

    def __init__(
        self,
        node_id: str,
        config: Config,
        stored: Stored,
        rng: random.Random,
        recorder: Recorder,
    ) -> None:
        """Start as any node does, and tell ``recorder`` of everything; see :class:`Node`."""
        super().__init__(node_id, config, stored, rng)
        assert isinstance(self._state, _TracedState)  # noqa: S101 - made by the line above
        self._state.teller = self._teller = _Teller(self._state, recorder)
        # What a leader says to itself of its own log, for each Ready with entries.
        self._own_replies: deque[AppendReply | None] = deque()

    def ready(self) -> Ready | None:
        """Return what is to be done."""
        ready = super().ready()
        if ready is None:
            return None
        if ready.entries:
            reply = None
            if self.is_leader:
                reply = AppendReply(self.id, self.id, self.term, ready.last_index)
                self._teller.sent(reply)
            self._own_replies.append(reply)
        self._teller.event("Ready")
        return ready

    def persisted(self, index: int, term: int) -> None:
        """Say that a Ready's entries are durable."""
        reply = self._own_replies.popleft()
        if reply is not None:
            self._teller.hold(reply)
            self._teller.let_go()
        super().persisted(index, term)

    def snapshot_persisted(self, meta: SnapshotMeta) -> int:
        """Say that a snapshot is durable; one from a leader counts as received now."""
        piece = self._teller.piece
        if self._state.installing == meta and piece is not None:
            self._teller.hold(piece, {"installed": meta.index})
            self._teller.let_go()
        return super().snapshot_persisted(meta)


def make_node(
    node_id: str, config: Config, stored: Stored, rng: random.Random, recorder: Recorder | None
) -> Node:
    """Return a node, traced if there is a recorder."""
    if recorder is None:
        return Node(node_id, config, stored, rng)
    return TracedNode(node_id, config, stored, rng, recorder)
