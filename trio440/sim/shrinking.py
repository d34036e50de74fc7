"""Which of a plan's faults a failure needs: delta debugging over their positions.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), algorithm
ddmin. :func:`search` runs nothing itself: it yields the positions to try and is sent whether the
history failed in the same way, so that a caller may run histories where it likes.
:func:`shrink` is for a caller that runs them at once.
"""

from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import attrs

from trio440.errors import InvalidParameter
from trio440.sim.outcome import Outcome, Setup

__all__ = ["MAX_RUNS", "Places", "Shrunk", "places_of", "same_failure", "search", "shrink"]

Places: TypeAlias = tuple[int, ...]
"""Positions in a plan's faults, ascending."""

MAX_RUNS: Final = 200
"""How many histories a search runs at most where nothing else is said."""


@attrs.frozen
class Shrunk:
    """What a search found."""

    places: Places
    """The faults that are left; with these alone the same promise is broken."""
    runs: int
    """How many histories it took."""
    minimal: bool
    """Whether each of them is needed; False when the search was cut short by its bound."""


def places_of(outcome: Outcome) -> Places:
    """Return the positions of the faults that happened in a history."""
    keep = outcome.setup.keep
    everything = range(len(outcome.faults))
    return tuple(everything if keep is None else [place for place in everything if place in keep])


def same_failure(first: Outcome, second: Outcome) -> bool:
    """Whether both histories broke the same promise; when and how it showed may differ."""
    if first.failure is None or second.failure is None:
        return False
    return first.failure.invariant == second.failure.invariant


def search(places: Sequence[int], *, max_runs: int = MAX_RUNS) -> Generator[Places, bool, Shrunk]:
    """Look for few positions that still fail; a generator that is sent each verdict.

    It yields the positions to keep, is sent whether the history with these failed in the same
    way, and returns what it found. No positions are tried twice.

    Args:
        places: positions that are known to fail.
        max_runs: the most that it yields, at least 1.

    Raises:
        InvalidParameter: ``max_runs`` is not positive.
    """
    if max_runs < 1:
        raise InvalidParameter("max_runs", max_runs, "at least 1")
    current = tuple(sorted(set(places)))
    if not current:
        return Shrunk(current, 0, minimal=True)
    passed: set[Places] = set()
    runs = 1
    if (yield ()):
        return Shrunk((), runs, minimal=True)
    passed.add(())
    parts = 2
    while len(current) > 1:
        for kept, next_parts in _candidates(current, parts):
            if kept in passed:
                continue
            if runs == max_runs:
                return Shrunk(current, runs, minimal=False)
            runs += 1
            if (yield kept):
                current, parts = kept, next_parts
                break
            passed.add(kept)
        else:
            if parts == len(current):
                break
            parts = min(2 * parts, len(current))
    return Shrunk(current, runs, minimal=True)


def _candidates(current: Places, parts: int) -> list[tuple[Places, int]]:
    """List what to keep instead of ``current``, each with the number of parts that follows."""
    edges = [len(current) * number // parts for number in range(parts + 1)]
    chunks = [current[start:end] for start, end in pairwise(edges)]
    subsets = [(chunk, 2) for chunk in chunks]
    if parts == 2:  # noqa: PLR2004 - of two parts, each is the other's complement
        return subsets
    complements = [
        (tuple(place for place in current if place not in chunk), parts - 1) for chunk in chunks
    ]
    return subsets + complements


def shrink(
    outcome: Outcome, run: Callable[[Setup], Outcome], *, max_runs: int = MAX_RUNS
) -> Shrunk:
    """Shrink the plan of a history that failed.

    Args:
        outcome: the history; it has a failure.
        run: runs a history and says what came of it.
        max_runs: how many histories it may run.

    Raises:
        InvalidParameter: the history did not fail, or ``max_runs`` is not positive.
    """
    if outcome.failure is None:
        raise InvalidParameter("outcome", outcome.setup.seed, "a history that failed")
    steps = search(places_of(outcome), max_runs=max_runs)
    try:
        keep = next(steps)
        while True:
            keep = steps.send(same_failure(outcome, run(attrs.evolve(outcome.setup, keep=keep))))
    except StopIteration as found:
        shrunk: Shrunk = found.value
        return shrunk
