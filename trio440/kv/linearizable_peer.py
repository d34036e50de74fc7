"""A server of the linearizable engine: a Raft peer whose machine is a table, and its time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from trio440 import raft
from trio440.core.epochs import EpochTimer
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import LeadershipLost, NotLeader, PeerStopped, ProposalRefused
from trio440.kv.table_limits import TableLimits
from trio440.kv.table_machine import TableMachine, encode_tick
from trio440.rpc import Routes

__all__ = ["open_linearizable_peer"]

LOOK_SECONDS: Final = 0.05
"""A leader looks so often whether a key's time is over."""


@asynccontextmanager
async def open_linearizable_peer(
    config: raft.PeerConfig,
    limits: TableLimits | None = None,
    *,
    storage: raft.Storage | None = None,
    routes: Routes | None = None,
    report: Callable[[Exception], None] | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[raft.Peer[TableMachine]]:
    """Serve a namespace as one peer of a cluster for as long as the body runs.

    Where it leads it lets keys and leases end, up to 100 ms and the time of two commits after their
    time, and never before it: it counts the time itself, and no time of day matters. Where nobody
    leads, nothing ends, and a peer that comes to lead may not know of all the time that has
    passed. It costs no entry of the log while nothing begins or ends to have a time to live.

    Args:
        config: which peer, as for :func:`trio440.raft.open_peer`.
        limits: of the table; the same at all peers.
        storage: another one than ``config.directory`` says.
        routes: as for :func:`trio440.raft.open_peer`.
        report: likewise.
        ports: the machine to run on.

    Raises:
        InvalidParameter, WrongStorage, LostStorage, JournalBusy, JournalCorrupt, JournalFailed,
        PeerStopped, AddressError, RaftViolated: as for :func:`trio440.raft.open_peer`.
    """
    async with (
        raft.open_peer(
            config,
            TableMachine(limits),
            storage=storage,
            routes=routes,
            report=report,
            ports=ports,
        ) as peer,
        open_service_nursery() as nursery,
    ):
        nursery.start_soon(_let_things_end, peer, ports)
        yield peer


async def _let_things_end(peer: raft.Peer[TableMachine], ports: Host) -> None:
    """Say in the log what time it is whenever that matters, while this peer leads.

    The table's time goes on here from when it was last told, which every peer hears: so whoever
    comes to lead knows about how late it is, and is never ahead.
    """
    table, clock = peer.machine.table, ports.clock
    told_ms, told_at = table.now_ms, clock.now()
    async for _ in EpochTimer(LOOK_SECONDS, ports=ports):
        if table.now_ms != told_ms:
            told_ms, told_at = table.now_ms, clock.now()
        now_ms = told_ms + int((clock.now() - told_at) * 1000)
        deadline = table.next_deadline
        is_due = deadline is not None and deadline <= now_ms
        if not peer.is_leader or not (table.has_new_ends or is_due):
            continue
        try:
            await peer.propose(encode_tick(now_ms, ports.wall.now_ns() // 1_000_000))
        except (NotLeader, ProposalRefused, LeadershipLost):
            continue
        except PeerStopped:
            return
