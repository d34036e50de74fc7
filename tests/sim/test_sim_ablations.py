"""Every deliberate bug is found within its number of seeds: no checker sleeps."""

import pytest

from tests.ablations import ABLATIONS
from trio440.sim.ablating import Ablation, by_name, is_misfit
from trio440.sim.running import run

QUICK = {
    "lsp-window-one-too-wide",
    "lsp-back-off-never-resets",
    "lsp-early-is-delivered-at-once",
    "lsp-close-does-not-flush",
}
"""One for each kind of promise; all others are tried by ``make simulate``."""


def test_there_are_enough_of_them() -> None:
    names = by_name(ABLATIONS)
    assert names.keys() >= QUICK


@pytest.mark.slow
@pytest.mark.parametrize(
    "ablation",
    [
        pytest.param(one, id=one.name, marks=[] if one.name in QUICK else pytest.mark.campaign)
        for one in ABLATIONS
    ],
)
def test_a_deliberate_bug_is_found(ablation: Ablation) -> None:
    with ablation.apply():
        for seed in range(ablation.within):
            failure = run(ablation.setup(seed))[0].failure
            if failure is not None:
                assert not is_misfit(failure), failure
                return
    pytest.fail(f"not found in {ablation.within} seeds")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(QUICK))
def test_without_the_bug_the_same_seeds_pass(name: str) -> None:
    ablation = by_name(ABLATIONS)[name]
    for seed in range(2):
        assert run(ablation.setup(seed))[0].failure is None
