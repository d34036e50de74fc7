"""Chan: what each operation does, when it waits, and who is served first."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from outcome import Error, Value
from trio.testing import wait_all_tasks_blocked

from trio440.core import Chan, Ended, Received, Sent, select
from trio440.core.parking import Parked, Turn
from trio440.errors import InvalidParameter

Log = list[object]


async def note(log: Log, name: str, operation: Callable[[], Awaitable[object]]) -> None:
    """Write down how an operation ended: its result, or the class of its exception."""
    try:
        log.append((name, await operation()))
    except (trio.EndOfChannel, trio.ClosedResourceError) as error:
        log.append((name, type(error)))


async def start(
    nursery: trio.Nursery, log: Log, *operations: Callable[[], Awaitable[object]]
) -> None:
    """Start operations one after the other, each parked before the next begins."""
    for number, operation in enumerate(operations):
        nursery.start_soon(note, log, f"task {number}", operation)
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("capacity", [-1, -100])
def test_a_negative_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(InvalidParameter, match="capacity must be 0 or more"):
        Chan[int](capacity)


async def test_an_unbuffered_send_waits_for_its_receiver(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](), Log()
    await start(nursery, log, partial(ch.send, 5))
    assert log == []
    assert await ch.receive() == 5
    await wait_all_tasks_blocked()
    assert log == [("task 0", None)]


async def test_an_unbuffered_receive_waits_for_its_sender(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](), Log()
    await start(nursery, log, ch.receive)
    assert log == []
    await ch.send(5)
    await wait_all_tasks_blocked()
    assert log == [("task 0", 5)]


async def test_a_buffer_takes_its_capacity_and_keeps_the_order(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](2), Log()
    await ch.send(1)
    await ch.send(2)
    await start(nursery, log, partial(ch.send, 3), partial(ch.send, 4))
    assert log == []
    assert [await ch.receive() for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("capacity", [0, 1, 3])
async def test_the_nowait_operations_say_when_they_would_block(capacity: int) -> None:
    ch = Chan[int](capacity)
    with pytest.raises(trio.WouldBlock):
        ch.receive_nowait()
    for value in range(capacity):
        ch.send_nowait(value)
    with pytest.raises(trio.WouldBlock):
        ch.send_nowait(99)
    assert [ch.receive_nowait() for _ in range(capacity)] == list(range(capacity))
    with pytest.raises(trio.WouldBlock):
        ch.receive_nowait()


async def test_what_is_in_the_buffer_outlives_the_close() -> None:
    ch = Chan[int](3)
    for value in (1, 2, 3):
        await ch.send(value)
    ch.close()
    assert await ch.receive() == 1
    assert ch.receive_nowait() == 2
    assert [value async for value in ch] == [3]
    for _ in range(2):
        with pytest.raises(trio.EndOfChannel):
            await ch.receive()
        with pytest.raises(trio.EndOfChannel):
            ch.receive_nowait()


async def test_close_and_aclose_are_idempotent_and_final() -> None:
    ch = Chan[int](3)
    ch.close()
    ch.close()
    await ch.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ch.send(1)
    with pytest.raises(trio.ClosedResourceError):
        ch.send_nowait(1)
    assert ch.statistics().closed


async def test_aclose_closes_even_when_it_is_cancelled() -> None:
    ch = Chan[int]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await ch.aclose()
    assert scope.cancelled_caught
    assert ch.statistics().closed


async def test_close_fails_the_waiting_senders_and_drops_their_values(
    nursery: trio.Nursery,
) -> None:
    ch, log = Chan[int](1), Log()
    ch.send_nowait(0)
    await start(
        nursery, log, partial(ch.send, 1), partial(select, ch.sending(2)), partial(ch.send, 3)
    )
    ch.close()
    await wait_all_tasks_blocked()
    assert sorted(log, key=str) == [(f"task {n}", trio.ClosedResourceError) for n in range(3)]
    assert [value async for value in ch] == [0]
    assert ch.statistics().tasks_waiting_send == 0


async def test_close_ends_the_waiting_receivers(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](1), Log()
    await start(nursery, log, ch.receive, partial(select, ch.receiving()), ch.receive)
    ch.close()
    await wait_all_tasks_blocked()
    assert sorted(log, key=str) == [
        ("task 0", trio.EndOfChannel),
        ("task 1", (0, Ended())),
        ("task 2", trio.EndOfChannel),
    ]
    assert ch.statistics().tasks_waiting_receive == 0


async def test_iteration_ends_with_the_channel(nursery: trio.Nursery) -> None:
    ch = Chan[int]()

    async def produce() -> None:
        with ch:
            for value in range(5):
                await ch.send(value)

    nursery.start_soon(produce)
    assert [value async for value in ch] == [0, 1, 2, 3, 4]


async def test_leaving_the_with_block_by_an_exception_closes_too() -> None:
    ch = Chan[int]()
    with pytest.raises(RuntimeError), ch:
        raise RuntimeError
    assert ch.statistics().closed


@pytest.mark.parametrize("waiting_select", [False, True])
async def test_a_cancelled_receive_has_taken_nothing(*, waiting_select: bool) -> None:
    ch, log = Chan[int](), Log()
    async with trio.open_nursery() as inner:
        if waiting_select:
            await start(inner, log, partial(select, ch.receiving()))
        await start(inner, log, ch.receive)
        inner.cancel_scope.cancel()
    assert log == []
    with pytest.raises(trio.WouldBlock):
        ch.send_nowait(1)
    assert ch.statistics().tasks_waiting_receive == 0


@pytest.mark.parametrize("waiting_select", [False, True])
async def test_a_cancelled_send_has_given_nothing(*, waiting_select: bool) -> None:
    ch, log = Chan[int](), Log()
    async with trio.open_nursery() as inner:
        if waiting_select:
            await start(inner, log, partial(select, ch.sending(1)))
        await start(inner, log, partial(ch.send, 2))
        inner.cancel_scope.cancel()
    assert log == []
    with pytest.raises(trio.WouldBlock):
        ch.receive_nowait()
    assert ch.statistics().tasks_waiting_send == 0


@pytest.mark.parametrize("behind_a_select", [False, True])
async def test_a_value_handed_over_beats_a_later_cancellation(*, behind_a_select: bool) -> None:
    ch, log = Chan[int](), Log()
    async with trio.open_nursery() as inner:
        if behind_a_select:
            await start(inner, log, partial(select, ch.receiving()))
        await start(inner, log, ch.receive)
        for value in range(2 if behind_a_select else 1):
            ch.send_nowait(value)
        inner.cancel_scope.cancel()
    assert len(log) == (2 if behind_a_select else 1)


async def test_ready_operations_see_a_cancellation_before_they_act() -> None:
    ch = Chan[int](4)
    ch.send_nowait(1)
    for operation in (partial(ch.send, 2), ch.receive, partial(select, ch.receiving())):
        with trio.CancelScope() as scope:
            scope.cancel()
            await operation()
        assert scope.cancelled_caught
    assert ch.statistics().current_buffer_used == 1


class StepCounter(trio.abc.Instrument):
    """Counts how often the scheduler has gone on with one task."""

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += task is self.task


@pytest.mark.parametrize("kind", ["send", "receive", "select"])
async def test_every_64th_ready_operation_lets_others_run(kind: str) -> None:
    ch = Chan[int](1000)
    for value in range(500):
        ch.send_nowait(value)
    counter = StepCounter()
    trio.lowlevel.add_instrument(counter)
    for calls in range(1, 257):
        if kind == "send":
            await ch.send(0)
        elif kind == "receive":
            await ch.receive()
        else:
            await select(ch.receiving(), ch.sending(0))
        assert counter.steps == calls // 64
    trio.lowlevel.remove_instrument(counter)


@pytest.mark.parametrize("kind", ["send", "receive", "select"])
async def test_ready_operations_on_new_channels_let_others_run(kind: str) -> None:
    counter = StepCounter()
    trio.lowlevel.add_instrument(counter)
    for calls in range(1, 257):
        ch = Chan[int](2)
        ch.send_nowait(0)
        if kind == "send":
            await ch.send(0)
        elif kind == "receive":
            await ch.receive()
        else:
            await select(ch.receiving(), Chan[int]().receiving())
        assert counter.steps == calls // 64
    trio.lowlevel.remove_instrument(counter)


def test_every_run_counts_its_ready_operations_from_zero() -> None:
    async def main() -> int:
        ch = Chan[int](200)
        counter = StepCounter()
        trio.lowlevel.add_instrument(counter)
        for _ in range(100):
            await ch.send(0)
        return counter.steps

    assert [trio.run(main) for _ in range(3)] == [1, 1, 1]


async def test_waiting_receivers_are_served_in_order_of_arrival(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](), Log()
    await start(
        nursery,
        log,
        ch.receive,
        partial(select, ch.receiving()),
        ch.receive,
        partial(select, ch.receiving()),
        ch.receive,
    )
    assert ch.statistics().tasks_waiting_receive == 5
    for value in range(5):
        ch.send_nowait(value)
    await wait_all_tasks_blocked()
    assert sorted(log, key=str) == [
        ("task 0", 0),
        ("task 1", (0, Received(1))),
        ("task 2", 2),
        ("task 3", (0, Received(3))),
        ("task 4", 4),
    ]


@pytest.mark.parametrize("capacity", [0, 1, 2])
async def test_waiting_senders_are_served_in_order_of_arrival(
    capacity: int, nursery: trio.Nursery
) -> None:
    ch, log = Chan[int](capacity), Log()
    for value in range(capacity):
        ch.send_nowait(-value)
    await start(
        nursery,
        log,
        partial(ch.send, 10),
        partial(select, ch.sending(11)),
        partial(ch.send, 12),
        partial(select, ch.sending(13)),
    )
    expected = [*(-value for value in range(capacity)), 10, 11, 12, 13]
    for place, value in enumerate(expected):
        assert ch.statistics().tasks_waiting_send == max(0, 4 - place)
        assert ch.receive_nowait() == value
        await wait_all_tasks_blocked()
        assert len(log) == min(place + 1, 4)
    assert sorted(log, key=str) == [
        ("task 0", None),
        ("task 1", (0, Sent())),
        ("task 2", None),
        ("task 3", (0, Sent())),
    ]


async def test_the_order_holds_when_somebody_in_it_gives_up(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](), Log()
    impatient = trio.CancelScope()

    async def give_up() -> None:
        with impatient:
            await select(ch.receiving())

    await start(nursery, log, partial(select, ch.receiving()), give_up, ch.receive)
    impatient.cancel()
    await wait_all_tasks_blocked()
    ch.send_nowait(1)
    ch.send_nowait(2)
    await wait_all_tasks_blocked()
    assert log[0] == ("task 1", None)
    assert sorted(log[1:], key=str) == [("task 0", (0, Received(1))), ("task 2", 2)]


@pytest.mark.parametrize("steady", ["plain", "select"])
async def test_nobody_starves_behind_a_steady_stream(steady: str) -> None:
    """One receiver of one kind among ten of the other, which come back at once."""
    ch = Chan[int]()
    served = 0

    async def receive_plain() -> None:
        await ch.receive()

    async def receive_by_select() -> None:
        await select(ch.receiving())

    stream, lone = (
        (receive_plain, receive_by_select)
        if steady == "plain"
        else (receive_by_select, receive_plain)
    )

    async def come_back() -> None:
        while True:
            await stream()

    async def count() -> None:
        nonlocal served
        while True:
            await lone()
            served += 1

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(come_back)
        nursery.start_soon(count)
        await wait_all_tasks_blocked()
        for value in range(110):
            ch.send_nowait(value)
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert served == 10


async def test_the_statistics_count_plain_waits_and_selects(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](2), Log()
    ch.send_nowait(1)
    now = ch.statistics()
    assert (now.current_buffer_used, now.max_buffer_size, now.closed) == (1, 2, False)
    ch.send_nowait(2)
    await start(nursery, log, partial(ch.send, 3), partial(select, ch.sending(4)))
    now = ch.statistics()
    assert (now.current_buffer_used, now.tasks_waiting_send) == (2, 2)
    assert now.tasks_waiting_receive == 0
    with pytest.raises(AttributeError):
        now.closed = True  # type: ignore[misc]
    ch.close()


async def test_no_hand_over_is_interrupted_in_the_middle_by_ctrl_c(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    protected: list[bool] = []
    wake = Parked.wake

    def watched_wake(parked: Parked, result: Value[object] | Error) -> None:
        protected.append(trio.lowlevel.currently_ki_protected())
        wake(parked, result)

    async def close(ch: Chan[int]) -> None:
        ch.close()

    async def send_nowait(ch: Chan[int]) -> None:
        ch.send_nowait(1)

    async def receive_nowait(ch: Chan[int]) -> None:
        ch.receive_nowait()

    async def send(ch: Chan[int]) -> None:
        await ch.send(1)

    async def receive(ch: Chan[int]) -> None:
        await ch.receive()

    monkeypatch.setattr(Parked, "wake", watched_wake)
    assert not trio.lowlevel.currently_ki_protected()
    for operation in (send_nowait, receive_nowait, send, receive, close):
        ch = Chan[int]()
        await start(nursery, Log(), partial(select, ch.sending(0), ch.receiving()))
        await operation(ch)
    assert protected == [True] * 5


@pytest.mark.parametrize("kind", ["send", "receive"])
async def test_no_value_in_hand_is_dropped_by_ctrl_c(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the hand-over and the return of the awaited operation, too."""
    protected: list[bool] = []

    def watched_is_over(_: Turn) -> bool:
        protected.append(trio.lowlevel.currently_ki_protected())
        return False

    monkeypatch.setattr(Turn, "is_over", watched_is_over)
    ch = Chan[int](2)
    ch.send_nowait(0)
    if kind == "send":
        await ch.send(1)
    else:
        await ch.receive()
    assert protected == [True]


def test_the_repr_says_what_state_the_channel_is_in() -> None:
    ch = Chan[int](3)
    assert repr(ch).startswith("<open Chan of capacity 3 at ")
    ch.close()
    assert repr(ch).startswith("<closed Chan of capacity 3 at ")


async def test_exceptions_carry_no_trace_of_the_inner_workings() -> None:
    """What a caller sees is not chained to the exceptions that were passed over inside."""
    ch = Chan[int]()
    ch.close()
    with pytest.raises(trio.EndOfChannel) as receiving:
        await ch.receive()
    with pytest.raises(trio.ClosedResourceError) as sending:
        await ch.send(1)
    assert receiving.value.__context__ is None
    assert sending.value.__context__ is None
