"""The changes of a key-value map as a client watches them, each once and in order."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Self, final

import trio

from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    HandshakeRefused,
    HistoryCompacted,
    InvalidParameter,
    RemoteError,
)
from trio440.raft.endpoints import Endpoint, Endpoints
from trio440.raft.kv_messages import (
    Change,
    Changes,
    Compacted,
    Found,
    List,
    Since,
    decode_result,
    encode,
    prefix_end,
)
from trio440.raft.wire import Answered, Awaited, Clients, Outcome

__all__ = ["WatchedChanges"]

WATCH_SECONDS: Final = 10.0
"""A peer that has had nothing to tell for so long is left for the next one: it may be cut off."""


@final
class WatchedChanges:
    """Changes of the keys with a prefix; :meth:`Client.watch` opens one. One task iterates.

    They come in the order of their revisions, without a gap and without a repetition, whichever
    peers they come from; those of one revision follow each other. Each is committed.
    """

    def __init__(self, prefix: bytes, endpoints: Endpoints) -> None:
        self._prefix: Final = prefix
        self._end: Final = prefix_end(prefix)
        self._endpoints = endpoints
        self._place = endpoints.draw()
        self._asked = 0
        self._changes: deque[Change] = deque()
        self._revision = 0

    @property
    def revision(self) -> int:
        """All changes up to this revision were handed out: a later watch may go on behind it."""
        return self._revision

    async def begin(self, read: Callable[[bytes], Awaitable[bytes]], after: int | None) -> None:
        """Learn where the map is; for :meth:`Client.watch`."""
        if after is None:
            found = decode_result(await read(encode(List(self._prefix, self._end, 1))))
            if not isinstance(found, Found):
                raise BadMessage(f"a peer answered a list with {found}")
            self._revision = self._asked = found.revision
            return
        if after < 0:
            raise InvalidParameter("after", after, "at least 0")
        self._revision = self._asked = after
        self._take(await read(self._request()))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Wait for the next change, as long as it takes. Cancelled: none was taken.

        Raises:
            HistoryCompacted: the cluster has forgotten changes that were not handed out.
            HandshakeRefused: none of the addresses belongs to this cluster any more.
        """
        await trio.lowlevel.checkpoint()
        while not self._changes:
            self._take(await self._wait())
            if not self._changes:
                self._place += 1
                await self._endpoints.rest()
        change = self._changes.popleft()
        self._revision = self._changes[0].revision - 1 if self._changes else self._asked
        return change

    async def _wait(self) -> bytes:
        """Have one peer after the other wait for a change, until one answers."""
        addresses = self._endpoints.addresses
        refused = 0
        while True:
            outcome = None
            try:
                outcome = await self._wait_at(addresses[self._place % len(addresses)])
            except HandshakeRefused:
                refused += 1
                if refused >= len(addresses):
                    raise
            if isinstance(outcome, Answered):
                return outcome.data
            self._place += 1
            await self._endpoints.rest()

    async def _wait_at(self, address: Endpoint) -> Outcome | None:
        caller = await self._endpoints.reach(address)
        if caller is None:
            return None
        awaited = Awaited(self._request(), round(WATCH_SECONDS * 1000))
        seconds = WATCH_SECONDS + self._endpoints.attempt_seconds
        try:
            return await caller.call(Clients.watch, awaited, timeout_seconds=seconds)
        except (CallTimedOut, AnswerLost, RemoteError):
            return None

    def _request(self) -> bytes:
        return encode(Since(self._asked, self._prefix, self._end))

    def _take(self, data: bytes) -> None:
        answer = decode_result(data)
        if isinstance(answer, Compacted):
            raise HistoryCompacted(self._asked, answer.revision)
        if not isinstance(answer, Changes) or answer.revision < self._asked:
            raise BadMessage(f"a peer answered a watch with {answer}")
        self._asked = answer.revision
        self._changes += answer.changes
        if not answer.changes:
            self._revision = answer.revision
