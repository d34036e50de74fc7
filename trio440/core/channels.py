"""``Chan``: Go's channel, made of a trio memory channel and two queues of parked selects.

Plain operations that have to wait do so in the memory channel. A ``select`` cannot: it waits in
several channels at once. It stands in the queues of its channels instead, and every operation
looks there before it waits itself. Two rules keep the two kinds of waiting together:

* a select stands in a queue only while its case cannot happen: whoever could change that serves
  the queue instead;
* a plain operation waits in the memory channel only while the queue of its side is empty, and
  behind the others in that queue otherwise. Hence whoever waits in the memory channel came
  before everybody in the queue, and the order of arrival is kept across both.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar, final

import attrs
import trio
from outcome import Error, Value

from trio440.core.parking import Parked, WaitQueue, current_turn
from trio440.errors import InvalidParameter

__all__ = [
    "Case",
    "Chan",
    "ChanStatistics",
    "Ended",
    "ReceiveCase",
    "Received",
    "SendCase",
    "Sent",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
OutcomeT_co = TypeVar("OutcomeT_co", covariant=True)


@attrs.frozen
class Received(Generic[T_co]):
    """A receive case happened: this is the value."""

    value: T_co


@attrs.frozen
class Ended:
    """A receive case happened: the channel is closed and drained, there will be no value."""


@attrs.frozen
class Sent:
    """A send case happened: a receiver or the buffer has the value."""


ENDED: Final = Ended()
SENT: Final = Sent()


@attrs.frozen
class ChanStatistics:
    """What a channel holds at one moment, in the words of trio's memory channels."""

    current_buffer_used: int
    """Values in the buffer."""
    max_buffer_size: int
    """The most values the buffer takes: the channel's capacity."""
    tasks_waiting_send: int
    """Tasks that wait to send, in ``send`` or in ``select``."""
    tasks_waiting_receive: int
    """Tasks that wait to receive, in ``receive`` or in ``select``."""
    closed: bool
    """Whether the channel was closed; values may still be in the buffer."""


@final
class Case(Generic[OutcomeT_co]):
    """One thing that a select may do: made by a :class:`Chan`, understood by ``select``.

    A case does nothing by itself, may be dropped unused, and may be given to any number of
    selects, also at the same time: each time it happens is an operation of its own.
    """

    __slots__ = ("attempt", "offer", "queue")

    def __init__(
        self,
        attempt: Callable[[], OutcomeT_co | None],
        queue: WaitQueue[tuple[int, Any]],
        offer: Any,
    ) -> None:
        self.attempt = attempt
        """Does it if that is possible without waiting, and otherwise returns None."""
        self.queue = queue
        """Where to wait for it, with the number of the case and the offer."""
        self.offer = offer
        """The value to be sent; None in a receive case."""


ReceiveCase: TypeAlias = Case[Received[T] | Ended]
"""To receive from a channel; see :meth:`Chan.receiving`."""

SendCase: TypeAlias = Case[Sent]
"""To send a value to a channel; see :meth:`Chan.sending`."""


@final
class Chan(Generic[T]):
    """A channel between tasks of one trio run, as in Go: shared as a whole, closed by senders.

    ::

        numbers = Chan[int]()  # unbuffered: a send waits for its receiver
        words = Chan[str](16)  # buffered: a send waits only while 16 values are in the buffer

    Values arrive in the order in which they were sent. Tasks that wait, in plain operations or
    in :func:`~trio440.core.select`, are served in the order in which they came: nobody starves.

    Every operation checks for cancellation first, and one that raises ``Cancelled`` has done
    nothing: no value was taken and none was given. Operations that do not have to wait return
    without a switch to other tasks, except for every 64th, counted over all channels of the run.

    Not safe for use from several threads.
    """

    __slots__ = (
        "__weakref__",
        "_capacity",
        "_closed",
        "_memory_receive",
        "_memory_send",
        "_plain_receives",
        "_plain_sends",
        "_receivers",
        "_senders",
    )

    def __init__(self, capacity: int = 0) -> None:
        """Make an open, empty channel.

        Args:
            capacity: how many values the buffer takes, 0 or more.

        Raises:
            InvalidParameter: the capacity is negative.
        """
        if capacity < 0:
            raise InvalidParameter("capacity", capacity, "0 or more")
        self._capacity = capacity
        self._closed = False
        self._memory_send, self._memory_receive = trio.open_memory_channel[T](capacity)
        # Operations inside the memory channel's send and receive. They may have been woken or
        # cancelled already, so these are upper bounds of how many wait there.
        self._plain_sends = 0
        self._plain_receives = 0
        # Who waits beside the memory channel: the number of the select's case, and its offer.
        # Made for the first select: most channels never see one, and checking for None is quick.
        self._receivers: WaitQueue[tuple[int, None]] | None = None
        self._senders: WaitQueue[tuple[int, T]] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<{state} Chan of capacity {self._capacity} at {id(self):#x}>"

    @trio.lowlevel.enable_ki_protection
    def send_nowait(self, value: T) -> None:
        """Send without waiting.

        Raises:
            trio.WouldBlock: no receiver waits and the buffer is full; nothing was sent.
            trio.ClosedResourceError: the channel is closed.
        """
        if self._receivers is None or not self._receivers:
            return self._memory_send.send_nowait(value)
        return self._serve_receiver(self._receivers, value)

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: T) -> None:
        """Send, waiting for a receiver or for room in the buffer.

        Cancelled: the value was not sent.

        Raises:
            trio.ClosedResourceError: the channel is closed, or was closed during the wait; the
                value was not sent.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.send_nowait(value)
        except trio.WouldBlock:
            pass
        else:
            if current_turn().is_over():
                await trio.lowlevel.cancel_shielded_checkpoint()
            return
        if self._senders:
            parked = Parked()
            parked.join(self._senders, (0, value))
            await parked.wait()
            return
        self._plain_sends += 1
        try:
            await self._memory_send.send(value)
        finally:
            self._plain_sends -= 1

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(self) -> T:
        """Receive without waiting.

        Raises:
            trio.WouldBlock: the buffer is empty and no sender waits.
            trio.EndOfChannel: the channel is closed and drained.
        """
        if self._senders is None or not self._senders:
            return self._memory_receive.receive_nowait()
        return self._receive_and_serve_sender(self._senders)

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> T:
        """Receive the next value, waiting for one.

        Cancelled: no value was taken.

        Raises:
            trio.EndOfChannel: the channel is closed and drained.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            value = self.receive_nowait()
        except trio.WouldBlock:
            pass
        else:
            if current_turn().is_over():
                await trio.lowlevel.cancel_shielded_checkpoint()
            return value
        if self._receivers:
            parked = Parked()
            parked.join(self._receivers, (0, None))
            _, outcome = await parked.wait()
            if outcome is ENDED:
                raise trio.EndOfChannel
            received: Received[T] = outcome
            return received.value
        self._plain_receives += 1
        try:
            return await self._memory_receive.receive()
        finally:
            self._plain_receives -= 1

    def receiving(self) -> ReceiveCase[T]:
        """Make the case of a select that receives from this channel.

        It comes out as :class:`Received` with a value, or as :class:`Ended` once the channel is
        closed and drained.
        """
        if self._receivers is None:
            self._receivers = OrderedDict()
        return Case(self._attempt_receive, self._receivers, None)

    def sending(self, value: T) -> SendCase:
        """Make the case of a select that sends ``value`` to this channel.

        It comes out as :class:`Sent`. If the channel is closed, or is closed while the select
        waits, the select raises ``trio.ClosedResourceError``.
        """
        if self._senders is None:
            self._senders = OrderedDict()
        return Case(partial(self._attempt_send, value), self._senders, value)

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Close the channel: there will be no more values than those in the buffer. Idempotent.

        For the sending side to call. Sends that wait fail with ``trio.ClosedResourceError``,
        like those that come later; their values are not sent. Receives that wait end with
        ``trio.EndOfChannel``, like those that come later and find the buffer empty.
        """
        self._closed = True
        self._memory_send.close()
        while self._receivers:  # receivers first, as in Go: matters to a select that is both
            parked, (index, _) = self._receivers.popitem(last=False)
            parked.wake(Value((index, ENDED)))
        while self._senders:
            parked, _ = self._senders.popitem(last=False)
            parked.wake(Error(trio.ClosedResourceError()))

    async def aclose(self) -> None:
        """Close the channel, also when cancelled, and let other tasks run."""
        self.close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> ChanStatistics:
        """Return what the channel holds now."""
        memory = self._memory_send.statistics()
        return ChanStatistics(
            current_buffer_used=memory.current_buffer_used,
            max_buffer_size=self._capacity,
            tasks_waiting_send=memory.tasks_waiting_send + len(self._senders or ()),
            tasks_waiting_receive=memory.tasks_waiting_receive + len(self._receivers or ()),
            closed=self._closed,
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _serve_receiver(self, receivers: WaitQueue[tuple[int, None]], value: T) -> None:
        """Give a value to whoever has waited longest, while somebody stands in the queue."""
        if self._plain_receives and self._memory_send.statistics().tasks_waiting_receive:
            self._memory_send.send_nowait(value)
        else:
            parked, (index, _) = receivers.popitem(last=False)
            parked.wake(Value((index, Received(value))))

    def _receive_and_serve_sender(self, senders: WaitQueue[tuple[int, T]]) -> T:
        """Take the next value, while senders stand in the queue, and let one of them go on."""
        try:
            value = self._memory_receive.receive_nowait()
        except trio.WouldBlock:  # there is no buffer, and nobody waits in the memory channel
            parked, (index, value) = senders.popitem(last=False)
            parked.wake(Value((index, SENT)))
            return value
        parked, (index, next_value) = next(iter(senders.items()))
        try:
            self._memory_send.send_nowait(next_value)
        except trio.WouldBlock:  # an older send, waiting in the memory channel, was served
            return value
        parked.wake(Value((index, SENT)))
        return value

    def _attempt_receive(self) -> Received[T] | Ended | None:
        if not (self._capacity or self._plain_sends or self._senders or self._closed):
            return None  # nobody can be there; saves the price of an exception
        try:
            return Received(self.receive_nowait())
        except trio.WouldBlock:
            return None
        except trio.EndOfChannel:
            return ENDED

    def _attempt_send(self, value: T) -> Sent | None:
        try:
            self.send_nowait(value)
        except trio.WouldBlock:
            return None
        return SENT
