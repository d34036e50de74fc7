"""Each deliberate bug in SWIM's core is noticed by its trial, which the core itself stands."""

from collections.abc import Callable

import pytest

from tests.support.swim_bugs import BUGS, Bug


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "trial"), BUGS.items(), ids=[bug.__name__ for bug in BUGS])
def test_a_bug_is_caught(bug: Bug, trial: Callable[[int], None]) -> None:
    with bug(), pytest.raises(AssertionError):
        trial(0)
