"""The mark of a test that runs in simulated worlds; nothing else is imported for it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from trio440.sim.faults import HostTraits

__all__ = ["simulated"]

Test = TypeVar("Test", bound=Callable[..., Any])


def simulated(
    *,
    seeds: int = 100,
    profile: str = "flaky",
    order: str = "random",
    hosts: "Sequence[str | HostTraits]" = (),
    duration_seconds: float = 3600.0,
    heal_seconds: float | None = None,
) -> Callable[[Test], Test]:
    """Let an async test run once for each seed, in a simulated world that it takes as ``world``.

    The same as ``pytest.mark.simulated(...)``; the plug-in comes with the package. Wrong values
    fail the test with one line. Fixtures are set up once, for all seeds together.

    Args:
        seeds: how many, from 0; ``--sim-seeds`` and ``--sim-seed`` say otherwise.
        profile: the name of a fault profile, see :data:`trio440.sim.profiles.PROFILES`.
        order: how the next task is chosen, ``random`` or ``pct``.
        hosts: the machines that faults may hit; they are in ``world.machines``, switched off. A
            name alone is a machine that may lose power and be paused, and has a disk.
        duration_seconds: virtual seconds after which the test has failed.
        heal_seconds: when the last fault is over; half of the duration where nothing is said.
    """
    import pytest  # noqa: PLC0415 - the package does not depend on it

    def mark(test: Test) -> Test:
        marker = pytest.mark.simulated(
            seeds=seeds,
            profile=profile,
            order=order,
            hosts=hosts,
            duration_seconds=duration_seconds,
            heal_seconds=heal_seconds,
        )
        marked: Test = marker(test)
        return marked

    return mark
