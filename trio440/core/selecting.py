"""``select``: wait for several channel operations, and let exactly one of them happen.

::

    match await select(commands.receiving(), results.sending(total), timeout_seconds=1.0):
        case 0, Received(command):
            ...
        case 0, Ended():
            ...
        case 1, Sent():
            ...
        case None:
            ...  # a second went by

The cases are tried in random order. If none can happen, the task stands in the queues of all
their channels at once, with no schedule point in between, and the first operation on one of the
channels that fits takes it out of all of them and hands it the outcome.

The result is a pair: the place of the case in the call, and its outcome. For up to six cases a
type checker knows which outcomes belong to which place.
"""

import random
from collections.abc import Awaitable, Sequence
from functools import cache
from itertools import permutations
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import trio

from trio440.core.channels import Case
from trio440.core.host import Host
from trio440.core.parking import Parked, current_turn
from trio440.core.real import REAL_HOST
from trio440.errors import InvalidParameter

__all__ = ["select", "select_nowait"]

R = TypeVar("R")
R0 = TypeVar("R0")
R1 = TypeVar("R1")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R4 = TypeVar("R4")
R5 = TypeVar("R5")

MaybeCase: TypeAlias = Case[R] | None
At0: TypeAlias = tuple[Literal[0], R0]
At1: TypeAlias = tuple[Literal[1], R1]
At2: TypeAlias = tuple[Literal[2], R2]
At3: TypeAlias = tuple[Literal[3], R3]
At4: TypeAlias = tuple[Literal[4], R4]
At5: TypeAlias = tuple[Literal[5], R5]

TABLED_CASES: Final = 5
"""For up to this many cases the order is drawn from a table of all orders (120 of 5)."""


@overload
async def select(
    c0: MaybeCase[R0], /, *, timeout_seconds: None = None, ports: Host = REAL_HOST
) -> At0[R0]: ...
@overload
async def select(
    c0: MaybeCase[R0], /, *, timeout_seconds: float | None, ports: Host = REAL_HOST
) -> At0[R0] | None: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    /,
    *,
    timeout_seconds: None = None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1]: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    /,
    *,
    timeout_seconds: float | None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | None: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    /,
    *,
    timeout_seconds: None = None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2]: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    /,
    *,
    timeout_seconds: float | None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | None: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    /,
    *,
    timeout_seconds: None = None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3]: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    /,
    *,
    timeout_seconds: float | None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | None: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    c4: MaybeCase[R4],
    /,
    *,
    timeout_seconds: None = None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | At4[R4]: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    c4: MaybeCase[R4],
    /,
    *,
    timeout_seconds: float | None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | At4[R4] | None: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    c4: MaybeCase[R4],
    c5: MaybeCase[R5],
    /,
    *,
    timeout_seconds: None = None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | At4[R4] | At5[R5]: ...
@overload
async def select(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    c4: MaybeCase[R4],
    c5: MaybeCase[R5],
    /,
    *,
    timeout_seconds: float | None,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | At4[R4] | At5[R5] | None: ...
@overload
async def select(
    *cases: MaybeCase[R], timeout_seconds: None = None, ports: Host = REAL_HOST
) -> tuple[int, R]: ...
@overload
async def select(
    *cases: MaybeCase[R], timeout_seconds: float | None, ports: Host = REAL_HOST
) -> tuple[int, R] | None: ...
@trio.lowlevel.enable_ki_protection
async def select(
    *cases: Case[Any] | None, timeout_seconds: float | None = None, ports: Host = REAL_HOST
) -> tuple[int, Any] | None:
    """Wait until one of the cases can happen, let it happen and say which.

    If several can happen, each of them is equally likely to be chosen. A case of None never
    happens, so a case is switched off by putting None in its place; with no case left, the
    select waits until it times out or is cancelled. The same channel may be in several cases,
    sending and receiving: a select never meets itself.

    Args:
        cases: made by :meth:`Chan.receiving` and :meth:`Chan.sending`, or None.
        timeout_seconds: how long to wait, 0 or more; None waits for ever. A case that can
            happen at once does, even when this is 0.
        ports: ``clock`` measures the timeout, ``rng`` draws among cases that can happen.

    Returns:
        The index of the case in ``cases`` and its outcome: :class:`Received` or :class:`Ended`
        of a receive case, :class:`Sent` of a send case. None if the time went by, and then
        nothing has happened.

    Raises:
        trio.ClosedResourceError: a send case was chosen, and its channel is closed; or the
            channel was closed while the select waited. As in Go, this case can always happen.
        InvalidParameter: the timeout is negative or not a number.

    Checks for cancellation first. Raising ``Cancelled`` means that no case has happened; once a
    case has happened, the outcome is returned even if a cancellation came in meanwhile. Waiting
    selects and plain operations are served in the order in which they came.
    """
    if timeout_seconds is not None and not timeout_seconds >= 0:
        raise InvalidParameter("timeout_seconds", timeout_seconds, "0 or more")
    await trio.lowlevel.checkpoint_if_cancelled()
    order = _draw_order(len(cases), ports.rng)
    chosen = _first_possible(cases, order)
    if chosen is not None:
        if current_turn().is_over():
            await trio.lowlevel.cancel_shielded_checkpoint()
        return chosen
    if timeout_seconds is None:
        return await _wait_for_any(cases, order)
    with ports.clock.move_on_after(timeout_seconds):
        # Foreign code has run since the look above, so look again, under the scope.
        return await select(*cases, ports=ports)
    return None


@overload
def select_nowait(c0: MaybeCase[R0], /, *, ports: Host = REAL_HOST) -> At0[R0] | None: ...
@overload
def select_nowait(
    c0: MaybeCase[R0], c1: MaybeCase[R1], /, *, ports: Host = REAL_HOST
) -> At0[R0] | At1[R1] | None: ...
@overload
def select_nowait(
    c0: MaybeCase[R0], c1: MaybeCase[R1], c2: MaybeCase[R2], /, *, ports: Host = REAL_HOST
) -> At0[R0] | At1[R1] | At2[R2] | None: ...
@overload
def select_nowait(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    /,
    *,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | None: ...
@overload
def select_nowait(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    c4: MaybeCase[R4],
    /,
    *,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | At4[R4] | None: ...
@overload
def select_nowait(
    c0: MaybeCase[R0],
    c1: MaybeCase[R1],
    c2: MaybeCase[R2],
    c3: MaybeCase[R3],
    c4: MaybeCase[R4],
    c5: MaybeCase[R5],
    /,
    *,
    ports: Host = REAL_HOST,
) -> At0[R0] | At1[R1] | At2[R2] | At3[R3] | At4[R4] | At5[R5] | None: ...
@overload
def select_nowait(*cases: MaybeCase[R], ports: Host = REAL_HOST) -> tuple[int, R] | None: ...
@trio.lowlevel.enable_ki_protection
def select_nowait(*cases: Case[Any] | None, ports: Host = REAL_HOST) -> tuple[int, Any] | None:
    """Let one of the cases happen if one can happen now: Go's select with a default.

    Like :func:`select` in everything else. Not a checkpoint: a loop around it needs one of its
    own.

    Args:
        cases: made by :meth:`Chan.receiving` and :meth:`Chan.sending`, or None.
        ports: ``rng`` draws among the cases that can happen.

    Returns:
        The index of the case in ``cases`` and its outcome, or None if no case could happen.

    Raises:
        trio.ClosedResourceError: a send case was chosen, and its channel is closed.
    """
    return _first_possible(cases, _draw_order(len(cases), ports.rng))


def _first_possible(
    cases: Sequence[Case[Any] | None], order: Sequence[int]
) -> tuple[int, Any] | None:
    """Let the first case happen that can, and return its index and outcome."""
    for index in order:
        case = cases[index]
        if case is not None:
            outcome = case.attempt()
            if outcome is not None:
                return index, outcome
    return None


def _wait_for_any(
    cases: Sequence[Case[Any] | None], order: Sequence[int]
) -> Awaitable[tuple[int, Any]]:
    """Wait in the queues of all cases; to be called right after none of them could happen."""
    parked = Parked()
    for index in order:
        case = cases[index]
        if case is not None:
            parked.join(
                case.queue, (index, case.offer)
            )  # of two cases that share a queue, the first one stays
    return parked.wait()


@cache
def _all_orders(count: int) -> tuple[tuple[int, ...], ...]:
    return tuple(permutations(range(count)))


def _draw_order(count: int, rng: random.Random) -> Sequence[int]:
    """Draw the order in which to try ``count`` cases; all orders are equally likely."""
    if count > TABLED_CASES:
        return rng.sample(range(count), count)
    orders = _all_orders(count)
    return orders[int(rng.random() * len(orders))]
