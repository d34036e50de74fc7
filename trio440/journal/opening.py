"""Opening a journal: who owns its workers, its task and its lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import JournalFailed
from trio440.journal.files import JournalFiles
from trio440.journal.journal import Journal
from trio440.journal.limits import JournalLimits

__all__ = ["open_journal"]

SALT_BITS: Final = 64


@asynccontextmanager
async def open_journal(
    directory: str, *, limits: JournalLimits | None = None, ports: Host = REAL_HOST
) -> AsyncIterator[Journal]:
    """Open the journal in a directory, which is made when absent, for as long as the body runs.

    Opening recovers: what was acknowledged is there, in order, whatever cut the last life short;
    records that were appended but not acknowledged may be there, too, up to any one of them.
    All records behind the newest snapshot are read into memory.

    Leaving normally writes what was appended, waits for a snapshot under way and raises
    ``JournalFailed`` when that cannot be done, or the journal has failed before. Leaving by
    exception or cancellation writes nothing more.

    Args:
        directory: the journal's own; at most one process, and one task of it, has it open.
        limits: the bounds; the defaults of :class:`JournalLimits` when None.
        ports: the machine to run on.

    Raises:
        JournalBusy: somebody else has it open.
        JournalCorrupt: what had been synced is damaged or missing.
        JournalFailed: the disk cannot be read or written.
    """
    limits = limits or JournalLimits()
    salt, nonce = (ports.rng.getrandbits(SALT_BITS).to_bytes(SALT_BITS // 8) for _ in "12")
    async with ports.blocking.open_worker("trio440 journal") as worker:
        try:
            disk = await worker.run(ports.disk, directory)
        except OSError as error:
            raise JournalFailed(f"{directory} cannot be opened: {error}") from error
        files = JournalFiles(disk, directory, segment_bytes=limits.segment_bytes)
        try:
            try:
                found = await worker.run(files.open, salt, nonce)
            except OSError as error:
                raise JournalFailed(f"{directory} cannot be opened: {error}") from error
            async with (
                ports.blocking.open_worker("trio440 journal snapshots") as second,
                open_service_nursery() as nursery,
            ):
                journal = Journal(
                    files,
                    found,
                    limits=limits,
                    clock=ports.clock,
                    workers=(worker, second),
                    nursery=nursery,
                )
                nursery.start_soon(journal.run)
                try:
                    yield journal
                    await journal.finish()
                finally:
                    journal.abort()
        finally:
            with trio.CancelScope(shield=True):
                await worker.run(files.close)
