"""What tasks do with channels, drawn from a seed, and said in words. Pure."""

import random
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from trio440.sim.checking.channel_model import (
    Cancel,
    Close,
    Ended,
    Got,
    Operation,
    Receive,
    Result,
    Select,
    Send,
    Sent,
    Told,
)

__all__ = ["Traffic", "describe", "draw_capacities", "draw_operation", "draw_traffic"]

CAPACITIES: Final = (0, 0, 0, 1, 2, 5)
CASES: Final = (1, 2, 2, 2, 3, 3, 4, 6)
"""How many cases a select has; six are more than there are tables of orders for."""

Issue: TypeAlias = Callable[[int], int]
"""Makes the value that is sent to a channel."""


@attrs.frozen(kw_only=True)
class Traffic:
    """What kind of operations the tasks of a machine prefer; shares of 1."""

    selects: float
    sends: float
    """Of all cases and plain operations, so many send; the others receive."""
    closes: float
    cancels: float
    nowait: float
    timeouts: float
    rests: float
    """After so many operations a task sleeps."""


def draw_traffic(rng: random.Random) -> Traffic:
    """Draw what the tasks of a machine prefer."""
    return Traffic(
        selects=rng.choice([0.2, 0.5, 0.8]),
        sends=rng.uniform(0.4, 0.6),
        closes=rng.choice([0.0, 0.003, 0.015]),
        cancels=rng.choice([0.05, 0.1, 0.2]),
        nowait=rng.choice([0.05, 0.2]),
        timeouts=rng.choice([0.1, 0.4]),
        rests=rng.choice([0.05, 0.2, 0.5]),
    )


def draw_capacities(rng: random.Random) -> tuple[int, ...]:
    """Draw how many channels there are, and how much each holds."""
    return tuple(rng.choice(CAPACITIES) for _ in range(rng.randint(1, 4)))


def draw_operation(
    rng: random.Random, traffic: Traffic, channels: int, tasks: int, issue: Issue
) -> Operation:
    """Draw what a task does next."""
    kind = rng.random()
    if kind < traffic.closes:
        return Close(rng.randrange(channels))
    kind -= traffic.closes
    if kind < traffic.cancels:
        return Cancel(rng.randrange(tasks))
    waits = rng.random() >= traffic.nowait
    if rng.random() >= traffic.selects:
        return attrs.evolve(_draw_case(rng, traffic, channels, issue), waits=waits)
    cases = tuple(
        None if rng.random() < 0.1 else _draw_case(rng, traffic, channels, issue)  # noqa: PLR2004
        for _ in range(rng.choice(CASES))
    )
    return Select(cases, waits, waits and rng.random() < traffic.timeouts)


def _draw_case(rng: random.Random, traffic: Traffic, channels: int, issue: Issue) -> Send | Receive:
    channel = rng.randrange(channels)
    if rng.random() < traffic.sends:
        return Send(channel, issue(channel))
    return Receive(channel)


def describe(thing: Operation | Result | None) -> str:  # noqa: PLR0911 - an answer for each kind
    """Say in a few words what a task does, or what came of it."""
    match thing:
        case Send():
            return f"send {thing.value} to {thing.channel}"
        case Receive():
            return f"receive from {thing.channel}"
        case Select():
            kind = "select" if thing.waits else "select_nowait"
            timeout = " with timeout" if thing.expires else ""
            return f"{kind}({', '.join(map(describe, thing.cases))}){timeout}"
        case Close():
            return f"close {thing.channel}"
        case Cancel():
            return f"cancel {thing.task}"
        case Told():
            return thing.word
        case Got():
            return f"case {thing.case} got {thing.value}"
        case Sent() | Ended():
            return f"case {thing.case} {type(thing).__name__}"
        case _:
            return f"{thing}"
