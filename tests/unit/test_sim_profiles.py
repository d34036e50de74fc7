import itertools
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.errors import InvalidParameter
from trio440.sim.faults import (
    CLEAR,
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
from trio440.sim.profiles import PROFILES, describe, draw_plan

SECOND = 1_000_000
HOSTS = (
    HostTraits("server", may_crash=True, has_disk=True),
    HostTraits("client1"),
    HostTraits("client2", may_pause=False),
    HostTraits("worker", may_crash=True),
)
NAMES = {host.name for host in HOSTS}

profile_names = st.sampled_from(list(PROFILES))
seeds = st.integers(0, 100_000)


def many_faults(profile: str, seeds: int = 60) -> list[Fault]:
    return [
        fault
        for seed in range(seeds)
        for fault in draw_plan(profile, seed, HOSTS, 20 * SECOND, 12 * SECOND).faults
    ]


@given(profile_names, seeds, st.integers(0, 20 * SECOND))
def test_every_fault_lies_between_the_start_and_the_healing(
    profile: str, seed: int, heal_at: int
) -> None:
    plan = draw_plan(profile, seed, HOSTS, 20 * SECOND, heal_at)
    assert plan.heal_at == heal_at
    assert all(0 <= fault.start < fault.end <= heal_at for fault in plan.faults)
    starts = [fault.start for fault in plan.faults]
    assert starts == sorted(starts)


@given(profile_names, seeds, st.integers(0, 5))
def test_the_shortest_worlds_have_plans_too(profile: str, seed: int, heal_at: int) -> None:
    plan = draw_plan(profile, seed, HOSTS, 5, heal_at)
    assert all(0 <= fault.start < fault.end <= heal_at for fault in plan.faults)


@given(profile_names, seeds)
def test_a_plan_is_made_of_its_arguments_alone(profile: str, seed: int) -> None:
    once = draw_plan(profile, seed, HOSTS, 20 * SECOND, 12 * SECOND)
    assert draw_plan(profile, seed, list(HOSTS), 20 * SECOND, 12 * SECOND) == once


@given(profile_names, seeds, st.sets(st.integers(0, 30)))
def test_a_fault_left_out_leaves_the_others_as_they_were(
    profile: str, seed: int, keep: set[int]
) -> None:
    plan = draw_plan(profile, seed, HOSTS, 20 * SECOND, 12 * SECOND)
    kept = plan.keep(keep).happening
    assert list(kept) == [(n, fault) for n, fault in enumerate(plan.faults) if n in keep]


@given(profile_names, seeds)
def test_one_host_more_changes_no_fault_of_the_other_hosts(profile: str, seed: int) -> None:
    def of_hosts(hosts: tuple[HostTraits, ...]) -> list[Fault]:
        plan = draw_plan(profile, seed, hosts, 20 * SECOND, 12 * SECOND)
        return [fault for fault in plan.faults if getattr(fault, "host", None) in NAMES]

    assert of_hosts((*HOSTS, HostTraits("new", may_crash=True, has_disk=True))) == of_hosts(HOSTS)


@given(profile_names, seeds)
def test_hosts_meet_only_what_their_traits_allow(profile: str, seed: int) -> None:
    traits = {host.name: host for host in HOSTS}
    for fault in draw_plan(profile, seed, HOSTS, 20 * SECOND, 12 * SECOND).faults:
        match fault:
            case Crash():
                assert traits[fault.host].may_crash
            case Pause():
                assert traits[fault.host].may_pause
            case SlowDisk() | DiskErrors() | DiskFull():
                assert traits[fault.host].has_disk
            case Partition() | Flap():
                assert 0 < len(fault.side) < len(HOSTS)
                assert set(fault.side) < NAMES


@given(st.sampled_from(["hostile", "crashes", "blackouts", "clocks"]), seeds)
def test_a_host_does_not_crash_or_pause_twice_at_once(profile: str, seed: int) -> None:
    faults = draw_plan(profile, seed, HOSTS, 20 * SECOND, 12 * SECOND).faults
    for kind in (Crash, Pause):
        for name in NAMES:
            own = [fault for fault in faults if isinstance(fault, kind) and fault.host == name]
            assert all(a.end <= b.start for a, b in itertools.pairwise(own))


@pytest.mark.parametrize(
    ("profile", "kinds"),
    [
        ("calm", ""),
        ("flaky", "Partition"),
        ("hostile", "ClockSkew Clog Crash Flap Partition Pause SlowDisk WeatherFault"),
        ("narrow", "Clog"),
        ("partitions", "Flap Partition"),
        ("crashes", "Crash"),
        ("blackouts", "Crash"),
        ("disks", "Crash DiskErrors DiskFull SlowDisk"),
        ("clocks", "ClockSkew Pause"),
    ],
)
def test_a_profile_has_faults_of_its_kinds_and_no_others(profile: str, kinds: str) -> None:
    assert sorted({type(fault).__name__ for fault in many_faults(profile)}) == kinds.split()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_what_it_is_in_one_line(name: str) -> None:
    profile = PROFILES[name]
    assert profile.name == name
    assert 10 < len(profile.description) < 90
    assert "\n" not in profile.description


def test_the_weather_is_what_the_profile_says() -> None:
    def bases(profile: str) -> list[Weather]:
        return [draw_plan(profile, seed, HOSTS, SECOND, SECOND).base for seed in range(50)]

    assert set(bases("calm")) == {CLEAR}
    assert {base.loss for base in bases("flaky")} == {0.05}
    losses = [base.loss for base in bases("hostile")]
    assert min(losses) < 0.05
    assert 0.2 < max(losses) <= 0.25
    assert all(base.corrupt and not base.loss for base in bases("garbled"))


def test_a_lonely_host_has_no_faults_of_links() -> None:
    for seed in range(30):
        plan = draw_plan("hostile", seed, HOSTS[:1], 20 * SECOND, 12 * SECOND)
        assert all(hasattr(fault, "host") for fault in plan.faults)


def test_a_blackout_takes_all_down_together() -> None:
    plan = draw_plan("blackouts", 1, HOSTS, 20 * SECOND, 12 * SECOND)
    for moment in (3 * SECOND, 9 * SECOND):
        down = {
            fault.host
            for fault in plan.faults
            if isinstance(fault, Crash) and moment - 20_000 <= fault.start <= moment
        }
        assert down == {"server", "worker"}


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InvalidParameter, match="profile must be one of calm, flaky"):
        draw_plan("stormy", 1, HOSTS, SECOND, SECOND)
    with pytest.raises(InvalidParameter, match="heal_at must be 0 to the duration"):
        draw_plan("calm", 1, HOSTS, SECOND, SECOND + 1)


class Span(TypedDict):
    start: int
    end: int


SPAN = Span(start=1_250_000, end=3_000_000)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Partition(side=("client1", "client2"), **SPAN),
            "partition of client1, client2 from the rest",
        ),
        (Partition(side=("a",), both_ways=False, **SPAN), "partition of a from the rest, one way"),
        (
            Flap(side=("a",), period=20_500, **SPAN),
            "partition of a from the rest, on and off every 20.5 ms",
        ),
        (Clog(source="a", destination="*", **SPAN), "a to everybody: clogged"),
        (
            WeatherFault(
                source="*",
                destination="b",
                weather=Weather(loss=0.25, slow=0.1, slow_delay=9_000, bandwidth=5, queue=6),
                **SPAN,
            ),
            (
                "everybody to b: loss 25.0%, delay 0.5 ms to 1.5 ms, slow 10.0% by up to 9 ms, "
                "bandwidth 5 B/s, queue 6 B"
            ),
        ),
        (Crash(host="a", **SPAN), "crash of a"),
        (Pause(host="a", **SPAN), "pause of a"),
        (SlowDisk(host="a", extra=5_000, **SPAN), "slow disk of a, up to 5 ms more for a sync"),
        (DiskErrors(host="a", share=0.1, **SPAN), "failing disk of a, 10.0% of writes and syncs"),
        (DiskFull(host="a", **SPAN), "full disk of a"),
        (
            ClockSkew(host="a", offset=-5_000, drift=100, **SPAN),
            "clocks of a off by -5 ms, drift 100 ppm",
        ),
    ],
)
def test_a_fault_is_described_in_one_line(fault: Fault, words: str) -> None:
    assert describe(fault) == f"1.250 s to 3.000 s: {words}"
