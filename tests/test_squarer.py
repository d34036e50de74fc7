"""The squarer's suite passes the good squarer and catches each bad one by its fault."""

import pytest

from examples.squarer.bad import CAUGHT_BY
from examples.squarer.squarer import GoodSquarer, Squarer
from examples.squarer.suite import CHECKS, failures

FAULTS = {
    "LosesWhatIsCancelled": "it ended with EndOfChannel()",
    "ReordersUnderLoad": "a square overtook another",
    "SwallowsOnClose": "of 9 numbers it left 0",
    "LeavesATask": "there is still examples.squarer.bad._Squarer._run",
    "SquaresTwice": "the squares were [625, 256, 81, 16, 1, 0, 1, 16, 81",
    "SendsTwice": "a patient reader got [1, 1, 4, 9]",
    "BlocksClose": "nothing happened any more",
    "NeedsItsInputClosed": "nothing happened any more",
    "TakesTwo": "2 numbers are taken, 0 are read",
    "Polls": "steps in a minute of idle",
    "Spins": "never came to rest",
}
"""What the check named for the fault says."""


def test_the_good_squarer_passes() -> None:
    assert failures(GoodSquarer) == {}


@pytest.mark.slow
@pytest.mark.parametrize("squarer", CAUGHT_BY)
def test_a_bad_squarer_is_caught_for_its_fault_and_nothing_else(squarer: type[Squarer]) -> None:
    found = failures(squarer)
    assert set(found) == set(CAUGHT_BY[squarer])
    assert FAULTS[squarer.__name__] in found[CAUGHT_BY[squarer][0]]


def test_every_check_catches_somebody() -> None:
    catching = {name for names in CAUGHT_BY.values() for name in names}
    assert catching == set(CHECKS)
