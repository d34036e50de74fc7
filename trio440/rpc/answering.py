"""What a server does with the requests of one connection: look up, decode, handle, answer.

Handlers that do not wait are run here; an async handler comes out as a coroutine that ends with
the frame of its answer, and who runs it is the caller's business.
"""

from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeAlias

from trio440.core.host import Clock
from trio440.errors import BadMessage
from trio440.rpc.envelope import NO_DEADLINE, Call, Tell
from trio440.rpc.hello import Peer
from trio440.rpc.limits import ServerCounters
from trio440.rpc.outbox import Outbox
from trio440.rpc.replies import Replies
from trio440.rpc.service import Route

__all__ = ["Answering", "Work"]

MICROSECONDS: Final = 1_000_000

Work: TypeAlias = Coroutine[Any, Any, bytes | None]
"""An async handler that is to be run, up to the frame that answers; None for a one-way message."""


class Answering:
    """Takes the requests of one client."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        peer: Peer,
        *,
        replies: Replies,
        counters: ServerCounters,
        clock: Clock,
        outbox: Outbox,
    ) -> None:
        """Begin, for requests of ``peer``, with answers to go into ``outbox``."""
        self._routes = routes
        self._peer = peer
        self._replies = replies
        self._counters = counters
        self._clock = clock
        self._outbox = outbox
        self._gathered: list[bytes] = []
        self.gathered_bytes = 0
        """Of answers that wait for :meth:`flush`."""
        self.arrived = 0.0
        """When the requests arrived that are taken now, on the machine's clock."""

    def take_call(self, call: Call) -> Work | None:
        """Answer a call, or return what is to be run for it."""
        self._counters.calls += 1
        route = self._routes.get(call.method)
        if route is None or not route.is_answered:
            self.gather(self._replies.failure(call.id, "UnknownMethod", call.method))
            return None
        try:
            request = route.decode_untrusted(call.body)
        except BadMessage as error:
            self.gather(self._replies.failure(call.id, "BadRequest", str(error)))
            return None
        deadline = None
        if call.left_us != NO_DEADLINE:
            deadline = self.arrived + call.left_us / MICROSECONDS
            if deadline <= self._clock.now():
                self.gather(self._replies.too_late(call.id))
                return None
        if route.waits:
            return self._handle_call(call.id, route, request, deadline)
        try:
            result = route.handler(request, self._peer)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            self.gather(self._replies.failed(call.id, route, error))
        else:
            self.gather(self._replies.answer(call.id, route, result))
        return None

    def take_tell(self, message: Tell) -> Work | None:
        """Take a one-way message, or return what is to be run for it."""
        self._counters.tells += 1
        route = self._routes.get(message.method)
        if route is None or route.is_answered:
            return None
        try:
            request = route.decode_untrusted(message.body)
            if not route.waits:
                route.handler(request, self._peer)
                return None
        except Exception as error:  # noqa: BLE001 - nobody waits for an answer
            self._replies.report_failure(route, error)
            return None
        return self._handle_tell(route, request)

    def gather(self, frame: bytes) -> None:
        """Keep an answer until the burst that was read is through."""
        self._gathered.append(frame)
        self.gathered_bytes += len(frame)

    def flush(self) -> None:
        """Send the answers that were gathered."""
        if self._gathered:
            burst = b"".join(self._gathered)
            self._gathered.clear()
            self.gathered_bytes = 0
            self._outbox.put_alone(burst)

    async def _handle_call(
        self, call_id: int, route: Route, request: Any, deadline: float | None
    ) -> bytes:
        handle, answer = route.handler, self._replies.answer
        try:
            if deadline is None:
                return answer(call_id, route, await handle(request, self._peer))
            with self._clock.move_on_at(deadline):
                return answer(call_id, route, await handle(request, self._peer))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            return self._replies.failed(call_id, route, error)
        return self._replies.too_late(call_id)

    async def _handle_tell(self, route: Route, request: Any) -> None:
        try:
            await route.handler(request, self._peer)
        except Exception as error:  # noqa: BLE001 - nobody waits for an answer
            self._replies.report_failure(route, error)
