"""SUBSCRIBE and its kin of one client."""

from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from trio440.errors import KvError
from trio440.kv.resp.batch import Batch, Step
from trio440.kv.resp.calls import Client, CommandError, check_pattern
from trio440.kv.resp.notifications import Hub
from trio440.kv.resp.outbox import Outbox, SlowReader
from trio440.kv.resp.parser import Request
from trio440.kv.resp.replies import RESP2, bulk, error, integer
from trio440.kv.resp.table import Command

__all__ = ["Subscriptions"]

ALLOWED: Final = frozenset(
    {"subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ping", "quit", "reset"}
)

KEPT_BYTES = 256
"""What a subscription is charged beside the bytes of its name."""
PATTERN_BYTES = 160
"""What one to a pattern is charged for each byte of it: what matches is much longer."""
SUBSCRIBED_AT_ONCE = 16
"""Names that are subscribed to before others have their turn."""


class Subscriptions:
    """The channels and the patterns that a client listens to."""

    def __init__(
        self,
        client: Client,
        hub: Hub,
        batch: Batch,
        outbox: Outbox,
        *,
        drain_soon: Callable[[], None],
        close: Callable[[], None],
    ) -> None:
        self.held_bytes = 0
        self._client = client
        self._hub = hub
        self._batch = batch
        self._outbox = outbox
        self._drain_soon = drain_soon
        self._close = close
        self._names: dict[bool, dict[bytes, None]] = {False: {}, True: {}}
        """Those of channels, and those of patterns."""

    @property
    def count(self) -> int:
        """Return how many there are."""
        return len(self._names[False]) + len(self._names[True])

    @property
    def confined(self) -> bool:
        """Whether RESP2 allows only a few commands while there are subscriptions."""
        return self._client.encoding is RESP2 and self.count > 0

    def check_allowed(self, command: Command, request: Request) -> None:
        """Refuse what RESP2 does not allow while there are subscriptions.

        Raises:
            CommandError: it is refused.
        """
        if self.confined and command.name not in ALLOWED:
            raise CommandError(
                f"ERR Can't execute '{command.full_name(request)}': only (P|S)SUBSCRIBE / "
                "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            )

    def begin(self, step: str, request: Request) -> Step | None:
        """Carry out a command of subscriptions, at once or once the batch is carried out."""
        pattern = step.startswith("p")
        if step.endswith("unsubscribe"):
            self.unsubscribe(request, pattern=pattern)
            return None
        return partial(self.subscribe, request, pattern=pattern)

    async def subscribe(self, request: Request, *, pattern: bool) -> None:
        """Answer SUBSCRIBE or PSUBSCRIBE; the batch is empty.

        Nothing is waited for between a subscription and the sending of its answer, since a message
        might overtake it.
        """
        word = b"psubscribe" if pattern else b"subscribe"
        names, said = self._names[pattern], list[bytes]()
        try:
            if not names.keys() >= set(request[1:]):
                await self._open()
            for name in request[1:]:
                if name not in names:
                    self._add(name, pattern=pattern)
                said.append(self._confirmation(word, bulk(name)))
                if len(said) == SUBSCRIBED_AT_ONCE:
                    await self._send(said)
                    await trio.lowlevel.checkpoint()
        except CommandError as problem:
            said.append(error(str(problem)))
        await self._send(said)

    async def _open(self) -> None:
        try:
            await self._hub.open()
        except KvError as problem:
            raise CommandError(f"ERR {problem}") from None

    def _add(self, name: bytes, *, pattern: bool) -> None:
        limits = self._client.server.limits
        if self.count >= limits.subscriptions:
            raise CommandError(f"ERR too many subscriptions, the limit is {limits.subscriptions}")
        if pattern:
            check_pattern(name, limits)
        self._hub.subscribe(self, name, pattern=pattern)
        self._names[pattern][name] = None
        self.held_bytes += _charge(name, pattern=pattern)

    async def _send(self, said: list[bytes]) -> None:
        self._batch.answers.append(b"".join(said))
        said.clear()
        await self._batch.flush()

    def unsubscribe(self, request: Request, *, pattern: bool) -> None:
        """Answer UNSUBSCRIBE or PUNSUBSCRIBE: from those that are named, or from all."""
        word = b"punsubscribe" if pattern else b"unsubscribe"
        names = self._names[pattern]
        wanted = list(request[1:]) or list(names)
        for name in wanted:
            if name in names:
                del names[name]
                self.held_bytes -= _charge(name, pattern=pattern)
                self._hub.unsubscribe(self, name, pattern=pattern)
            self._batch.answers.append(self._confirmation(word, bulk(name)))
        if not wanted:
            self._batch.answers.append(self._confirmation(word, self._client.encoding.null))

    def _confirmation(self, word: bytes, name: bytes) -> bytes:
        return self._client.encoding.push([bulk(word), name, integer(self.count)])

    def leave(self) -> None:
        """End all of them."""
        for pattern, names in self._names.items():
            for name in names:
                self._hub.unsubscribe(self, name, pattern=pattern)
            names.clear()
        self.held_bytes = 0

    def tell(self, pattern: bytes | None, channel: bytes, message: bytes) -> None:
        """Hand the client a message; see :class:`trio440.kv.resp.notifications.Subscriber`."""
        words = [b"message"] if pattern is None else [b"pmessage", pattern]
        parts = [bulk(part) for part in (*words, channel, message)]
        self._client.server.counters.messages += 1
        try:
            if self._outbox.push(self._client.encoding.push(parts)):
                self._drain_soon()
        except SlowReader:
            self._client.server.counters.clients_closed_slow += 1
            self.leave()
            self._close()
        except trio.BrokenResourceError:
            self.leave()
            self._close()

    def fall_behind(self) -> None:
        """Close the client, which would miss changes."""
        self.leave()
        self._close()


def _charge(name: bytes, *, pattern: bool) -> int:
    return KEPT_BYTES + len(name) * (PATTERN_BYTES if pattern else 1)
