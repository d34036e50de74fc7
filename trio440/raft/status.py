"""What a peer says about itself."""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from trio440.raft.membership import Configuration
from trio440.raft.progress import Flow
from trio440.raft.replication import Replication
from trio440.raft.state import Role, State

__all__ = ["PeerStatus", "Status", "describe"]


@attrs.frozen(kw_only=True)
class PeerStatus:
    """Another peer, as the leader sees it."""

    match: int
    """It has everything up to here."""
    next: int
    flow: Flow
    inflight: int
    """Appends on their way to it."""
    is_reachable: bool
    """Whether it was heard lately."""
    is_caught_up: bool
    """Of a learner: whether it may be promoted."""
    snapshot_offset: int | None
    """Bytes of a snapshot that it has, while one is sent."""


@attrs.frozen(kw_only=True)
class Status:
    """A peer at one moment."""

    id: str
    role: Role
    term: int
    leader: str | None
    vote: str | None
    first_index: int
    """The first entry in the log, one past the last where it is empty."""
    last_index: int
    stable: int
    """Durable up to here."""
    commit: int
    applied: int
    snapshot_index: int
    configuration: Configuration
    configuration_index: int
    is_installing: bool
    transferee: str | None
    has_lease: bool
    pending_reads: int
    uncommitted_bytes: int
    peers: Mapping[str, PeerStatus]
    """Of a leader, by id; empty for all others."""
    counts: Mapping[str, int]
    """Events since the start, by name."""


def describe(
    state: State, leading: Replication | None, pending_reads: int, uncommitted_bytes: int
) -> Status:
    """Return the status of a peer."""
    log = state.log
    peers = {}
    if leading is not None:
        for peer, progress in leading.progress.items():
            peers[peer] = PeerStatus(
                match=progress.match,
                next=progress.next,
                flow=progress.flow,
                inflight=len(progress.window),
                is_reachable=progress.active,
                is_caught_up=leading.is_caught_up(peer),
                snapshot_offset=None if progress.snapshot is None else progress.offset,
            )
    return Status(
        id=state.id,
        role=state.role,
        term=state.term,
        leader=state.leader,
        vote=state.vote,
        first_index=log.base_index + 1,
        last_index=log.last_index,
        stable=log.stable,
        commit=log.commit,
        applied=log.applied,
        snapshot_index=state.snapshot.index,
        configuration=state.configurations.current,
        configuration_index=state.configurations.index,
        is_installing=state.installing is not None,
        transferee=None if leading is None else leading.transferee,
        has_lease=leading is not None and leading.has_lease(),
        pending_reads=pending_reads,
        uncommitted_bytes=uncommitted_bytes,
        peers=MappingProxyType(peers),
        counts=MappingProxyType(dict(state.counts)),
    )
