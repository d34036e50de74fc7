"""Fault profiles: what kind of trouble a world has, and the plan that a seed makes of it.

A profile says which weather there is, and how many faults of each kind there may be. Every fault
is drawn from a stream of its own, so that one more or less changes no other. The crashes of one
host never overlap, nor do its pauses; those of different hosts may.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import attrs

from trio440.errors import InvalidParameter
from trio440.sim import draws
from trio440.sim.chance import Seed, stream
from trio440.sim.faults import (
    EVERYBODY,
    ClockSkew,
    Clog,
    Crash,
    DiskErrors,
    DiskFull,
    Fault,
    FaultPlan,
    Flap,
    HostTraits,
    Partition,
    Pause,
    SlowDisk,
    Weather,
    WeatherFault,
)

__all__ = ["PROFILES", "Profile", "describe", "draw_plan"]

MILLION: Final = 1_000_000

Times: TypeAlias = tuple[int, int]
"""The least and the greatest number of faults, both included."""


@attrs.frozen(kw_only=True)
class Profile:
    """A kind of trouble."""

    name: str
    description: str
    """One line."""
    base: draws.BaseDraw
    """The weather of all links until the world heals."""
    links: tuple[tuple[str, draws.LinkDraw, Times], ...] = ()
    """Faults of links, each kind with a name of its own and how many there are in a world."""
    hosts: tuple[tuple[str, draws.HostDraw, Callable[[HostTraits], bool], Times], ...] = ()
    """Faults of hosts: also which hosts they may strike, and how many there are for each."""


def draw_plan(
    profile_name: str, seed: Seed, hosts: Sequence[HostTraits], duration: int, heal_at: int
) -> FaultPlan:
    """Return what goes wrong in the world of this seed, sorted by start.

    Args:
        profile_name: a key of :data:`PROFILES`.
        seed: of the world.
        hosts: its hosts; their order counts.
        duration: microseconds that the world lasts.
        heal_at: microseconds until every fault has ended; 0 means no fault.

    Raises:
        InvalidParameter: there is no such profile, or ``heal_at`` is not within the duration.
    """
    profile = PROFILES.get(profile_name)
    if profile is None:
        raise InvalidParameter("profile", profile_name, f"one of {', '.join(PROFILES)}")
    if not 0 <= heal_at <= duration:
        raise InvalidParameter("heal_at", heal_at, f"0 to the duration, {duration}")

    def chance(*names: str | int) -> random.Random:
        return stream(seed, "plan", profile_name, *names)

    faults: list[Fault] = []
    names = [host.name for host in hosts]
    if heal_at and len(names) > 1:
        for kind, draw, times in profile.links:
            count = chance(kind).randint(*times)
            faults += [draw(chance(kind, index), names, heal_at) for index in range(count)]
    for host in hosts if heal_at else ():
        for kind, strike, may, times in profile.hosts:
            count = chance(kind, host.name).randint(*times) if may(host) else 0
            for index in range(count):
                rng = chance(kind, host.name, index)
                start, end = heal_at * index // count, heal_at * (index + 1) // count
                if start < end:
                    faults.append(strike(rng, host, start, end))
    faults.sort(key=lambda fault: fault.start)
    return FaultPlan(faults=tuple(faults), heal_at=heal_at, base=profile.base(chance("base")))


def describe(fault: Fault) -> str:
    """Return one line about a fault: ``1.250 s to 3.000 s: pause of server``."""
    return f"{fault.start / MILLION:.3f} s to {fault.end / MILLION:.3f} s: {_what(fault)}"


def _what(fault: Fault) -> str:  # noqa: PLR0911 - one answer for each kind of fault
    match fault:
        case Partition() | Flap() | WeatherFault() | Clog():
            return _what_of_links(fault)
        case Crash():
            return f"crash of {fault.host}"
        case Pause():
            return f"pause of {fault.host}"
        case SlowDisk():
            return f"slow disk of {fault.host}, up to {_ms(fault.extra)} more for a sync"
        case DiskErrors():
            return f"failing disk of {fault.host}, {fault.share:.1%} of writes and syncs"
        case DiskFull():
            return f"full disk of {fault.host}"
        case ClockSkew():
            return f"clocks of {fault.host} off by {_ms(fault.offset)}, drift {fault.drift} ppm"


def _what_of_links(fault: Partition | Flap | WeatherFault | Clog) -> str:
    match fault:
        case Partition():
            direction = "" if fault.both_ways else ", one way"
            return f"partition of {', '.join(fault.side)} from the rest{direction}"
        case Flap():
            side = ", ".join(fault.side)
            return f"partition of {side} from the rest, on and off every {_ms(fault.period)}"
        case WeatherFault():
            return f"{_link(fault.source, fault.destination)}: {_weather(fault.weather)}"
        case Clog():
            return f"{_link(fault.source, fault.destination)}: clogged"


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1_000:g} ms"


def _link(source: str, destination: str) -> str:
    return " to ".join("everybody" if name == EVERYBODY else name for name in (source, destination))


def _weather(weather: Weather) -> str:
    """Say in what a weather differs from a clear one."""
    words = []
    for name in ("loss", "duplicate", "corrupt", "truncate"):
        share = getattr(weather, name)
        if share:
            words.append(f"{name} {share:.1%}")
    words.append(f"delay {_ms(weather.delay)} to {_ms(weather.delay + weather.jitter)}")
    if weather.slow:
        words.append(f"slow {weather.slow:.1%} by up to {_ms(weather.slow_delay)}")
    if weather.bandwidth is not None:
        words.append(f"bandwidth {weather.bandwidth} B/s")
    if weather.queue is not None:
        words.append(f"queue {weather.queue} B")
    return ", ".join(words)


def _may_crash(host: HostTraits) -> bool:
    return host.may_crash


def _may_pause(host: HostTraits) -> bool:
    return host.may_pause


def _has_disk(host: HostTraits) -> bool:
    return host.has_disk


def _any_host(_host: HostTraits) -> bool:
    return True


PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile(
            name="calm", description="a local network on a good day, no fault", base=draws.clear
        ),
        Profile(
            name="flaky",
            description="5 % loss, some duplicates and reordering, short partitions",
            base=draws.flaky,
            links=(("partition", draws.partitions_up_to(1_000_000), (0, 3)),),
        ),
        Profile(
            name="hostile",
            description="everything at once: bad links, partitions, clogs, pauses, crashes, disks",
            base=draws.hostile,
            links=(
                ("weather", draws.bad_weather(draws.hostile_or_narrow), (0, 4)),
                ("partition", draws.partitions_up_to(4_000_000), (0, 4)),
                ("flap", draws.flap, (0, 2)),
                ("clog", draws.clog, (0, 3)),
            ),
            hosts=(
                ("crash", draws.crash, _may_crash, (0, 2)),
                ("pause", draws.pause, _may_pause, (0, 1)),
                ("slow disk", draws.slow_disk, _has_disk, (0, 2)),
                ("skew", draws.skew, _any_host, (0, 1)),
            ),
        ),
        Profile(
            name="pauses",
            description="hosts stand still again and again, on a somewhat flaky network",
            base=draws.flaky,
            hosts=(("pause", draws.pause, _may_pause, (4, 10)),),
        ),
        Profile(
            name="lossy",
            description="10 to 50 % of all datagrams are lost, nothing else",
            base=draws.lossy,
        ),
        Profile(
            name="shuffled",
            description="duplicates and delays of up to a second: everything overtakes everything",
            base=draws.shuffled,
        ),
        Profile(
            name="garbled",
            description="datagrams are corrupted and cut short, nothing is lost",
            base=draws.garbled,
        ),
        Profile(
            name="narrow",
            description="slow links with little bandwidth and short queues, and clogs",
            base=draws.narrow,
            links=(("clog", draws.clog, (0, 4)),),
        ),
        Profile(
            name="partitions",
            description="long partitions, one-way ones and flapping ones, on a good network",
            base=draws.clear,
            links=(
                ("partition", draws.partitions_up_to(8_000_000), (2, 6)),
                ("flap", draws.flap, (0, 3)),
            ),
        ),
        Profile(
            name="crashes",
            description="hosts crash and restart, up to four times each, on a good network",
            base=draws.clear,
            hosts=(("crash", draws.crash, _may_crash, (0, 4)),),
        ),
        Profile(
            name="blackouts",
            description="all hosts that may crash do so at about the same time, twice",
            base=draws.clear,
            hosts=(("crash", draws.blackout, _may_crash, (2, 2)),),
        ),
        Profile(
            name="disks",
            description="slow, failing and full disks, and crashes",
            base=draws.clear,
            hosts=(
                ("slow disk", draws.slow_disk, _has_disk, (0, 3)),
                ("errors", draws.disk_errors, _has_disk, (0, 3)),
                ("full", draws.disk_full, _has_disk, (0, 1)),
                ("crash", draws.crash, _may_crash, (0, 2)),
            ),
        ),
        Profile(
            name="clocks",
            description="hosts stop for seconds and go on, and their clocks are off and drift",
            base=draws.clear,
            hosts=(
                ("pause", draws.pause, _may_pause, (0, 4)),
                ("skew", draws.skew, _any_host, (1, 2)),
            ),
        ),
    )
}
"""All profiles by name."""
