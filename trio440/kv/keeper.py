"""What makes a server durable: one journal for all its actors.

An actor keeps what came into the server through it: the writes that it took, and those of other
servers; those of siblings are kept by these. So each write is in the journal once. When a server
is opened again, each of its actors begins with all of them.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, Literal, TypeAlias, final, get_args

import trio

from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import BadMessage, InvalidParameter, JournalCorrupt, JournalFailed
from trio440.journal import Journal, JournalLimits, open_journal
from trio440.kv.hlc import pack
from trio440.kv.keeping import (
    collect,
    encode_birth,
    encode_kept,
    encode_snapshot,
    restore,
)
from trio440.kv.records import Records
from trio440.kv.replica_core import Row
from trio440.kv.replica_limits import ReplicaLimits

__all__ = ["MOST_DURABLE_BYTES", "Durability", "Keeper", "open_keeper"]

Durability: TypeAlias = Literal["memory", "written", "synced"]
"""What an answer to a client means. ``memory``: nothing is kept. ``written``: what it tells of is
on its way to the disk, and a crash may lose the last moments. ``synced``: it is on the disk, of
what was read, too."""

MOST_DURABLE_BYTES: Final = 768 << 20
"""Of each replica of a durable server: a snapshot is one piece of at most 1 GiB."""
LEAST_SEGMENT_BYTES: Final = 1024
BUCKETS_AT_ONCE: Final = 512


@final
class Keeper:
    """The journal of one server; :func:`open_keeper` opens it."""

    def __init__(
        self,
        journal: Journal,
        nursery: trio.Nursery,
        *,
        is_synced: bool,
        log_bytes: int,
        logged: int = 0,
    ) -> None:
        self.replicas: list[Records] = []
        """Of the server's actors, for snapshots."""
        self._journal = journal
        self._nursery = nursery
        self._is_synced = is_synced
        self._log_bytes = log_bytes
        self._logged = logged
        """Bytes behind the last snapshot, those of earlier lives too."""
        self._is_compacting = False
        self._has_failed = trio.Event()

    @property
    def failure(self) -> JournalFailed | None:
        """Why nothing is kept any more."""
        return self._journal.failure

    async def wait_failed(self) -> JournalFailed:
        """Wait until somebody was told that nothing is kept any more, and return why."""
        await self._has_failed.wait()
        failure = self._journal.failure
        assert failure is not None  # noqa: S101 - that is what the event says
        return failure

    async def keep(self, rows: Sequence[Row]) -> None:
        """Append writes; waits only where the disk is far behind.

        A journal that has failed is told of by :meth:`settle`.
        """
        records = encode_kept(rows)
        self._logged += sum(map(len, records))
        try:
            try:
                self._journal.append_nowait(records)
            except trio.WouldBlock:
                await self._journal.append(records)
        except JournalFailed:
            self._has_failed.set()
        if self._logged > self._log_bytes and not self._is_compacting:
            state = max((replica.bytes for replica in self.replicas), default=0)
            if self._logged > state:
                self._is_compacting = True
                self._logged = 0
                self._nursery.start_soon(self._compact)

    async def settle(self) -> None:
        """Wait until what was appended is as lasting as this server promises.

        Raises:
            JournalFailed: it is not, and nothing will be.
        """
        try:
            if self._is_synced:
                await self._journal.sync()
            elif (failure := self._journal.failure) is not None:
                raise failure
        except JournalFailed:
            self._has_failed.set()
            raise

    async def _compact(self) -> None:
        """Put a snapshot in the place of what was appended so far."""
        upto = self._journal.last_index
        chunks: list[bytes] = []
        for rows in collect(list(self.replicas), BUCKETS_AT_ONCE):
            chunks += encode_kept(rows)
            await trio.lowlevel.checkpoint()
        horizon = max(replica.horizon for replica in self.replicas)
        born = max(replica.born for replica in self.replicas)
        with suppress(JournalFailed):  # clients learn it from their next request
            await self._journal.snapshot(partial(encode_snapshot, horizon, born, chunks), upto)
        self._is_compacting = False


@asynccontextmanager
async def open_keeper(
    directory: str | None, durability: Durability, limits: ReplicaLimits, ports: Host
) -> AsyncIterator[tuple[Keeper | None, Records | None]]:
    """Open a server's journal, and give what it holds; None and None without durability.

    Raises:
        InvalidParameter: a durability without a directory or the other way round, or limits that
            are too high for a durable server.
        JournalBusy, JournalCorrupt, JournalFailed: as of ``open_journal``.
    """
    if durability not in get_args(Durability):
        raise InvalidParameter(
            "durability", durability, f"one of {', '.join(get_args(Durability))}"
        )
    if (durability == "memory") != (directory is None):
        allowed = "given for a durability of written or synced, and for no other"
        raise InvalidParameter("data", directory, allowed)
    if directory is None:
        yield None, None
        return
    if limits.total_bytes > MOST_DURABLE_BYTES:
        allowed = f"at most {MOST_DURABLE_BYTES} for a durable server"
        raise InvalidParameter("total_bytes", limits.total_bytes, allowed)
    # A snapshot frees whole segments, so that the log must be several.
    segment_bytes = max(LEAST_SEGMENT_BYTES, limits.log_bytes // 4)
    journal_limits = JournalLimits(segment_bytes=min(JournalLimits().segment_bytes, segment_bytes))
    async with open_journal(directory, limits=journal_limits, ports=ports) as journal:
        recovered = journal.take_recovered()
        try:
            records = restore(recovered.snapshot, recovered.records, limits.grace_seconds * 1000)
        except BadMessage as error:
            problem = f"this is not the journal of a server of the store: {error}"
            raise JournalCorrupt(directory, 0, problem) from error
        if records is None:
            born = pack(ports.wall.now_ns() // 1_000_000)
            journal.append_nowait([encode_birth(born)])
            records = Records(limits.grace_seconds * 1000, born)
        async with open_service_nursery() as nursery:
            is_synced = durability == "synced"
            logged = sum(map(len, recovered.records))
            keeper = Keeper(
                journal, nursery, is_synced=is_synced, log_bytes=limits.log_bytes, logged=logged
            )
            yield keeper, records
