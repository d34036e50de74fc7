"""select: what it chooses, that exactly one case happens, and the traps on the way there."""

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio440.core import (
    REAL_HOST,
    Case,
    Chan,
    Ended,
    Host,
    Received,
    Sent,
    select,
    select_nowait,
)
from trio440.core.host import Scope
from trio440.core.real.clock import TrioClock
from trio440.errors import InvalidParameter

Log = list[Any]


def seeded_ports(seed: int = 0) -> Host:
    return attrs.evolve(REAL_HOST, rng=random.Random(seed))


async def append_result(log: Log, operation: Callable[[], Awaitable[object]]) -> None:
    log.append(await operation())


async def park(
    nursery: trio.Nursery, log: Log, *operations: Callable[[], Awaitable[object]]
) -> None:
    """Start operations one after the other, each parked before the next begins."""
    for operation in operations:
        nursery.start_soon(append_result, log, operation)
        await wait_all_tasks_blocked()


def waiting(*channels: Chan[int]) -> int:
    """How many places in queues are taken, in all of the channels."""
    return sum(
        ch.statistics().tasks_waiting_send + ch.statistics().tasks_waiting_receive
        for ch in channels
    )


# What select does


async def test_the_ready_case_is_taken() -> None:
    empty, full = Chan[int](1), Chan[int](1)
    full.send_nowait(7)
    assert await select(empty.receiving(), full.receiving()) == (1, Received(7))
    assert await select(full.sending(8), empty.receiving()) == (0, Sent())
    assert full.receive_nowait() == 8


async def test_a_select_that_waits_gets_what_comes_first(nursery: trio.Nursery) -> None:
    a, b, log = Chan[int](), Chan[int](), Log()
    await park(nursery, log, partial(select, a.receiving(), b.receiving(), a.sending(1)))
    b.send_nowait(5)
    await wait_all_tasks_blocked()
    assert log == [(1, Received(5))]
    assert waiting(a, b) == 0


async def test_a_send_case_that_waits_gives_its_value(nursery: trio.Nursery) -> None:
    a, b, log = Chan[int](), Chan[int](), Log()
    await park(nursery, log, partial(select, a.receiving(), b.sending(3)))
    assert b.receive_nowait() == 3
    await wait_all_tasks_blocked()
    assert log == [(1, Sent())]
    assert waiting(a, b) == 0


async def test_a_case_of_none_never_happens() -> None:
    ch = Chan[int](1)
    ch.send_nowait(1)
    off: Case[Received[int] | Ended] | None = None
    for _ in range(50):
        assert await select(off, ch.receiving(), off) == (1, Received(1))
        ch.send_nowait(1)


@pytest.mark.parametrize("cases", [(), (None,), (None, None)])
async def test_a_select_without_cases_waits_until_it_is_cancelled(
    cases: tuple[None, ...], autojump_clock: MockClock
) -> None:
    del autojump_clock
    with trio.move_on_after(1e6) as scope:
        await select(*cases)
    assert scope.cancelled_caught


async def test_a_drained_closed_channel_is_ready_and_told_apart() -> None:
    ch, empty = Chan[int](2), Chan[int]()
    ch.send_nowait(0)
    ch.close()
    assert await select(ch.receiving(), empty.receiving()) == (0, Received(0))
    for _ in range(3):
        assert await select(empty.receiving(), ch.receiving()) == (1, Ended())
        assert select_nowait(ch.receiving()) == (0, Ended())


async def test_a_send_case_of_a_closed_channel_raises() -> None:
    ch, empty = Chan[int](1), Chan[int]()
    ch.close()
    with pytest.raises(trio.ClosedResourceError):
        await select(empty.receiving(), ch.sending(1))
    with pytest.raises(trio.ClosedResourceError):
        select_nowait(empty.receiving(), ch.sending(1))


async def test_cases_may_be_used_again_and_by_several_tasks(nursery: trio.Nursery) -> None:
    ch, log = Chan[int](), Log()
    case = ch.receiving()
    await park(nursery, log, partial(select, case), partial(select, case, case))
    for value in range(4):
        if value == 2:
            await park(nursery, log, partial(select, case), partial(select, case, case))
        ch.send_nowait(value)
        await wait_all_tasks_blocked()
    assert [outcome for _, outcome in log] == [Received(value) for value in range(4)]


async def test_match_tells_outcomes_apart() -> None:
    numbers, words, out = Chan[int](9), Chan[str](9), Chan[bytes](9)
    numbers.send_nowait(1)
    words.send_nowait("a")
    numbers.close()
    words.close()
    seen = Counter[str]()
    for _ in range(200):
        match await select(numbers.receiving(), words.receiving(), timeout_seconds=1):
            case 0, Received(number):
                assert number == 1
                seen["number"] += 1
            case 1, Received(word):
                assert word == "a"
                seen["word"] += 1
            case 0 | 1, Ended():
                seen["ended"] += 1
            case None:
                seen["time"] += 1
    assert seen == {"number": 1, "word": 1, "ended": 198}
    match select_nowait(out.sending(b"")):
        case 0, Sent():
            pass
        case other:
            pytest.fail(f"{other}")


# Time and default


async def test_the_timeout_returns_none_and_nothing_has_happened(
    autojump_clock: MockClock,
) -> None:
    a, b = Chan[int](), Chan[int](1)
    b.send_nowait(1)
    start = autojump_clock.current_time()
    assert await select(a.receiving(), b.sending(2), timeout_seconds=2.5) is None
    assert autojump_clock.current_time() == start + 2.5
    assert waiting(a, b) == 0
    assert b.receive_nowait() == 1


async def test_a_case_before_the_timeout_wins(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ch = Chan[int]()

    async def send_later() -> None:
        await trio.sleep(1)
        await ch.send(5)

    nursery.start_soon(send_later)
    start = autojump_clock.current_time()
    assert await select(ch.receiving(), timeout_seconds=10) == (0, Received(5))
    assert autojump_clock.current_time() == start + 1


async def test_a_timeout_of_zero_takes_what_is_ready_and_is_a_checkpoint(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    ch = Chan[int](1)
    with trio.testing.assert_checkpoints():
        assert await select(ch.receiving(), timeout_seconds=0) is None
    ch.send_nowait(1)
    assert await select(ch.receiving(), timeout_seconds=0) == (0, Received(1))


@pytest.mark.parametrize("timeout_seconds", [-1, -0.001, math.nan])
async def test_a_timeout_out_of_range_is_refused(timeout_seconds: float) -> None:
    ch = Chan[int](1)
    ch.send_nowait(1)
    with pytest.raises(InvalidParameter, match="timeout_seconds must be 0 or more"):
        await select(ch.receiving(), timeout_seconds=timeout_seconds)
    assert ch.receive_nowait() == 1


async def test_an_infinite_timeout_waits(autojump_clock: MockClock) -> None:
    del autojump_clock
    with trio.move_on_after(1e6) as scope:
        await select(Chan[int]().receiving(), timeout_seconds=math.inf)
    assert scope.cancelled_caught


async def test_a_cancellation_from_outside_is_no_timeout(autojump_clock: MockClock) -> None:
    ch = Chan[int]()
    start = autojump_clock.current_time()
    with trio.move_on_after(1) as scope:
        await select(ch.receiving(), timeout_seconds=2)
    assert scope.cancelled_caught
    assert autojump_clock.current_time() == start + 1
    assert waiting(ch) == 0


async def test_a_value_that_comes_when_the_time_is_up_is_not_lost(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The sender's alarm and the select's deadline are the same instant."""
    sent, received = 0, 0

    async def send_at(deadline: float, ch: Chan[int]) -> None:
        nonlocal sent
        await trio.sleep_until(deadline)
        try:
            ch.send_nowait(1)
        except trio.WouldBlock:
            return
        sent += 1

    for _ in range(50):
        ch = Chan[int]()
        nursery.start_soon(send_at, autojump_clock.current_time() + 1, ch)
        received += await select(ch.receiving(), timeout_seconds=1) is not None
        await wait_all_tasks_blocked()
    assert received == sent


async def test_a_channel_used_by_the_clock_itself_is_not_overlooked(
    autojump_clock: MockClock,
) -> None:
    """A wake-up between the first look at the cases and the timeout's scope is not lost."""
    del autojump_clock
    ch = Chan[int](1)

    class MeddlingClock(TrioClock):
        def move_on_after(self, seconds: float) -> AbstractContextManager[Scope, bool]:
            ch.send_nowait(1)
            return super().move_on_after(seconds)

    ports = attrs.evolve(REAL_HOST, clock=MeddlingClock())
    happened = await select(ch.receiving(), timeout_seconds=1, ports=ports)
    assert happened == (0, Received(1))


async def test_the_trap_of_a_default_chosen_although_a_case_was_ready(
    nursery: trio.Nursery,
) -> None:
    log = Log()
    for ports in map(seeded_ports, range(50)):
        empty, buffered, closed, offered = Chan[int](), Chan[int](1), Chan[int](), Chan[int]()
        selected, wanted, wanted_by_select = Chan[int](), Chan[int](), Chan[int]()
        buffered.send_nowait(1)
        closed.close()
        await park(
            nursery,
            log,
            partial(offered.send, 2),
            partial(select, selected.sending(3)),
            wanted.receive,
            partial(select, wanted_by_select.receiving()),
        )
        ready: dict[Case[object], object] = {
            buffered.receiving(): Received(1),
            closed.receiving(): Ended(),
            offered.receiving(): Received(2),
            selected.receiving(): Received(3),
            wanted.sending(4): Sent(),
            wanted_by_select.sending(5): Sent(),
        }
        for case, outcome in ready.items():
            cases: list[Case[object] | None] = [empty.receiving(), case, None, empty.sending(0)]
            assert select_nowait(*cases, ports=ports) == (1, outcome)
    assert select_nowait(Chan[int]().receiving(), Chan[int]().sending(1), None) is None
    assert select_nowait(None) is None


# Fairness


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 9])
async def test_the_trap_of_starvation_of_the_last_case(count: int) -> None:
    """All cases ready: each is chosen about equally often, the last one too."""
    channels = [Chan[int](1) for _ in range(count)]
    for ch in channels:
        ch.send_nowait(0)
    ports, chosen = seeded_ports(), Counter[int]()
    rounds = 400 * count
    for _ in range(rounds):
        index, _ = await select(*[ch.receiving() for ch in channels], ports=ports)
        channels[index].send_nowait(0)
        chosen[index] += 1
    for index in range(count):
        assert 300 <= chosen[index] <= 500  # 400 and five standard deviations


async def test_the_choice_is_even_among_ready_cases_beside_idle_ones() -> None:
    """An idle case gives its chances to all ready ones alike, not to its neighbour."""
    idle, a, b = Chan[int](), Chan[int](1), Chan[int](1)
    ports, chosen = seeded_ports(), Counter[int]()
    for _ in range(1000):
        a.close()
        b.close()
        cases = (idle.receiving(), idle.receiving(), a.receiving(), b.receiving())
        index, _ = await select(*cases, ports=ports)
        chosen[index] += 1
    assert set(chosen) == {2, 3}
    assert 420 <= chosen[2] <= 580


async def test_the_same_seed_makes_the_same_choices() -> None:
    ch = Chan[int]()
    ch.close()

    async def choices(seed: int) -> list[int]:
        ports = seeded_ports(seed)
        cases = [ch.receiving()] * 7
        few = [(await select(*cases[:3], ports=ports))[0] for _ in range(50)]
        return few + [(await select(*cases, ports=ports))[0] for _ in range(50)]

    assert await choices(1) == await choices(1)
    assert await choices(1) != await choices(2)


# The traps


async def test_the_trap_of_two_selects_on_one_unbuffered_channel(
    nursery: trio.Nursery,
) -> None:
    """Both ends in select at once meet, whichever of them comes first, and only once."""
    for sender_first in (False, True):
        ch, other, log = Chan[int](), Chan[int](), Log()
        ends: list[Callable[[], Awaitable[object]]] = [
            partial(select, other.receiving(), ch.sending(7)),
            partial(select, ch.receiving(), other.receiving()),
        ]
        await park(nursery, log, *(ends if sender_first else reversed(ends)))
        assert sorted(log, key=str) == [(0, Received(7)), (1, Sent())]
        assert waiting(ch, other) == 0


async def test_two_selects_that_could_meet_twice_meet_once(nursery: trio.Nursery) -> None:
    a, b, log = Chan[int](), Chan[int](), Log()
    await park(
        nursery,
        log,
        partial(select, a.sending(1), b.receiving()),
        partial(select, a.receiving(), b.sending(2)),
    )
    assert sorted(log, key=str) in (
        [(0, Received(1)), (0, Sent())],
        [(1, Received(2)), (1, Sent())],
    )
    assert waiting(a, b) == 0


async def test_the_trap_of_a_value_lost_when_two_cases_become_ready_in_one_tick(
    nursery: trio.Nursery,
) -> None:
    """The first sender wakes the select; the second, in the same tick, must keep its value."""
    a, b, log = Chan[int](), Chan[int](), Log()
    await park(nursery, log, partial(select, a.receiving(), b.receiving()))
    a.send_nowait(1)
    with pytest.raises(trio.WouldBlock):
        b.send_nowait(2)
    await wait_all_tasks_blocked()
    assert log == [(0, Received(1))]

    log.clear()
    buffered = Chan[int](1)
    await park(nursery, log, partial(select, a.receiving(), buffered.receiving()))
    a.send_nowait(3)
    buffered.send_nowait(4)
    await wait_all_tasks_blocked()
    assert log == [(0, Received(3))]
    assert buffered.receive_nowait() == 4

    log.clear()
    await park(nursery, log, partial(select, a.sending(5), b.sending(6)))
    assert b.receive_nowait() == 6
    with pytest.raises(trio.WouldBlock):
        a.receive_nowait()
    await wait_all_tasks_blocked()
    assert log == [(1, Sent())]


@pytest.mark.parametrize("timeout_seconds", [None, 5])
async def test_the_trap_of_a_cancellation_that_arrives_with_a_value(
    timeout_seconds: float | None,
) -> None:
    """Value first: it is returned. Cancellation first: the value stays with its sender."""
    for value_first in (True, False):
        a, b, log = Chan[int](), Chan[int](), Log()
        async with trio.open_nursery() as inner:
            await park(
                inner,
                log,
                partial(select, a.receiving(), b.sending(9), timeout_seconds=timeout_seconds),
            )
            if value_first:
                a.send_nowait(1)
                inner.cancel_scope.cancel()
            else:
                inner.cancel_scope.cancel()
                with pytest.raises(trio.WouldBlock):
                    a.send_nowait(1)
                with pytest.raises(trio.WouldBlock):
                    b.receive_nowait()
        assert log == ([(0, Received(1))] if value_first else [])
        assert waiting(a, b) == 0


async def test_the_trap_of_a_close_that_races_a_parked_select() -> None:
    """Within one tick: what came before the close counts, and nothing counts twice."""
    log = Log()
    for steps in ("close", "send close", "close send", "cancel close", "close cancel"):
        a, b = Chan[int](), Chan[int]()
        log.clear()
        async with trio.open_nursery() as inner:
            await park(inner, log, partial(select, a.receiving(), b.receiving()))
            for step in steps.split():
                if step == "close":
                    a.close()
                elif step == "cancel":
                    inner.cancel_scope.cancel()
                elif steps == "close send":
                    with pytest.raises(trio.ClosedResourceError):
                        a.send_nowait(1)
                else:
                    a.send_nowait(1)
            with pytest.raises(trio.WouldBlock):
                b.send_nowait(2)
        expected = {"send close": [(0, Received(1))], "cancel close": []}
        assert log == expected.get(steps, [(0, Ended())])
        assert waiting(a, b) == 0


async def test_a_close_fails_a_parked_send_case_and_frees_the_other_cases() -> None:
    a, b = Chan[int](), Chan[int]()

    async def expect_failure() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await select(a.sending(1), b.receiving(), b.sending(2))

    async with trio.open_nursery() as inner:
        inner.start_soon(expect_failure)
        await wait_all_tasks_blocked()
        assert waiting(a, b) == 3
        a.close()
    assert waiting(a, b) == 0


async def test_the_trap_of_one_channel_in_two_cases_sending_and_receiving(
    nursery: trio.Nursery,
) -> None:
    """A select never meets itself, but does meet any other that has both ends as well."""
    ch, log = Chan[int](), Log()
    for ports in map(seeded_ports, range(10)):
        assert select_nowait(ch.receiving(), ch.sending(1), ports=ports) is None
        assert select_nowait(ch.sending(1), ch.receiving(), ports=ports) is None
    await park(nursery, log, partial(select, ch.sending(1), ch.receiving()))
    assert log == []
    await park(nursery, log, partial(select, ch.sending(2), ch.receiving()))
    assert sorted(log, key=str) in (
        [(0, Sent()), (1, Received(1))],
        [(0, Sent()), (1, Received(2))],
    )
    assert waiting(ch) == 0

    for operation, mine in ((ch.receive, (0, Sent())), (lambda: ch.send(3), (1, Received(3)))):
        log.clear()
        await park(nursery, log, partial(select, ch.sending(1), ch.receiving()))
        assert await operation() in (1, None)
        await wait_all_tasks_blocked()
        assert log == [mine]
        assert waiting(ch) == 0

    log.clear()
    await park(nursery, log, partial(select, ch.sending(1), ch.receiving()))
    ch.close()
    await wait_all_tasks_blocked()
    assert log == [(1, Ended())]
    assert waiting(ch) == 0


async def test_the_trap_of_a_wake_up_lost_between_the_scan_and_the_park() -> None:
    """Whatever becomes ready at whatever step of the scheduler, no select sleeps through it.

    A sender that comes a number of ticks after the select has begun, for each number up to
    well beyond the select's park, always meets it.
    """
    for ticks in range(6):
        for timeout_seconds in (None, 1000):
            a, b, log = Chan[int](), Chan[int](1), Log()

            async def selecting(
                a: Chan[int] = a,
                b: Chan[int] = b,
                log: Log = log,
                timeout_seconds: float | None = timeout_seconds,
            ) -> None:
                cases = (a.receiving(), b.receiving())
                log.append(await select(*cases, timeout_seconds=timeout_seconds))

            with trio.fail_after(5):
                async with trio.open_nursery() as inner:
                    inner.start_soon(selecting)
                    for _ in range(ticks):
                        await trio.lowlevel.checkpoint()
                    b.send_nowait(1)
            assert log == [(1, Received(1))]


async def test_the_same_direction_of_a_channel_twice_sends_one_value(
    nursery: trio.Nursery,
) -> None:
    """Of two values offered to one channel exactly one goes; which one is drawn."""
    seen = Counter[int]()
    for ports in map(seeded_ports, range(40)):
        ch, log = Chan[int](), Log()
        await park(
            nursery,
            log,
            partial(select, ch.sending(10), ch.sending(11), ports=ports),
        )
        value = ch.receive_nowait()
        await wait_all_tasks_blocked()
        assert log == [(value - 10, Sent())]
        assert waiting(ch) == 0
        seen[value] += 1
    assert set(seen) == {10, 11}


async def test_a_select_is_not_interrupted_in_the_middle_by_ctrl_c() -> None:
    """Ctrl-C is held back inside, so that no half-made hand-over can be left behind."""

    class Watching(random.Random):
        protected = False

        def random(self) -> float:
            self.protected = trio.lowlevel.currently_ki_protected()
            return super().random()

    ch = Chan[int]()
    ch.close()
    for operation in (
        lambda ports: select(ch.receiving(), ch.receiving(), ports=ports),
        lambda ports: select_nowait(ch.receiving(), ch.receiving(), ports=ports),
    ):
        watching = Watching()
        assert not trio.lowlevel.currently_ki_protected()
        result = operation(attrs.evolve(REAL_HOST, rng=watching))
        if isinstance(result, Awaitable):
            await result
        assert watching.protected


async def test_idle_channels_keep_nothing_of_past_selects(nursery: trio.Nursery) -> None:
    """A loop over a busy and a quiet channel leaves nothing behind in the quiet one."""
    busy, quiet, log = Chan[int](), Chan[int](), Log()
    for value in range(100):
        await park(nursery, log, partial(select, busy.receiving(), quiet.receiving()))
        busy.send_nowait(value)
        await wait_all_tasks_blocked()
    assert log == [(0, Received(value)) for value in range(100)]
    assert waiting(quiet, busy) == 0
