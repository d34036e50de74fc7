import hashlib
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.processes import finished
from trio440.errors import InvalidParameter, InvariantViolated, SimulationError
from trio440.sim.faults import (
    ClockSkew,
    Clog,
    Crash,
    Fault,
    FaultPlan,
    HostTraits,
    Partition,
    Pause,
    SlowDisk,
    Weather,
)
from trio440.sim.outcome import Setup
from trio440.sim.profiles import PROFILES, draw_plan
from trio440.sim.stage import SHOWN_BYTES, Stage, shown
from trio440.sim.trace import Event

SECOND = 1_000_000
a_few = settings(max_examples=10)
"""Each example is a world of 20 seconds, about 10 milliseconds to run."""
STILL = Weather(delay=500, jitter=0)
HOSTS = (
    HostTraits("server", may_crash=True, has_disk=True),
    *(HostTraits(f"client{number}", may_crash=number == 0) for number in range(5)),
)
NAMES = tuple(host.name for host in HOSTS)


def make_stage(*faults: Fault, base: Weather = STILL, heal_at: int = 10 * SECOND) -> Stage:
    """Return a stage of two hosts with just these faults."""
    return Stage(
        Setup("test", 1, "A", "calm"),
        [HostTraits("a"), HostTraits("b")],
        20 * SECOND,
        heal_at,
        keep_trace=True,
        plan=FaultPlan(faults, heal_at, base),
    )


class Echoes:
    """Five clients that ask by datagram and by stream every 200 ms; a server that answers."""

    def __init__(self, seed: int, profile: str, *, keep: tuple[int, ...] | None = None) -> None:
        setup = Setup("echo", seed, "A", profile, keep=keep)
        self.stage = Stage(setup, HOSTS, 20 * SECOND, 12 * SECOND, keep_trace=True)
        self.sent: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.got: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.late_answers = 0
        stage = self.stage
        stage.on_datagram("server", self.answer)
        stage.on_segment("server", lambda data, source, _: self.got[source].append(data))
        for name in NAMES[1:]:
            stage.on_datagram(name, self.hear)
            stage.on_restart(name, self.ticker(name))
            stage.at(0, self.ticker(name), host=name)

    def ticker(self, name: str) -> Callable[[], None]:
        def tick() -> None:
            stage = self.stage
            data = b"%d %d" % (len(self.sent[name]), stage.rng(name).randrange(1_000))
            self.sent[name].append(data)
            stage.send(name, "server", data)
            stage.segment(name, "server", data)
            if stage.now < 19 * SECOND:
                stage.at(stage.now + 200_000, tick, host=name)

        return tick

    def answer(self, data: bytes, source: str) -> None:
        self.stage.send("server", source, data)

    def hear(self, _data: bytes, _source: str) -> None:
        self.late_answers += self.stage.now > 13 * SECOND

    def events(self) -> list[Event]:
        return list(self.stage.trace)


profile_names = st.sampled_from(list(PROFILES))
seeds = st.integers(0, 100_000)


@a_few
@given(profile_names, seeds)
def test_the_same_seed_gives_the_same_trace(profile: str, seed: int) -> None:
    first, second = Echoes(seed, profile), Echoes(seed, profile)
    first.stage.run()
    second.stage.run()
    assert first.stage.trace.digest() == second.stage.trace.digest()
    assert first.events() == second.events()


@a_few
@given(seeds)
def test_running_in_parts_changes_nothing(seed: int) -> None:
    whole, parts = Echoes(seed, "hostile"), Echoes(seed, "hostile")
    whole.stage.run()
    for end in range(0, 20 * SECOND + 1, 1_700_000):
        parts.stage.run(end)
    parts.stage.run()
    assert whole.stage.trace.digest() == parts.stage.trace.digest()


@a_few
@given(profile_names, seeds)
def test_every_message_in_the_trace_arrives_or_is_dropped(profile: str, seed: int) -> None:
    world = Echoes(seed, profile)
    world.stage.run(40 * SECOND)
    sends = {event.number for event in world.events() if event.kind == "send"}
    ended = {event.cause for event in world.events() if event.kind in ("arrive", "drop")}
    assert sends == ended


@a_few
@given(profile_names, seeds)
def test_streams_between_living_hosts_keep_all_they_carry_in_order(profile: str, seed: int) -> None:
    world = Echoes(seed, profile)
    world.stage.run(40 * SECOND)
    crashes = {fault.host for fault in world.stage.plan.faults if isinstance(fault, Crash)}
    for name in NAMES[1:]:
        got, sent = world.got[name], world.sent[name]
        if crashes.isdisjoint(("server", name)):
            assert got == sent
        else:
            assert [sent.index(data) for data in got] == sorted(map(sent.index, got))


@a_few
@given(profile_names, seeds)
def test_after_the_healing_everybody_is_answered(profile: str, seed: int) -> None:
    world = Echoes(seed, profile)
    world.stage.run()
    assert all(world.stage.is_up(name) and not world.stage.is_paused(name) for name in NAMES)
    assert world.late_answers >= 5 * 25


@a_few
@given(seeds, st.sets(st.integers(0, 40)))
def test_leaving_faults_out_leaves_the_rest_of_the_plan(seed: int, keep: set[int]) -> None:
    world = Echoes(seed, "hostile", keep=tuple(sorted(keep)))
    world.stage.run()
    plan = draw_plan("hostile", seed, HOSTS, 20 * SECOND, 12 * SECOND)
    begun = [event.text for event in world.events() if event.kind == "fault"]
    assert [int(text.partition(":")[0]) for text in begun] == [
        place for place in range(len(plan.faults)) if place in keep
    ]


@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_history() -> None:
    def digest(hash_seed: str) -> str:
        program = "import tests.unit.test_sim_stage as t; print(t.digest_of_many())"
        return finished([sys.executable, "-c", program], env={"PYTHONHASHSEED": hash_seed})[
            1
        ].strip()

    assert digest("1") == digest("2") == digest_of_many()


def digest_of_many() -> str:
    """Return one hash of a history under every profile."""
    total = hashlib.sha256()
    for profile in PROFILES:
        world = Echoes(7, profile)
        world.stage.run()
        total.update(world.stage.trace.digest().encode())
    return total.hexdigest()


# Crashes


def test_a_host_without_power_hears_and_does_nothing_until_it_starts_again() -> None:
    stage = make_stage(Crash(host="b", start=10_000, end=20_000))
    log: list[str] = []
    stage.on_datagram("b", lambda data, _: log.append(f"{data.decode()} at {stage.now}"))
    stage.on_crash("b", lambda: log.append(f"crash at {stage.now}"))
    stage.on_crash("b", lambda: stage.send("b", "a", b"the fence holds this"))
    stage.on_restart("b", lambda: log.append(f"start at {stage.now}"))
    for when in (9_000, 9_800, 15_000, 21_000):
        stage.at(when, lambda: stage.send("a", "b", b"%d" % stage.now))
    stage.at(15_000, lambda: log.append("up" if stage.is_up("b") else "down"))
    stage.run()
    assert log == [
        "9000 at 9500",
        "crash at 10000",
        "down",
        "start at 20000",
        "21000 at 21500",
    ]
    drops = [(event.at, event.host, event.text) for event in stage.trace if event.kind == "drop"]
    assert drops == [(10_300, "b", "from a: down"), (15_500, "b", "from a: down")]
    assert [event.host for event in stage.trace if event.kind == "send"] == ["a"] * 4


def test_timers_of_a_crashed_host_are_gone() -> None:
    stage = make_stage(Crash(host="b", start=10_000, end=20_000))
    log: list[str] = []
    stage.at(15_000, lambda: log.append("while down"), host="b")
    stage.at(25_000, lambda: log.append("of the life before"), host="b")
    stage.at(25_000, lambda: log.append("of the other host"), host="a")
    stage.at(25_000, lambda: log.append("of the world"))
    stage.at(15_000, lambda: stage.at(26_000, lambda: log.append("made while down"), host="b"))
    stage.on_restart("b", lambda: stage.at(27_000, lambda: log.append("of this life"), host="b"))
    stage.run()
    assert log == ["of the other host", "of the world", "of this life"]


def test_a_stream_does_not_outlive_its_receiver() -> None:
    stage = make_stage(Crash(host="b", start=10_000, end=20_000), base=Weather(delay=50_000))
    got: list[bytes] = []
    stage.on_segment("b", lambda data, _source, _stream: got.append(data))
    stage.at(1_000, lambda: stage.segment("a", "b", b"old"))
    stage.at(30_000, lambda: stage.segment("a", "b", b"new"))
    stage.run()
    assert got == [b"new"]
    assert [event.text for event in stage.trace if event.kind == "drop"] == ["from a: reset"]


def test_a_host_stays_down_until_the_last_of_its_crashes_is_over() -> None:
    stage = make_stage(
        Crash(host="b", start=10_000, end=30_000), Crash(host="b", start=20_000, end=40_000)
    )
    starts: list[int] = []
    crashes: list[int] = []
    stage.on_restart("b", lambda: starts.append(stage.now))
    stage.on_crash("b", lambda: crashes.append(stage.now))
    stage.run()
    assert (crashes, starts) == ([10_000], [40_000])


# Pauses


def test_a_paused_host_does_late_what_came_in_its_pause_and_in_order() -> None:
    stage = make_stage(Pause(host="b", start=10_000, end=20_000))
    log: list[tuple[str, int]] = []
    stage.on_datagram("b", lambda data, _: log.append((data.decode(), stage.now)))
    stage.on_segment("b", lambda data, _source, _stream: log.append((data.decode(), stage.now)))
    stage.at(12_000, lambda: stage.segment("a", "b", b"segment"))
    stage.at(13_000, lambda: stage.send("a", "b", b"datagram"))
    stage.at(13_200, lambda: log.append(("timer", stage.now)), host="b")
    stage.at(19_500, lambda: stage.segment("a", "b", b"at the end"))
    stage.run()
    assert log == [
        ("segment", 20_000),
        ("timer", 20_000),
        ("datagram", 20_000),
        ("at the end", 20_000),
    ]
    states = [event.kind for event in stage.trace if event.kind in ("pause", "resume")]
    assert states == ["pause", "resume"]


def test_a_crash_ends_a_pause_and_loses_what_it_held() -> None:
    stage = make_stage(
        Pause(host="b", start=10_000, end=40_000), Crash(host="b", start=20_000, end=30_000)
    )
    log: list[str] = []
    stage.on_datagram("b", lambda data, _: log.append(f"{data.decode()} at {stage.now}"))
    stage.at(12_000, lambda: stage.send("a", "b", b"held"))
    stage.at(12_000, lambda: log.append("timer"), host="b")
    stage.at(32_000, lambda: stage.send("a", "b", b"after"))
    stage.run()
    assert log == ["after at 32500"]
    assert [event.at for event in stage.trace if event.kind == "drop"] == [20_000]


def test_invariants_are_checked_between_the_things_that_a_pause_held() -> None:
    stage = make_stage(Pause(host="b", start=10_000, end=20_000))
    count = 0
    seen: list[int] = []

    def more() -> None:
        nonlocal count
        count += 1

    for _ in range(3):
        stage.at(15_000, more, host="b")
    stage.check(lambda: seen.append(count))
    stage.run()
    assert {1, 2, 3} < set(seen)


# Links


def test_faults_of_links_begin_and_end_to_the_microsecond() -> None:
    stage = make_stage(
        Partition(side=("a",), start=10_000, end=20_000),
        Clog(source="a", destination="b", start=30_000, end=40_000),
    )
    got: list[tuple[bytes, int]] = []
    stage.on_datagram("b", lambda data, _: got.append((data, stage.now)))
    for when in (9_499, 9_500, 10_000, 19_999, 20_000, 30_000, 39_999, 40_000):
        stage.at(when, lambda: stage.send("a", "b", b"%d" % stage.now))
    stage.run()
    assert got == [
        (b"9499", 9_999),
        (b"20000", 20_500),
        (b"30000", 40_000),
        (b"39999", 40_500),
        (b"40000", 40_500),
    ]
    cut = [event.at for event in stage.trace if event.text == "from a: cut"]
    assert cut == [10_000, 10_000, 19_999]


def test_the_weather_clears_when_the_world_heals() -> None:
    stage = make_stage(base=Weather(loss=1.0), heal_at=50_000)
    got: list[bytes] = []
    stage.on_datagram("b", lambda data, _: got.append(data))
    for when in (0, 49_999, 50_000):
        stage.at(when, lambda: stage.send("a", "b", b"%d" % stage.now))
    stage.run()
    assert got == [b"50000"]


def test_a_handler_can_tell_what_was_altered_on_its_way() -> None:
    stage = make_stage(base=Weather(corrupt=0.5))
    seen: list[tuple[bool, bool]] = []
    stage.on_datagram("b", lambda data, _: seen.append((stage.altered, data != b"payload")))
    for when in range(100):
        stage.at(when, lambda: stage.send("a", "b", b"payload"))
    stage.run()
    assert len(seen) == 100
    assert set(seen) == {(True, True), (False, False)}
    altered = [event for event in stage.trace if "altered to" in event.text]
    assert len(altered) == sum(changed for changed, _ in seen)


def test_nobody_listens_is_a_drop() -> None:
    stage = make_stage()
    stage.send("a", "b", b"")
    stage.segment("a", "b", b"")
    stage.run()
    assert [event.text for event in stage.trace if event.kind == "drop"] == [
        "from a: no handler",
        "from a: no handler",
    ]


# Clocks


def test_a_skewed_clock_drifts_and_its_wall_jumps() -> None:
    skew = ClockSkew(host="a", start=SECOND, end=3 * SECOND, offset=-700, drift=1_000)
    stage = make_stage(skew)
    readings: list[tuple[int, int]] = []
    for when in (SECOND - 1, SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND):
        stage.at(when, lambda: readings.append((stage.clock("a"), stage.wall("a"))))
    stage.run()
    assert readings == [
        (SECOND - 1, SECOND - 1),
        (SECOND, SECOND - 700),
        (2 * SECOND + 1_000, 2 * SECOND + 300),
        (3 * SECOND + 2_000, 3 * SECOND + 2_000),
        (4 * SECOND + 2_000, 4 * SECOND + 2_000),
    ]
    assert stage.clock("b") == stage.now == 20 * SECOND


@settings(max_examples=3)
@given(seeds)
def test_no_clock_goes_back(seed: int) -> None:
    world = Echoes(seed, "clocks")
    stage = world.stage
    last = dict.fromkeys(NAMES, 0)

    def look() -> None:
        for name in NAMES:
            now = stage.clock(name)
            stage.require(now >= last[name], "clocks go on", name)
            last[name] = now

    stage.check(look)
    stage.run()
    assert min(last.values()) > 0.99 * 19 * SECOND


# Invariants, names, text


def test_a_broken_invariant_stops_the_world_at_once() -> None:
    stage = make_stage()
    count = 0

    def more() -> None:
        nonlocal count
        count += 1

    for when in range(5):
        stage.at(when, more)
    stage.check(lambda: stage.require(count < 3, "few", f"{count} of them"))
    with pytest.raises(InvariantViolated, match="few: 3 of them"):
        stage.run()
    assert (stage.now, count) == (2, 3)


def test_an_invariant_that_returns_its_answer_is_refused() -> None:
    stage = make_stage()
    stage.check(lambda: False)  # type: ignore[arg-type]
    stage.at(0, lambda: None)
    with pytest.raises(SimulationError, match="it is to raise"):
        stage.run()


def test_faults_of_disks_are_only_told() -> None:
    stage = make_stage(SlowDisk(host="a", extra=1_000, start=1, end=2))
    stage.run()
    assert [event.text for event in stage.trace if event.kind == "fault"] == [
        "0: 0.000 s to 0.000 s: slow disk of a, up to 1 ms more for a sync"
    ]


def test_a_stream_of_chance_is_one_stream() -> None:
    one, other = make_stage(), make_stage()
    assert one.rng("x") is one.rng("x")
    assert one.rng("x").random() == other.rng("x").random() != one.rng("y").random()


def test_notes_and_their_causes_are_in_the_trace() -> None:
    stage = make_stage()
    number = stage.note("a", "get x", "invoke")
    stage.note("a", "7", "return", cause=number)
    notes = list(stage.trace)[-2:]
    assert [(note.kind, note.text, note.cause) for note in notes] == [
        ("invoke", "get x", None),
        ("return", "7", number),
    ]


def test_wrong_names_are_named() -> None:
    stage = make_stage()
    with pytest.raises(InvalidParameter, match="host must be one of a, b, not 'c'"):
        stage.send("a", "c", b"")
    with pytest.raises(InvalidParameter, match="unique names"):
        Stage(Setup("test", 1), [HostTraits("a"), HostTraits("a")], 1, 1)


def test_long_payloads_are_shown_short_but_not_alike() -> None:
    assert shown(b"it's \n") == '"it\'s \\n"'
    long, other = bytes(5_000), bytes(4_999) + b"x"
    assert len(shown(long)) < 5 * SHOWN_BYTES
    assert shown(long) != shown(other)
