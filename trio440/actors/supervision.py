"""Supervision: what becomes of the children of one supervisor when one of them ends. Pure.

The words are those of Erlang/OTP. A child's :class:`Restart` says whether it is restarted at all
and how often; the supervisor's :data:`Strategy` says who is restarted with it:

- ``one_for_one``: the child alone;
- ``one_for_all``: all children;
- ``rest_for_one``: the child and those that were started after it.

Unlike OTP's, the budget of restarts is each child's own: that one child keeps failing says nothing
of the others, and those restarted along with it have not failed. A child that fails once more than
its budget allows makes the supervisor fail. Times are microseconds of any clock that does not go
back.
"""

from collections import deque
from typing import Final, Literal, TypeAlias

import attrs

from trio440.actors.checks import check_choice, check_count, check_seconds, checked

__all__ = [
    "Decision",
    "Escalate",
    "Leave",
    "Restart",
    "RestartThese",
    "Strategy",
    "Supervisor",
]

MICROSECONDS: Final = 1_000_000

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
Kind: TypeAlias = Literal["permanent", "transient", "temporary"]


@attrs.frozen
class Restart:
    """When and how often one child is restarted."""

    kind: Kind = attrs.field(default="transient", validator=checked(check_choice, Kind))
    """``permanent``: whenever it ends by itself; ``transient``: when it fails; ``temporary``:
    never. A child that somebody stops is not restarted."""
    intensity: int = attrs.field(default=3, validator=checked(check_count, 0), kw_only=True)
    """So many restarts within the period; one more makes the supervisor fail."""
    period_seconds: float = attrs.field(default=5.0, validator=checked(check_seconds), kw_only=True)
    first_wait_seconds: float = attrs.field(
        default=0.1, validator=checked(check_seconds), kw_only=True
    )
    """The first restart within a period comes at once, the second after this, each later one
    after twice the wait before."""
    longest_wait_seconds: float = attrs.field(
        default=5.0, validator=checked(check_seconds), kw_only=True
    )
    keep_mailbox: bool = attrs.field(default=True, kw_only=True)
    """Whether the messages that wait, and those that are stashed, are handled after the restart;
    otherwise they become dead letters. The message that the child failed at is never repeated."""


@attrs.frozen
class Leave:
    """The child has ended for good; the others go on."""


@attrs.frozen
class RestartThese:
    """Stop some children from right to left, wait, and start some again from left to right."""

    stopped: tuple[int, ...]
    """In the order in which they were started; who has ended already is among them."""
    started: tuple[int, ...]
    """Likewise; temporary ones that are stopped along with others are not started again."""
    wait_us: int
    restarts: int
    """How many the failed child has had within its period, this one included."""


@attrs.frozen
class Escalate:
    """The child has used up its restarts: the supervisor fails."""

    restarts: int
    """How many it has had within its period."""


Decision: TypeAlias = Leave | RestartThese | Escalate


class Supervisor:
    """The children of one supervisor, in the order in which they were started, by their numbers."""

    def __init__(self, strategy: Strategy = "one_for_one") -> None:
        """Begin without children.

        Raises:
            InvalidParameter: the strategy is none.
        """
        check_choice("strategy", strategy, Strategy)
        self.strategy: Final = strategy
        self._children: dict[int, Restart] = {}
        self._times: dict[int, deque[int]] = {}
        """Of the restarts of who has had any within its period; never more than the intensity."""

    @property
    def children(self) -> tuple[int, ...]:
        """The children in the order in which they were started."""
        return tuple(self._children)

    def add(self, child: int, restart: Restart) -> None:
        """Take one more child; it comes after the others."""
        self._children[child] = restart

    def forget(self, child: int) -> None:
        """Drop a child that has ended for good; one that is not there is no error."""
        self._children.pop(child, None)
        self._times.pop(child, None)

    def ended(self, child: int, *, failed: bool, now_us: int) -> Decision:
        """Decide what follows when a child has ended by itself.

        ``Leave`` and ``Escalate`` forget the child. Temporary siblings that ``RestartThese`` stops
        are to be forgotten when they have ended.

        Args:
            child: a child that was added.
            failed: whether it raised, rather than having ended normally.
            now_us: microseconds, never less than at a call before.
        """
        restart = self._children[child]
        if restart.kind == "temporary" or (restart.kind == "transient" and not failed):
            self.forget(child)
            return Leave()
        times = self._times.setdefault(child, deque())
        while times and times[0] <= now_us - round(restart.period_seconds * MICROSECONDS):
            times.popleft()
        if len(times) >= restart.intensity:
            self.forget(child)
            return Escalate(len(times))
        times.append(now_us)
        stopped = self._along_with(child)
        started = tuple(
            each for each in stopped if each == child or self._children[each].kind != "temporary"
        )
        return RestartThese(stopped, started, _wait_us(restart, len(times)), len(times))

    def _along_with(self, child: int) -> tuple[int, ...]:
        if self.strategy == "one_for_one":
            return (child,)
        everybody = self.children
        return everybody if self.strategy == "one_for_all" else everybody[everybody.index(child) :]


def _wait_us(restart: Restart, restarts: int) -> int:
    if restarts == 1:
        return 0
    doublings = min(restarts - 2, 60)
    seconds = min(restart.first_wait_seconds * (1 << doublings), restart.longest_wait_seconds)
    return round(seconds * MICROSECONDS)
