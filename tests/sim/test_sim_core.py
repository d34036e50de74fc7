"""Channels, selects and epoch timers in simulated worlds: a few histories, their sameness, bugs."""

from collections import Counter

import pytest

from tests.ablations import core as bugs
from tests.support.sameness import digests_in_processes
from trio440.errors import InvalidParameter
from trio440.sim.ablating import by_name
from trio440.sim.outcome import Order, Setup
from trio440.sim.running import run
from trio440.sim.systems import load_system


@pytest.mark.parametrize("profile", ["calm", "hostile", "clocks"])
@pytest.mark.parametrize("order", ["random", "pct"])
def test_channels_keep_their_promises(order: Order, profile: str) -> None:
    for seed in range(2):
        outcome, _ = run(Setup("core", seed, "B", profile, order))
        assert outcome.failure is None, f"{outcome.failure}\n{outcome.setup.replay_command()}"


def test_everything_that_can_happen_does() -> None:
    seen = Counter[str]()
    for seed in range(4):
        _, trace = run(Setup("core", seed, "B", "hostile"), keep_trace=True)
        for event in trace:
            operation, colon, result = event.text.rpartition(": ")
            words = operation.split() if colon and event.kind == "note" else []
            seen[event.kind] += 1
            if len(words) > 1:
                seen[words[1].partition("(")[0]] += 1
                seen[" ".join(result.split()[:3:2]) if result.startswith("case") else result] += 1
                seen["with timeout"] += operation.endswith("with timeout")
            elif event.text.startswith("tick"):
                seen["late tick"] += not event.text.endswith("for 1")
    operations = {"send", "receive", "select", "select_nowait", "close", "cancel", "with timeout"}
    results = {"case Sent", "case got", "case Ended", "Cancelled", "WouldBlock", "done"}
    results |= {"ClosedResourceError", "no case happened", "late tick"}
    for kind in operations | results | {"crash", "pause"}:
        assert seen[kind] > (kind != "pause"), f"{kind} hardly ever happens: {seen}"


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process() -> None:
    assert (
        len(
            digests_in_processes(
                "core 7 B hostile random", "core 7 B hostile pct", hash_seeds=(None, 1)
            )
        )
        == 1
    )


def test_there_are_no_channels_without_an_event_loop() -> None:
    with pytest.raises(InvalidParameter, match="B for core"):
        load_system("core").require_level("A")


@pytest.mark.parametrize(
    "name",
    [
        "core-lose-on-cancellation",
        "core-sleep-between-scan-and-park",
        "core-starve-the-last-case",
        "core-drift",
    ],
)
def test_a_deliberate_bug_is_found(name: str) -> None:
    ablation = by_name(bugs.ABLATIONS)[name]
    with ablation.apply():
        for seed in range(ablation.within):
            if run(ablation.setup(seed))[0].failure is not None:
                return
    pytest.fail(f"not found in {ablation.within} seeds")
