"""Deadlines by name, against a plain dict."""

from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster.timers import SPARE, Timers

STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "cancel", "pop", "postpone"]), st.integers(0, 50)),
    max_size=80,
)


@given(STEPS)
def test_the_earliest_deadline_comes_first(steps: list[tuple[str, int]]) -> None:
    timers: Timers[int] = Timers()
    model: dict[int, int] = {}
    for step, number in steps:
        key = number % 7
        if step == "set":
            timers.set(key, number)
            model[key] = number
        elif step == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        elif step == "postpone":
            timers.postpone(number)
            model = {key: deadline + number for key, deadline in model.items()}
        elif (due := timers.pop_due(number)) is None:
            assert all(deadline > number for deadline in model.values())
        else:
            assert model[due] == min(model.values()) <= number
            del model[due]
        assert timers.next_deadline() == min(model.values(), default=None)
        assert len(timers) == len(model)
        assert (key in timers) == (key in model)


def test_equal_deadlines_come_in_the_order_they_were_set() -> None:
    timers: Timers[str] = Timers()
    for key in "cab":
        timers.set(key, 5)
    timers.set("c", 5)
    assert [timers.pop_due(5) for _ in range(4)] == ["a", "b", "c", None]
    timers.set("d", 1)
    timers.clear()
    assert timers.next_deadline() is None


def test_deadlines_that_are_set_for_ever_take_no_room() -> None:
    timers: Timers[int] = Timers()
    for number in range(5000):
        timers.set(number % 3, number)
    assert len(timers._heap) <= 2 * 3 + SPARE
