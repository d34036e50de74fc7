"""How operations of many calls come into few messages."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from trio440.core.real import REAL_HOST
from trio440.errors import StoreUnavailable
from trio440.kv.lanes import MOST_BYTES, MOST_OPERATIONS, Lane
from trio440.kv.operations import Counted, Result


class Wire:
    """Answers each operation with its length, a second after it was sent."""

    def __init__(self) -> None:
        self.messages: list[list[bytes]] = []
        self.answer: Callable[[list[bytes]], list[Result]] = lambda message: [
            Counted(len(data)) for data in message
        ]

    async def send(self, message: list[bytes]) -> list[Result]:
        self.messages.append(message)
        await trio.sleep(1)
        return self.answer(message)


@asynccontextmanager
async def open_lane(wire: Wire, *, at_once: int = 1, changes: bool = True) -> AsyncIterator[Lane]:
    lane = Lane(wire.send, REAL_HOST.clock, timeout_seconds=10, changes=changes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.give_up)
        for _ in range(at_once):
            nursery.start_soon(lane.run)
        yield lane
        nursery.cancel_scope.cancel()


async def test_calls_that_come_meanwhile_share_the_next_message(autojump_clock: MockClock) -> None:
    wire = Wire()
    answers: dict[int, list[Result]] = {}

    async def call(number: int) -> None:
        answers[number] = await lane.carry([b"x" * number, b""])

    async with open_lane(wire) as lane:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, 9)
            await trio.sleep(0.5)
            for number in range(5):
                nursery.start_soon(call, number)
                await trio.sleep(0.01)
        assert trio.current_time() == pytest.approx(2, abs=0.1)
    assert wire.messages[0] == [b"x" * 9, b""]
    assert wire.messages[1:] == [[b"", b"", b"x", b"", b"xx", b"", b"xxx", b"", b"xxxx", b""]]
    assert answers == {n: [Counted(n), Counted(0)] for n in (0, 1, 2, 3, 4, 9)}


async def test_what_is_too_much_for_a_message_goes_with_the_next(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with open_lane(wire, at_once=3) as lane:
        many = [b"%d" % number for number in range(2 * MOST_OPERATIONS + 5)]
        assert await lane.carry(many) == [Counted(len(data)) for data in many]
        assert [len(message) for message in wire.messages] == [MOST_OPERATIONS] * 2 + [5]
        assert [data for message in wire.messages for data in message] == many
        wire.messages.clear()
        large = [b"x" * (MOST_BYTES // 2), b"y" * (2 * MOST_BYTES), b"z", b"z"]
        await lane.carry(large)
        assert wire.messages == [large[:1], large[1:2], large[2:]]


async def test_what_was_not_carried_out_goes_with_the_next(autojump_clock: MockClock) -> None:
    wire = Wire()
    whole = wire.answer
    wire.answer = lambda message: whole(message[:3])
    answers: list[list[Result]] = []

    async def call(*operations: bytes) -> None:
        answers.append(await lane.carry(operations))

    async with open_lane(wire) as lane, trio.open_nursery() as nursery:
        nursery.start_soon(call, b"first")
        await trio.sleep(0.1)
        nursery.start_soon(call, b"a", b"bb")
        await trio.sleep(0.1)
        nursery.start_soon(call, b"c", b"dd", b"eee", b"ffff", b"ggggg")
        await trio.sleep(0.1)
        nursery.start_soon(call, b"late")
    assert answers[1:] == [
        [Counted(1), Counted(2)],
        [Counted(n) for n in range(1, 6)],
        [Counted(4)],
    ]
    assert [message[:3] for message in wire.messages[1:]] == [
        [b"a", b"bb", b"c"],
        [b"dd", b"eee", b"ffff"],
        [b"ggggg", b"late"],
    ]


async def test_a_call_that_is_cancelled_is_not_sent_any_more(autojump_clock: MockClock) -> None:
    wire = Wire()
    wire.answer = lambda _: [Counted(1)]
    async with open_lane(wire) as lane, trio.open_nursery() as nursery:
        nursery.start_soon(lane.carry, [b"first"])
        await trio.sleep(0.1)
        with trio.move_on_after(0.1):
            await lane.carry([b"never"])
        with trio.move_on_after(1.5):
            await lane.carry([b"begun", b"not gone on with"])
    assert wire.messages == [[b"first"], [b"begun", b"not gone on with"]]


@pytest.mark.parametrize("changes", [True, False])
async def test_who_waits_too_long_is_told_the_truth(
    autojump_clock: MockClock, changes: bool
) -> None:
    wire = Wire()

    async def never(message: list[bytes]) -> list[Result]:
        wire.messages.append(message)
        await trio.sleep_forever()
        raise AssertionError

    async def call(*, sent: bool) -> None:
        start = trio.current_time()
        with pytest.raises(StoreUnavailable, match="no answer within 10 s") as caught:
            await lane.carry([b"x"])
        assert caught.value.may_have_happened == (sent and changes)
        assert trio.current_time() - start == pytest.approx(10)

    wire.send = never  # type: ignore[method-assign]
    async with open_lane(wire, changes=changes) as lane:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(call, sent=not wire.messages))
                await trio.sleep(3)
                nursery.start_soon(partial(call, sent=False))
    assert len(wire.messages) == 1


@pytest.mark.parametrize("may_have_happened", [True, False])
async def test_a_message_that_fails_fails_each_of_its_calls(
    autojump_clock: MockClock, may_have_happened: bool
) -> None:
    wire = Wire()

    def fail(message: list[bytes]) -> list[Result]:
        raise StoreUnavailable("it burns", may_have_happened=may_have_happened)

    wire.answer = fail
    errors: list[StoreUnavailable] = []

    async def call() -> None:
        with pytest.raises(StoreUnavailable, match="it burns") as caught:
            await lane.carry([b"x"])
        errors.append(caught.value)

    async with open_lane(wire) as lane:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert [error.may_have_happened for error in errors] == [may_have_happened] * 3
        assert len({id(error) for error in errors}) == 3
        wire.answer = lambda _: [Counted(7)]
        assert await lane.carry([b"x"]) == [Counted(7)], "it goes on"
