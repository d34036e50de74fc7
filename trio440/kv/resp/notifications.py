"""Changes of keys, told to subscribers under the names of Redis' keyspace notifications.

One watch of the namespace serves all subscribers of a server; it is open while there is one. What
can be told of a change is whether the key has a value behind it (``set``) or none (``del``)::

    __keyspace@0__:KEY   message: the event        __keyevent@0__:EVENT   message: the key

A subscriber from whom changes would be kept, because the engine lost the thread, is closed: it
knows then that it has to look for itself.
"""

from collections.abc import Callable
from typing import Final, Protocol

import attrs
import trio

from trio440.errors import KvError, StoreUnavailable
from trio440.kv.namespace import Namespace
from trio440.kv.operations import Change
from trio440.kv.resp.globs import MATCH_STEPS, match_steps, matcher
from trio440.kv.resp.limits import Counters

__all__ = ["Hub", "Subscriber"]

KEYSPACE: Final = b"__keyspace@0__:"
KEYEVENT: Final = b"__keyevent@0__:"
PATTERN_STEPS: Final = 4096
"""What a pattern takes, be it short: as many steps of matching."""


class Subscriber(Protocol):
    """A connection that hears of changes."""

    def tell(self, pattern: bytes | None, channel: bytes, message: bytes) -> None:
        """Hand it a message, which a pattern has found or not; never waits, never raises."""

    def fall_behind(self) -> None:
        """Close it: it would miss changes."""


@attrs.define
class _Audience:
    """Who listens to a channel, or to those that match a pattern."""

    matches: Callable[[bytes], bool]
    subscribers: dict[Subscriber, None] = attrs.field(factory=dict)


class Hub:
    """The subscribers of a server."""

    def __init__(self, namespace: Namespace, counters: Counters, nursery: trio.Nursery) -> None:
        self._namespace = namespace
        self._counters = counters
        self._nursery = nursery
        self._channels: dict[bytes, _Audience] = {}
        self._patterns: dict[bytes, _Audience] = {}
        self._opening = trio.Lock()
        self._watching: trio.CancelScope | None = None

    async def open(self) -> None:
        """See to it that changes from here on are heard.

        Raises:
            KvError: the namespace cannot be watched.
        """
        async with self._opening:
            if self._watching is None:
                problem = await self._nursery.start(self._watch)
                if problem is not None:
                    raise problem
                if self._watching is None:
                    raise StoreUnavailable("the watch for changes ended at once")

    def subscribe(self, subscriber: Subscriber, name: bytes, *, pattern: bool) -> None:
        """Let a subscriber hear of a channel, or of those that match; idempotent."""
        audiences = self._patterns if pattern else self._channels
        if name not in audiences:
            audiences[name] = _Audience(matcher(name) if pattern else name.__eq__)
        audiences[name].subscribers[subscriber] = None

    def unsubscribe(self, subscriber: Subscriber, name: bytes, *, pattern: bool) -> None:
        """Let it hear of that no more; idempotent."""
        audiences = self._patterns if pattern else self._channels
        audience = audiences.get(name)
        if audience is not None:
            audience.subscribers.pop(subscriber, None)
            if not audience.subscribers:
                del audiences[name]
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        idle = not self._channels and not self._patterns
        if idle and self._watching is not None and not self._opening.locked():
            self._watching.cancel()
            self._watching = None

    async def _watch(self, *, task_status: trio.TaskStatus[KvError | None]) -> None:
        has_begun = False
        with trio.CancelScope() as scope:
            try:
                async with self._namespace.watch() as changes:
                    self._watching, has_begun = scope, True
                    task_status.started(None)
                    async for change in changes:
                        await self._tell(change)
            except KvError as problem:
                if not has_begun:
                    task_status.started(problem)
                    return
            if self._watching is scope:
                self._watching = None
                self._lose_all()

    def _lose_all(self) -> None:
        every = [*self._channels.values(), *self._patterns.values()]
        for subscriber in {each: None for audience in every for each in audience.subscribers}:
            self._counters.clients_closed_behind += 1
            subscriber.fall_behind()

    async def _tell(self, change: Change) -> None:
        event = b"del" if change.value is None else b"set"
        messages = ((KEYSPACE + change.key, event), (KEYEVENT + event, change.key))
        for channel, message in messages:
            audience = self._channels.get(channel)
            for subscriber in () if audience is None else list(audience.subscribers):
                subscriber.tell(None, channel, message)
        steps = 0
        for pattern, audience in list(self._patterns.items()):
            steps += PATTERN_STEPS + 2 * match_steps(pattern, messages[0][0])
            if steps > MATCH_STEPS:
                steps = 0
                await trio.lowlevel.checkpoint()
            for channel, message in messages:
                if audience.matches(channel):
                    for subscriber in list(audience.subscribers):
                        subscriber.tell(pattern, channel, message)
