"""The one task that owns the store, in memory alone or with a journal behind it.

With a journal, what the owner has applied is not to be seen before it is on disk: each answer
comes with the index of the last record that it may depend on, and the session keeps it back
until the journal has synced that far. The owner itself does not wait for the disk: while one
commit is being synced, the changes of all clients gather for the next.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio

from trio440.core.channels import Chan
from trio440.core.host import Host
from trio440.errors import BadMessage, InvalidParameter, JournalCorrupt, JournalFailed
from trio440.journal import Journal, JournalLimits, Recovered, open_journal
from trio440.linekv.changes import Contents, decode_changes, encode_changes, encode_contents
from trio440.linekv.limits import Counters, Limits
from trio440.linekv.protocol import Get, Request
from trio440.linekv.session import Answers, Batch, disk_refusal
from trio440.linekv.store import Refused, Store

__all__ = ["StoreOwner", "open_owner"]

LEAST_SEGMENT_BYTES: Final = 1_024


class StoreOwner:
    """Carries out the batches of all sessions, one at a time."""

    def __init__(
        self, store: Store, journal: Journal | None, limits: Limits, counters: Counters
    ) -> None:
        self._store = store
        self.journal = journal
        """What makes the store durable; None: nothing does."""
        self._limits = limits
        self._counters = counters
        self._logged_bytes = 0
        self._compacting = False
        self._publish()

    async def restore(self, recovered: Recovered) -> None:
        """Carry out what the journal held.

        Raises:
            BadMessage: that was not written by this module.
            InvalidParameter: it passes the limits.
        """
        for data in (recovered.snapshot or b"", *recovered.records):
            for request in decode_changes(data):
                answer = self._store.apply(request)
                if isinstance(answer, Refused):
                    raise InvalidParameter(
                        "limits", self._limits, f"enough for the journal, but {answer.problem}"
                    )
            await trio.lowlevel.checkpoint()
        self._logged_bytes = sum(map(len, recovered.records))
        self._publish()

    async def run(self, requests: Chan[Batch]) -> None:
        """Carry out batches until the channel is closed or this is cancelled."""
        async with trio.open_nursery() as nursery:
            async for batch in requests:
                try:
                    answered = await self._carry_out(batch.requests)
                except JournalFailed as error:
                    answered = Answers([disk_refusal(error)] * len(batch.requests), 0)
                batch.answers.send_nowait(answered)
                self._counters.requests += len(batch.requests)
                self._publish()
                self._compact_if_due(nursery)

    async def _carry_out(self, requests: list[Request]) -> Answers:
        """Change the store and have the changes written, soon.

        Raises:
            JournalFailed: nothing can be written; what the store has then is not to be seen.
        """
        journal = self.journal
        if journal is None:
            return Answers([self._store.apply(request) for request in requests], 0)
        if journal.failure is not None:
            return Answers([disk_refusal(journal.failure)] * len(requests), 0)
        answers = [self._store.apply(request) for request in requests]
        changes = [
            request
            for request, answer in zip(requests, answers, strict=True)
            if answer is None and not isinstance(request, Get)
        ]
        if changes:
            record = encode_changes(changes)
            self._logged_bytes += len(record)
            try:
                journal.append_nowait([record])
            except trio.WouldBlock:
                await journal.append([record])
        return Answers(answers, journal.last_index)

    def _compact_if_due(self, nursery: trio.Nursery) -> None:
        """Begin a snapshot when the log has become longer than the store itself."""
        due = max(self._limits.log_bytes, self._store.byte_count)
        if self.journal is not None and self._logged_bytes > due and not self._compacting:
            self._compacting = True
            self._logged_bytes = 0
            contents, index = self._store.contents(), self.journal.last_index
            nursery.start_soon(self._compact, self.journal, contents, index)

    async def _compact(self, journal: Journal, contents: Contents, index: int) -> None:
        with suppress(JournalFailed):  # clients learn it from their next request
            await journal.snapshot(partial(encode_contents, contents), index)
        self._compacting = False

    def _publish(self) -> None:
        self._counters.keys = self._store.key_count
        self._counters.memory_bytes = self._store.byte_count


@asynccontextmanager
async def open_owner(
    limits: Limits, counters: Counters, data: str | None, ports: Host
) -> AsyncIterator[StoreOwner]:
    """Make the store, restored from the journal in the directory ``data`` if there is one."""
    store = Store(max_keys=limits.keys, max_bytes=limits.memory_bytes)
    if data is None:
        yield StoreOwner(store, None, limits, counters)
        return
    most = JournalLimits().segment_bytes
    # A snapshot frees whole segments, so that the log must be several.
    segment_bytes = min(most, max(LEAST_SEGMENT_BYTES, limits.log_bytes // 4))
    journal_limits = JournalLimits(segment_bytes=segment_bytes)
    async with open_journal(data, limits=journal_limits, ports=ports) as journal:
        owner = StoreOwner(store, journal, limits, counters)
        try:
            await owner.restore(journal.take_recovered())
        except BadMessage as error:
            problem = f"this is not the journal of a linekv server: {error}"
            raise JournalCorrupt(data, 0, problem) from error
        yield owner
