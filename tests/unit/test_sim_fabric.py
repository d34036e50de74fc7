import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.sim.fabric import LOOPBACK_DELAY, Arrival, Fabric
from trio440.sim.faults import (
    CLEAR,
    EVERYBODY,
    Clog,
    Crash,
    Flap,
    Partition,
    Weather,
    WeatherFault,
)
from trio440.sim.links import LinkFault, corrupted, truncated

HOSTS = ("a", "b", "c")
SECOND = 1_000_000
STILL = Weather(delay=500, jitter=0)


def drain(fabric: Fabric, until: int | None = None) -> Iterator[Arrival]:
    """Take everything, moment by moment."""
    while (due := fabric.next_due()) is not None and (until is None or due <= until):
        yield from fabric.take_due(due)


def arrived(fabric: Fabric) -> list[tuple[int, Any]]:
    return [(arrival.due, arrival.tag) for arrival in drain(fabric)]


# Chance


shares = st.sampled_from([0.0, 0.1, 0.5])
weathers = st.builds(
    Weather,
    loss=shares,
    duplicate=shares,
    corrupt=shares,
    truncate=shares,
    delay=st.integers(0, 5_000),
    jitter=st.integers(0, 20_000),
    slow=shares,
    slow_delay=st.integers(0, SECOND),
    bandwidth=st.none() | st.integers(1_000, 1_000_000),
    queue=st.none() | st.integers(0, 5_000),
)
spans = st.tuples(st.integers(0, 2 * SECOND), st.integers(1, SECOND)).map(
    lambda span: {"start": span[0], "end": span[0] + span[1]}
)
sides = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True).map(tuple)
ends = st.sampled_from([*HOSTS, EVERYBODY])


def with_span(build: Callable[..., LinkFault], **others: Any) -> st.SearchStrategy[LinkFault]:
    return st.builds(lambda span, kw: build(**span, **kw), spans, st.fixed_dictionaries(others))


faults = st.one_of(
    with_span(WeatherFault, source=ends, destination=ends, weather=weathers),
    with_span(Partition, side=sides, both_ways=st.booleans()),
    with_span(Flap, side=sides, period=st.integers(1_000, 400_000)),
    with_span(Clog, source=ends, destination=ends),
)
plans = st.lists(faults, max_size=5)


class Traffic:
    """Sends random datagrams and segments for three seconds while faults come and go."""

    def __init__(self, seed: int, base: Weather, plan: list[LinkFault]) -> None:
        self.fabric = Fabric(seed, base)
        self.answers: Counter[str | None] = Counter()
        self.sent_segments: dict[tuple[str, str, int], list[int]] = {}
        self.got_segments: dict[tuple[str, str, int], list[int]] = {}
        self.got: list[Arrival] = []
        self.dropped: list[Arrival] = []
        self.through_a_cut: list[Arrival] = []
        for place, fault in enumerate(plan):
            self.fabric.at(fault.start, ("begin", place, fault))
            self.fabric.at(fault.end, ("end", place, fault))
        rng = random.Random(seed)
        for number in range(150):
            source, destination = rng.choice(HOSTS), rng.choice(HOSTS)
            kind = rng.choice(("datagram", "segment"))
            detail = (source, destination, number, rng.randrange(2))
            self.fabric.at(rng.randrange(3 * SECOND), (kind, *detail))

    def run(self) -> None:
        fabric = self.fabric
        while (due := fabric.next_due()) is not None:
            arrival = fabric.take_next(due)
            self.dropped += fabric.dropped
            if arrival is not None:
                self.step(arrival)

    def step(self, arrival: Arrival) -> None:
        kind, *rest = arrival.tag
        if arrival.source:
            if self.fabric.is_cut(arrival.source, arrival.destination):
                self.through_a_cut.append(arrival)
            self.got.append(arrival)
            if kind == "segment":
                source, destination, number, name = rest
                self.got_segments.setdefault((source, destination, name), []).append(number)
        elif kind == "begin":
            self.fabric.begin(*rest)
        elif kind == "end":
            self.fabric.end(*rest)
        else:
            self.send(arrival.due, arrival.tag)

    def send(self, now: int, tag: tuple[str, str, str, int, int]) -> None:
        kind, source, destination, number, name = tag
        if kind == "datagram":
            data = bytes([number]) * (number % 50)
            self.answers[self.fabric.datagram(now, source, destination, data, tag)] += 1
        else:
            self.sent_segments.setdefault((source, destination, name), []).append(number)
            self.fabric.segment(now, source, destination, 100, name, tag)


@given(st.integers(0, 1000), weathers, plans)
def test_every_datagram_arrives_or_is_dropped_for_a_reason_or_is_doubled(
    seed: int, base: Weather, plan: list[LinkFault]
) -> None:
    traffic = Traffic(seed, base, plan)
    traffic.run()
    statistics = traffic.fabric.statistics()
    got = sum(arrival.tag[0] == "datagram" for arrival in traffic.got)
    cut_on_the_way = len(traffic.dropped)
    assert set(traffic.answers) <= {None, "loss", "queue", "cut"}
    assert got == traffic.answers[None] + statistics.duplicated - cut_on_the_way
    assert statistics.arrived == got
    assert statistics.lost == traffic.answers["loss"]
    assert statistics.overflowed == traffic.answers["queue"]
    assert statistics.cut == traffic.answers["cut"] + cut_on_the_way
    assert statistics.sent == traffic.answers.total()
    assert statistics.on_the_way == 0


@given(st.integers(0, 1000), weathers, plans)
def test_segments_all_arrive_in_order_and_nothing_passes_a_cut(
    seed: int, base: Weather, plan: list[LinkFault]
) -> None:
    traffic = Traffic(seed, base, plan)
    traffic.run()
    assert traffic.got_segments == traffic.sent_segments
    assert traffic.through_a_cut == []
    dues = [arrival.due for arrival in traffic.got]
    assert dues == sorted(dues)


@given(st.integers(0, 1000), weathers, plans)
def test_the_same_seed_gives_the_same_arrivals(
    seed: int, base: Weather, plan: list[LinkFault]
) -> None:
    first, second = Traffic(seed, base, plan), Traffic(seed, base, plan)
    first.run()
    second.run()
    assert first.got == second.got


def test_traffic_on_one_link_changes_nothing_on_another() -> None:
    alone, together = Fabric(3, Weather(loss=0.3)), Fabric(3, Weather(loss=0.3))
    for number in range(100):
        alone.datagram(number, "a", "b", b"", ("a", number))
        together.datagram(number, "a", "b", b"", ("a", number))
        together.datagram(number, "b", "a", b"", ("b", number))
    from_a = [arrival for arrival in arrived(together) if arrival[1][0] == "a"]
    assert Counter(arrived(alone)) == Counter(from_a)


# Weather


def test_a_clear_link_delays_by_half_a_millisecond_to_one_and_a_half() -> None:
    fabric = Fabric(1)
    for number in range(20_000):
        assert fabric.datagram(0, "a", "b", b"x", number) is None
    dues = [due for due, _ in arrived(fabric)]
    assert (min(dues), max(dues)) == (500, 1_500)


def test_shares_are_what_they_say() -> None:
    fabric = Fabric(2, Weather(loss=0.2, duplicate=0.1, corrupt=0.3, truncate=0.4))
    for number in range(10_000):
        fabric.datagram(0, "a", "b", b"0123456789", number)
    statistics = fabric.statistics()
    copies = statistics.sent - statistics.lost + statistics.duplicated
    assert statistics.lost == pytest.approx(2_000, rel=0.1)
    assert statistics.duplicated == pytest.approx(800, rel=0.15)
    assert statistics.corrupted == pytest.approx(copies * 0.3, rel=0.1)
    assert statistics.truncated == pytest.approx(copies * 0.4, rel=0.1)
    assert statistics.on_the_way == copies


def test_an_untouched_copy_is_the_very_object_that_was_sent() -> None:
    fabric = Fabric(2, Weather(corrupt=0.5))
    data = b"0123456789"
    for number in range(100):
        fabric.datagram(0, "a", "b", data, number)
    altered = [arrival.data for arrival in drain(fabric) if arrival.data is not data]
    assert len(altered) == fabric.statistics().corrupted
    assert data not in altered


@given(st.binary(min_size=1, max_size=200), st.integers())
def test_corruption_changes_one_byte_or_up_to_eight_bits(data: bytes, seed: int) -> None:
    harmed = corrupted(data, random.Random(seed))
    assert len(harmed) == len(data)
    changed = [old ^ new for old, new in zip(data, harmed, strict=True) if old != new]
    assert changed
    assert len(changed) == 1 or sum(bits.bit_count() for bits in changed) <= 8


@given(st.binary(min_size=1, max_size=200), st.integers())
def test_truncation_leaves_a_shorter_beginning(data: bytes, seed: int) -> None:
    left = truncated(data, random.Random(seed))
    assert len(left) < len(data)
    assert data.startswith(left)


def test_an_empty_datagram_survives_every_harm() -> None:
    fabric = Fabric(2, Weather(corrupt=1.0, truncate=1.0))
    fabric.datagram(0, "a", "b", b"", "empty")
    assert [tag for _, tag in arrived(fabric)] == ["empty"]


def test_bandwidth_spaces_datagrams_and_a_full_queue_drops() -> None:
    fabric = Fabric(1, Weather(delay=500, jitter=0, bandwidth=100_000, queue=250))
    answers = [fabric.datagram(0, "a", "b", bytes(100), number) for number in range(4)]
    assert answers == [None, None, "queue", "queue"]
    assert fabric.datagram(1_000, "a", "b", bytes(100), 4) is None
    assert arrived(fabric) == [(1_500, 0), (2_500, 1), (3_500, 4)]


def test_segments_wait_for_the_bandwidth_instead() -> None:
    fabric = Fabric(1, Weather(delay=500, jitter=0, bandwidth=100_000, queue=0))
    for number in range(3):
        fabric.segment(0, "a", "b", 100, "s", number)
    assert arrived(fabric) == [(1_500, 0), (2_500, 1), (3_500, 2)]


def test_a_lost_segment_is_late_by_doubling_waits_and_never_gone() -> None:
    fabric = Fabric(1, Weather(loss=1.0, delay=500, jitter=0))
    fabric.segment(0, "a", "b", 1, "s", "late")
    assert arrived(fabric) == [(200_000 * 63 + 500, "late")]


def test_a_late_segment_makes_the_later_ones_of_its_stream_late() -> None:
    fabric = Fabric(1, Weather(loss=1.0, delay=500, jitter=0))
    fabric.segment(0, "a", "b", 1, "s", "first")
    fabric.base = STILL
    fabric.segment(0, "a", "b", 1, "s", "second")
    fabric.segment(0, "a", "b", 1, "another", "third")
    late = 200_000 * 63 + 500
    assert arrived(fabric) == [(500, "third"), (late, "first"), (late, "second")]


def test_streams_that_are_over_are_forgotten() -> None:
    fabric = Fabric(1, STILL)
    for number in range(1_000):
        fabric.segment(number * 1_000, "a", "b", 1, ("stream", number), number)
        fabric.take_due(number * 1_000 + 500)
    assert len(fabric._links["a", "b"].streams) < 100


def test_the_fault_that_began_last_makes_the_weather() -> None:
    fabric = Fabric(1, STILL)
    slow = WeatherFault(start=0, end=9, weather=Weather(delay=7_000, jitter=0))
    slower = WeatherFault(start=0, end=9, source="a", weather=Weather(delay=8_000, jitter=0))

    def travel(source: str = "a") -> int:
        fabric.datagram(0, source, "b", b"", "")
        ((due, _),) = arrived(fabric)
        return due

    assert travel() == 500
    fabric.begin(0, slow)
    assert travel() == 7_000
    fabric.begin(1, slower)
    assert (travel(), travel("c")) == (8_000, 7_000)
    fabric.end(0, slow)
    assert (travel(), travel("c")) == (8_000, 500)
    fabric.end(1, slower)
    fabric.base = Weather(delay=9_000, jitter=0)
    assert travel() == 9_000


def test_a_host_reaches_itself_through_every_fault() -> None:
    fabric = Fabric(1, Weather(loss=1.0))
    fabric.begin(0, Partition(start=0, end=9, side=("a",)))
    fabric.begin(1, Clog(start=0, end=9, source=EVERYBODY, destination=EVERYBODY))
    assert fabric.datagram(0, "a", "a", b"", "datagram") is None
    fabric.segment(0, "a", "a", 1, "s", "segment")
    assert not fabric.is_cut("a", "a")
    assert arrived(fabric) == [(LOOPBACK_DELAY, "datagram"), (LOOPBACK_DELAY, "segment")]


# Cuts and clogs


@pytest.mark.parametrize(
    ("both_ways", "cut"),
    [(True, ["ab", "ac", "ba", "ca"]), (False, ["ab", "ac"])],
)
def test_a_partition_cuts_its_side_from_the_rest(both_ways: bool, cut: list[str]) -> None:
    fabric = Fabric(1)
    fault = Partition(start=0, end=9, side=("a",), both_ways=both_ways)
    fabric.begin(0, fault)
    links = list(itertools.product(HOSTS, HOSTS))
    assert [a + b for a, b in links if fabric.is_cut(a, b)] == cut
    assert [a + b for a, b in links if fabric.datagram(0, a, b, b"", "") == "cut"] == cut
    fabric.end(0, fault)
    assert not any(fabric.is_cut(*link) for link in links)


def test_what_is_on_its_way_does_not_pass_a_cut() -> None:
    fabric = Fabric(1, STILL)
    fault = Partition(start=100, end=2_000, side=("a",))
    fabric.datagram(0, "a", "b", b"gone", 1)
    fabric.segment(0, "a", "b", 1, "s", 2)
    fabric.begin(0, fault)
    assert fabric.take_due(600) == []
    assert [(arrival.tag, arrival.data) for arrival in fabric.dropped] == [(1, b"gone")]
    assert fabric.next_due() is None
    fabric.end(0, fault)
    assert arrived(fabric) == [(2_000, 2)]
    assert fabric.dropped == []


def test_overlapping_cuts_hold_until_the_last_has_ended() -> None:
    fabric = Fabric(1, STILL)
    first = Partition(start=0, end=100, side=("a",))
    second = Clog(start=0, end=900, source="a", destination="b")
    fabric.begin(0, first)
    fabric.begin(1, second)
    fabric.segment(0, "a", "b", 1, "s", "held")
    fabric.end(0, first)
    assert fabric.next_due() is None
    fabric.end(1, second)
    assert arrived(fabric) == [(900, "held")]


def test_a_clog_lets_all_go_at_its_end_in_order_within_a_millisecond() -> None:
    fabric = Fabric(1, Weather(loss=0.9, jitter=50_000))
    fault = Clog(start=0, end=SECOND, source="a", destination="b")
    fabric.begin(0, fault)
    for number in range(100):
        assert fabric.datagram(number, "a", "b", b"", number) is None
    fabric.take_due(SECOND)
    assert fabric.statistics().on_the_way == 100
    fabric.end(0, fault)
    got = arrived(fabric)
    assert [tag for _, tag in got] == list(range(100))
    assert SECOND <= got[0][0] <= got[-1][0] <= SECOND + 1_000


def test_a_flap_cuts_in_the_first_half_of_each_period() -> None:
    fabric = Fabric(1, STILL)
    fault = Flap(start=10_000, end=30_000, side=("b",), period=10_000)
    fabric.at(fault.start, "begin")
    for moment in range(0, 40_000, 1_000):
        fabric.at(moment + 500, "look")
    fabric.at(fault.end, "end")
    cut = []
    for arrival in drain(fabric):
        if arrival.tag == "begin":
            fabric.begin(0, fault)
        elif arrival.tag == "end":
            fabric.end(0, fault)
        elif fabric.is_cut("b", "a"):
            cut.append(arrival.due // 1_000)
    assert cut == [10, 11, 12, 13, 14, 20, 21, 22, 23, 24]


def test_segments_pass_a_flap_in_its_open_halves() -> None:
    fabric = Fabric(1, STILL)
    fabric.begin(0, Flap(start=0, end=100_000, side=("a",), period=20_000))
    fabric.segment(0, "a", "b", 1, "s", "through")
    assert [(due, tag) for due, tag in arrived(fabric) if tag == "through"] == [(10_000, "through")]


def test_faults_of_hosts_are_no_business_of_the_fabric() -> None:
    fabric = Fabric(1, CLEAR)
    fault = Crash(start=0, end=9, host="a")
    fabric.begin(0, fault)
    assert fabric.datagram(0, "a", "b", b"", "") is None
    fabric.end(0, fault)
    fabric.end(7, Partition(start=0, end=9, side=("a",)))


def test_timers_come_in_order_of_time_then_of_their_making() -> None:
    fabric = Fabric(1)
    fabric.at(20, "late")
    fabric.at(10, "first")
    fabric.at(10, "second")
    assert fabric.next_due() == 10
    assert [arrival.tag for arrival in fabric.take_due(15)] == ["first", "second"]
    assert [arrival.tag for arrival in fabric.take_due(20)] == ["late"]
    assert fabric.next_due() is None
