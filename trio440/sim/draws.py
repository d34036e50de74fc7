"""How faults and weathers are drawn; :mod:`trio440.sim.profiles` says which and how many.

All times are microseconds. Every function draws from the generator that it is given alone.
"""

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from trio440.sim.faults import (
    CLEAR,
    EVERYBODY,
    ClockSkew,
    Clog,
    Crash,
    DiskErrors,
    DiskFull,
    Fault,
    Flap,
    HostTraits,
    Partition,
    Pause,
    SlowDisk,
    Weather,
    WeatherFault,
)

__all__ = [
    "BaseDraw",
    "HostDraw",
    "LinkDraw",
    "bad_weather",
    "blackout",
    "clear",
    "clog",
    "crash",
    "disk_errors",
    "disk_full",
    "flaky",
    "flap",
    "garbled",
    "hostile",
    "hostile_or_narrow",
    "lossy",
    "narrow",
    "partitions_up_to",
    "pause",
    "shuffled",
    "skew",
    "slow_disk",
]

BaseDraw: TypeAlias = Callable[[random.Random], Weather]
LinkDraw: TypeAlias = Callable[[random.Random, Sequence[str], int], Fault]
"""``(rng, names of at least two hosts, heal_at)`` to a fault of their links."""
HostDraw: TypeAlias = Callable[[random.Random, HostTraits, int, int], Fault]
"""``(rng, host, earliest start, latest end)`` to a fault of that host."""


def _span(rng: random.Random, start: int, end: int, shortest: int, longest: int) -> dict[str, int]:
    """Draw a time within ``start`` to ``end``; short ones are as likely as long ones."""
    length = round(shortest * (longest / shortest) ** rng.random())
    length = max(1, min(length, end - start))
    begin = rng.randint(start, end - length)
    return {"start": begin, "end": begin + length}


def _side(rng: random.Random, names: Sequence[str]) -> tuple[str, ...]:
    chosen = rng.sample(range(len(names)), rng.randint(1, len(names) - 1))
    return tuple(names[place] for place in sorted(chosen))


def _pair(rng: random.Random, names: Sequence[str]) -> tuple[str, str]:
    """Draw a link in one direction, or sometimes all links from or to one host."""
    source, destination = rng.sample(list(names), 2)
    form = rng.random()
    if form < 0.25:  # noqa: PLR2004 - each form of a star has a quarter
        return source, EVERYBODY
    if form < 0.5:  # noqa: PLR2004 - the same
        return EVERYBODY, destination
    return source, destination


def partitions_up_to(longest: int) -> LinkDraw:
    """Return a draw of partitions, 50 ms to ``longest`` long, some of them one way."""

    def draw(rng: random.Random, names: Sequence[str], heal_at: int) -> Fault:
        span = _span(rng, 0, heal_at, min(50_000, longest), longest)
        return Partition(side=_side(rng, names), both_ways=rng.random() < 0.6, **span)  # noqa: PLR2004 - somewhat more often both ways

    return draw


def flap(rng: random.Random, names: Sequence[str], heal_at: int) -> Fault:
    """Draw a partition that comes and goes."""
    span = _span(rng, 0, heal_at, 500_000, 5_000_000)
    return Flap(side=_side(rng, names), period=rng.randint(20_000, 1_000_000), **span)


def clog(rng: random.Random, names: Sequence[str], heal_at: int) -> Fault:
    """Draw a clogged link."""
    source, destination = _pair(rng, names)
    span = _span(rng, 0, heal_at, 50_000, 3_000_000)
    return Clog(source=source, destination=destination, **span)


def bad_weather(weather: BaseDraw) -> LinkDraw:
    """Return a draw of links that have such a weather for a while."""

    def draw(rng: random.Random, names: Sequence[str], heal_at: int) -> Fault:
        span = _span(rng, 0, heal_at, 200_000, 5_000_000)
        source, destination = _pair(rng, names)
        return WeatherFault(source=source, destination=destination, weather=weather(rng), **span)

    return draw


def crash(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Draw a crash of 20 ms to 4 s."""
    return Crash(host=host.name, **_span(rng, start, end, 20_000, 4_000_000))


def blackout(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Crash about the middle of the window, as all other hosts do."""
    middle = start + (end - start) // 2
    begin = rng.randint(max(start, middle - 20_000), middle)
    return Crash(host=host.name, start=begin, end=rng.randint(begin + 1, max(begin + 1, end)))


def pause(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Draw a pause of 10 ms to 3 s."""
    return Pause(host=host.name, **_span(rng, start, end, 10_000, 3_000_000))


def slow_disk(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Draw a time of slow syncs."""
    span = _span(rng, start, end, 200_000, 5_000_000)
    return SlowDisk(host=host.name, extra=rng.randint(5_000, 500_000), **span)


def disk_errors(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Draw a time of failing writes and syncs."""
    span = _span(rng, start, end, 50_000, 2_000_000)
    return DiskErrors(host=host.name, share=rng.uniform(0.005, 0.2), **span)


def disk_full(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Draw a time without space."""
    return DiskFull(host=host.name, **_span(rng, start, end, 50_000, 2_000_000))


def skew(rng: random.Random, host: HostTraits, start: int, end: int) -> Fault:
    """Draw clocks that are off by up to 2 s and drift by up to 0.5 %."""
    return ClockSkew(
        host=host.name,
        offset=rng.randint(-2_000_000, 2_000_000),
        drift=rng.randint(-5_000, 5_000),
        **_span(rng, start, end, 1_000_000, 10_000_000),
    )


# Weathers


def clear(_rng: random.Random) -> Weather:
    """No trouble."""
    return CLEAR


def flaky(_rng: random.Random) -> Weather:
    """Some loss, duplicates and stragglers."""
    return Weather(loss=0.05, duplicate=0.02, delay=500, jitter=5_000, slow=0.02, slow_delay=50_000)


def lossy(rng: random.Random) -> Weather:
    """Much loss."""
    return Weather(loss=rng.uniform(0.1, 0.5), delay=1_000, jitter=2_000)


def shuffled(rng: random.Random) -> Weather:
    """Duplicates and large differences in delay."""
    return Weather(
        duplicate=rng.uniform(0.05, 0.3),
        delay=200,
        jitter=rng.randint(5_000, 50_000),
        slow=rng.uniform(0.05, 0.3),
        slow_delay=rng.randint(100_000, 1_000_000),
    )


def garbled(rng: random.Random) -> Weather:
    """Corruption and truncation."""
    return Weather(corrupt=rng.uniform(0.05, 0.3), truncate=rng.uniform(0.02, 0.1))


def narrow(rng: random.Random) -> Weather:
    """Little bandwidth and a short queue."""
    return Weather(
        delay=rng.randint(5_000, 100_000),
        jitter=rng.randint(0, 20_000),
        bandwidth=rng.randint(4_000, 100_000),
        queue=rng.randint(2_000, 32_000),
    )


def hostile(rng: random.Random) -> Weather:
    """Some of everything but a limit to the bandwidth."""
    return Weather(
        loss=rng.uniform(0.0, 0.25),
        duplicate=rng.uniform(0.0, 0.15),
        corrupt=rng.uniform(0.0, 0.05),
        truncate=rng.uniform(0.0, 0.02),
        delay=rng.randint(100, 5_000),
        jitter=rng.randint(0, 20_000),
        slow=rng.uniform(0.0, 0.1),
        slow_delay=rng.randint(20_000, 500_000),
    )


def hostile_or_narrow(rng: random.Random) -> Weather:
    """Draw which of the bad weathers it is."""
    return rng.choice((hostile, lossy, shuffled, narrow))(rng)
