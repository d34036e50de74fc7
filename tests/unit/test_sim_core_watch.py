"""The promises of channels and timers one by one, and the follower of the channel model."""

import pytest

from trio440.errors import InvariantViolated
from trio440.sim.checking import channel_model as model
from trio440.sim.checking.channel_follower import Follower
from trio440.sim.systems.core_watch import Choices, Grid, Ledger, Seen, require_awake

# Values


def test_values_that_arrive_once_and_in_order_are_fine() -> None:
    ledger = Ledger()
    first, second, third = ledger.issue(1, 0), ledger.issue(1, 0), ledger.issue(2, 0)
    for value in (third, first, second):
        ledger.received(9, 0, value)
        ledger.sent(value)
    ledger.settle()


def test_a_value_is_lost_or_made_up() -> None:
    ledger = Ledger()
    value = ledger.issue(1, 0)
    ledger.sent(value)
    with pytest.raises(InvariantViolated, match="what was sent is received"):
        ledger.settle()
    ledger = Ledger()
    ledger.received(9, 0, ledger.issue(1, 0))
    with pytest.raises(InvariantViolated, match="what is received was sent"):
        ledger.settle()


def test_a_value_comes_twice_or_elsewhere() -> None:
    ledger = Ledger()
    value = ledger.issue(1, 0)
    with pytest.raises(InvariantViolated, match="its own channel"):
        ledger.received(9, 1, value)
    ledger.received(9, 0, value)
    with pytest.raises(InvariantViolated, match="once"):
        ledger.received(8, 0, value)


def test_a_cancelled_send_has_not_happened() -> None:
    ledger = Ledger()
    before, after = ledger.issue(1, 0), ledger.issue(1, 0)
    ledger.refused(before)
    with pytest.raises(InvariantViolated, match="was not sent"):
        ledger.received(9, 0, before)
    ledger.received(9, 0, after)
    with pytest.raises(InvariantViolated, match="was not sent"):
        ledger.refused(after)


def test_a_sender_is_overtaken_by_itself() -> None:
    ledger = Ledger()
    first, second = ledger.issue(1, 0), ledger.issue(1, 0)
    ledger.received(9, 0, second)
    with pytest.raises(InvariantViolated, match="order of a sender"):
        ledger.received(9, 0, first)


# Those who wait


@pytest.mark.parametrize(
    "seen",
    [
        Seen(0, 0, 0, 3, closed=False),
        Seen(2, 2, 3, 0, closed=False),
        Seen(0, 2, 0, 1, closed=False),
        Seen(2, 2, 0, 0, closed=True),
        Seen(0, 0, 1, 1, closed=False),  # one select that both sends and receives
    ],
)
def test_who_waits_for_what_is_not_there_may_wait(seen: Seen) -> None:
    require_awake(seen, "channel")


@pytest.mark.parametrize(
    "seen",
    [
        Seen(1, 2, 0, 1, closed=False),
        Seen(1, 2, 1, 0, closed=False),
        Seen(0, 0, 0, 1, closed=True),
        Seen(2, 2, 1, 0, closed=True),
        Seen(0, 0, 2, 1, closed=False),
    ],
)
def test_who_waits_for_what_is_there_was_not_woken(seen: Seen) -> None:
    with pytest.raises(InvariantViolated, match="no wake-up is lost"):
        require_awake(seen, "channel")


def test_a_case_is_left_out() -> None:
    choices = Choices(2)
    for _ in range(Choices.BOUND):
        choices.chose(1)
    for _ in range(Choices.BOUND):
        choices.chose(0)
    with pytest.raises(InvariantViolated, match="case 1 of 2"):
        choices.chose(0)


# Ticks


def test_ticks_on_the_grid_are_fine() -> None:
    grid = Grid(10.0, 0.5)
    grid.ticked(1, 1, 10.5)
    grid.ticked(4, 3, 12.25)
    grid.require_due(12.5)
    grid.require_prompt(12.25, 12.5, 12.5)
    grid.reset(13.0)
    grid.ticked(1, 1, 13.5)


@pytest.mark.parametrize(
    ("number", "count", "now", "broken"),
    [
        (2, 1, 10.9, "never early"),
        (1, 0, 11.2, "never early"),
        (2, 1, 11.6, "all that are due"),
        (3, 1, 11.6, "counts all"),
    ],
)
def test_a_tick_is_not_the_one_that_was_due(
    number: int, count: int, now: float, broken: str
) -> None:
    grid = Grid(10.0, 0.5)
    grid.ticked(1, 1, 10.5)
    with pytest.raises(InvariantViolated, match=broken):
        grid.ticked(number, count, now)


def test_a_timer_leaves_its_grid_or_is_late() -> None:
    grid = Grid(10.0, 0.5)
    with pytest.raises(InvariantViolated, match="keeps its grid"):
        grid.require_due(10.500001)
    with pytest.raises(InvariantViolated, match="not late"):
        grid.require_prompt(10.0, 10.5, 10.6)
    with pytest.raises(InvariantViolated, match="not late"):
        grid.require_prompt(10.7, 10.5, 10.8)


# The model beside real tasks


def test_a_follower_goes_both_ways_until_it_knows() -> None:
    follower = Follower([1, 1], 3)
    for task, value in ((0, 7), (1, 8)):
        follower.begin(task, model.Send(task, value))
        follower.end(task, model.Sent())
    follower.begin(2, model.Select((model.Receive(0), model.Receive(1))))
    assert follower.ways == 2
    follower.require([(1, 0, 0, False), (0, 0, 0, False)])
    assert follower.ways == 1
    with pytest.raises(InvariantViolated, match="possible: Got"):
        follower.end(2, model.Got(7, 0))
    follower.end(2, model.Got(8, 1))


def test_a_cancellation_before_during_and_after_a_wait() -> None:
    follower = Follower([0], 2)
    follower.begin(0, model.Receive(0), cancelled=True)
    follower.end(0, model.CANCELLED)
    follower.begin(0, model.Receive(0))
    follower.require([(0, 0, 1, False)])
    follower.cancel(0)
    follower.require([(0, 0, 0, False)])
    follower.end(0, model.CANCELLED)
    follower.begin(0, model.Receive(0))
    follower.begin(1, model.Send(0, 7))
    follower.cancel(0)
    with pytest.raises(InvariantViolated, match="Cancelled"):
        follower.end(0, model.CANCELLED)
    follower.end(0, model.Got(7))


def test_a_timeout_may_come_out_as_a_cancellation() -> None:
    follower = Follower([0], 1)
    timed = model.Select((model.Receive(0),), expires=True)
    for result in (model.NOTHING, model.CANCELLED):
        follower.begin(0, timed)
        follower.expire(0)
        follower.cancel(0)
        follower.end(0, result)
    follower.begin(0, timed)
    with pytest.raises(InvariantViolated):
        follower.end(0, model.NOTHING)


def test_channels_that_show_something_else() -> None:
    follower = Follower([1], 1)
    follower.begin(0, model.Send(0, 7))
    follower.require([(1, 0, 0, False)])
    with pytest.raises(InvariantViolated, match="the model has"):
        follower.require([(0, 0, 0, False)])
