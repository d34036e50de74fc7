"""The scheduler: answers are right whatever is lost, and work is shared as promised."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.mining_world import SECOND, MiningWorld
from trio440.mining import jobs
from trio440.mining.hashing import hash_of, least_hash
from trio440.mining.jobs import CHUNKS_IN_HAND
from trio440.mining.messages import Join, Request, Result
from trio440.mining.policy import ChunkSizes
from trio440.mining.ranges import MAX_NONCE, NonceRange
from trio440.mining.scheduler import (
    LATE_AT_LEAST_MICROS,
    MAX_JOBS,
    MAX_REQUESTS_PER_CLIENT,
    Disconnect,
    Scheduler,
    Send,
)
from trio440.mining.speed import Speed

TINY = ChunkSizes(first=5, least=2, most=16)
EVERYTHING = NonceRange(0, MAX_NONCE)


def right(text: str, nonce: int) -> Result:
    return Result(hash_of(text, nonce), nonce)


def requests_in(scheduler: Scheduler) -> list[tuple[int, Request]]:
    sends = [action for action in scheduler.actions() if isinstance(action, Send)]
    return [(s.conn_id, s.message) for s in sends if isinstance(s.message, Request)]


class AnyHistory(RuleBasedStateMachine):
    """Random joins, losses, requests, answers and silences; answers are never wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(TINY)
        self.now = 0
        self.ids = 0
        self.miners: dict[int, list[Request]] = {}
        self.clients: dict[int, list[Request]] = {}

    def perform(self) -> None:
        for action in self.scheduler.actions():
            assert isinstance(action, Send), "nobody here sends nonsense"
            if isinstance(action.message, Request):
                assert action.conn_id in self.miners
                self.miners[action.conn_id].append(action.message)
            else:
                request = self.clients[action.conn_id].pop(0)
                least = least_hash(request.text, request.nonces.lower, request.nonces.upper)
                assert action.message == Result(least.hash, least.nonce)

    def new_id(self) -> int:
        self.ids += 1
        return self.ids

    @rule(micros=st.integers(0, 3 * SECOND))
    def time_passes(self, micros: int) -> None:
        self.now += micros
        self.scheduler.on_deadline(self.now)
        self.perform()

    @rule()
    def everybody_is_late(self) -> None:
        while (deadline := self.scheduler.next_deadline()) is not None:
            self.now = max(self.now, deadline)
            self.scheduler.on_deadline(self.now)
        self.perform()

    @rule()
    def miner_joins(self) -> None:
        conn_id = self.new_id()
        self.miners[conn_id] = []
        self.scheduler.receive(conn_id, Join(), self.now)
        self.perform()

    @precondition(lambda self: self.miners)
    @rule(data=st.data())
    def miner_is_lost(self, data: st.DataObject) -> None:
        conn_id = data.draw(st.sampled_from(sorted(self.miners)))
        del self.miners[conn_id]
        self.scheduler.disconnected(conn_id, self.now)
        self.perform()

    @precondition(lambda self: any(self.miners.values()))
    @rule(data=st.data(), micros=st.integers(0, 3 * SECOND))
    def miner_answers(self, data: st.DataObject, micros: int) -> None:
        conn_id = data.draw(st.sampled_from([i for i, hand in self.miners.items() if hand]))
        hand = self.miners[conn_id]
        index = data.draw(st.integers(0, len(hand) - 1)) if data.draw(st.booleans()) else 0
        request = hand.pop(index)
        least = least_hash(request.text, request.nonces.lower, request.nonces.upper)
        self.now += micros
        self.scheduler.receive(conn_id, Result(least.hash, least.nonce), self.now)
        self.perform()

    @rule(lower=st.integers(0, 100), size=st.integers(1, 60), data=st.data())
    def client_asks(self, lower: int, size: int, data: st.DataObject) -> None:
        conn_id = data.draw(st.sampled_from([0, *sorted(self.clients)]))
        if conn_id == 0 or len(self.clients[conn_id]) >= MAX_REQUESTS_PER_CLIENT:
            conn_id = self.new_id()
            self.clients[conn_id] = []
        request = Request(f"text {conn_id}", NonceRange(lower, lower + size - 1))
        self.clients[conn_id].append(request)
        self.scheduler.receive(conn_id, request, self.now)
        self.perform()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        conn_id = data.draw(st.sampled_from(sorted(self.clients)))
        del self.clients[conn_id]
        self.scheduler.disconnected(conn_id, self.now)
        self.perform()

    @invariant()
    def nobody_idles_while_there_is_work(self) -> None:
        assert all(len(hand) <= CHUNKS_IN_HAND for hand in self.miners.values())
        done = {progress.client: progress.done for progress in self.scheduler.progress()}
        waiting = {client for client, requests in self.clients.items() if requests}
        assert done.keys() == waiting
        if waiting and self.miners:
            assert any(self.miners.values())

    def teardown(self) -> None:
        """After all faults one more miner, if need be, answers everything that is left."""
        self.miner_joins()
        for _ in range(10_000):
            if not any(self.clients.values()):
                break
            self.everybody_is_late()
            for conn_id, hand in self.miners.items():
                if hand:
                    request = hand.pop(0)
                    least = least_hash(request.text, request.nonces.lower, request.nonces.upper)
                    self.now += 1000
                    self.scheduler.receive(conn_id, Result(least.hash, least.nonce), self.now)
                    self.perform()
        assert not any(self.clients.values())
        assert self.scheduler.progress() == []
        super().teardown()


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


# what one connection may do


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(TINY)


def test_a_result_belongs_to_the_oldest_chunk_that_it_fits(scheduler: Scheduler) -> None:
    scheduler.receive(1, Join(), 0)
    scheduler.receive(2, Request("t", NonceRange(0, 9)), 0)
    assert requests_in(scheduler) == [
        (1, Request("t", NonceRange(0, 4))),
        (1, Request("t", NonceRange(5, 9))),
    ]
    scheduler.receive(1, right("t", 7), 10)
    assert scheduler.progress()[0].done == 5
    scheduler.receive(1, right("t", 3), 10)
    best = min(right("t", 7), right("t", 3), key=lambda result: result.hash)
    assert scheduler.actions() == [Send(2, best)]


@pytest.mark.parametrize(
    "result",
    [Result(1, 3), right("t", 10), right("other", 3), Result(right("t", 4).hash, 3)],
    ids=["wrong hash", "outside", "other text", "hash of another nonce"],
)
def test_nonsense_disconnects_the_miner(scheduler: Scheduler, result: Result) -> None:
    scheduler.receive(1, Join(), 0)
    scheduler.receive(2, Request("t", NonceRange(0, 9)), 0)
    scheduler.actions()
    scheduler.receive(1, result, 1)
    (action,) = scheduler.actions()
    assert isinstance(action, Disconnect)
    assert action.conn_id == 1
    assert scheduler.miners == 0
    assert scheduler.statistics().miners_disconnected == 1
    scheduler.receive(3, Join(), 2)
    assert [request.nonces for _, request in requests_in(scheduler)] == [
        NonceRange(0, 4),
        NonceRange(5, 9),
    ]


def test_a_result_for_nothing_is_nonsense(scheduler: Scheduler) -> None:
    scheduler.receive(1, Join(), 0)
    scheduler.receive(1, right("t", 0), 1)
    assert [type(action) for action in scheduler.actions()] == [Disconnect]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Join(), Request("t", NonceRange(0, 1))),
        (Request("t", NonceRange(0, 1)), Join()),
        (Request("t", NonceRange(0, 1)), right("t", 0)),
    ],
)
def test_a_connection_keeps_its_part(scheduler: Scheduler, first: Any, second: Any) -> None:
    scheduler.receive(1, first, 0)
    scheduler.receive(1, second, 0)
    assert [type(action) for action in scheduler.actions()] == [Disconnect]
    assert scheduler.miners == scheduler.jobs == 0


def test_a_stranger_with_a_result_is_disconnected(scheduler: Scheduler) -> None:
    scheduler.receive(1, right("t", 0), 0)
    assert [type(action) for action in scheduler.actions()] == [Disconnect]


def test_joining_twice_changes_nothing(scheduler: Scheduler) -> None:
    scheduler.receive(1, Join(), 0)
    scheduler.receive(1, Join(), 0)
    assert scheduler.miners == 1
    assert scheduler.actions() == []


def test_rejected_connections_are_forgotten(scheduler: Scheduler) -> None:
    scheduler.receive(1, Request("t", NonceRange(0, 1)), 0)
    scheduler.reject(1, "no JSON", 1)
    assert scheduler.actions() == [Disconnect(1, "no JSON")]
    scheduler.disconnected(1, 2)
    assert scheduler.jobs == 0
    assert scheduler.statistics().jobs_dropped == 1


def test_one_client_may_wait_for_so_many(scheduler: Scheduler) -> None:
    for _ in range(MAX_REQUESTS_PER_CLIENT):
        scheduler.receive(1, Request("t", NonceRange(0, 1)), 0)
    assert scheduler.actions() == []
    scheduler.receive(2, Request("t", NonceRange(0, 1)), 0)
    scheduler.receive(1, Request("t", NonceRange(0, 1)), 0)
    assert [action.conn_id for action in scheduler.actions()] == [1]
    assert scheduler.jobs == 1, "others wait on"


def test_all_clients_may_wait_for_so_many(scheduler: Scheduler) -> None:
    for client in range(MAX_JOBS):
        scheduler.receive(client, Request("t", NonceRange(0, 1)), 0)
    assert scheduler.actions() == []
    scheduler.receive(MAX_JOBS, Request("t", NonceRange(0, 1)), 0)
    assert [action.conn_id for action in scheduler.actions()] == [MAX_JOBS]
    assert scheduler.jobs == MAX_JOBS


def test_answers_to_one_client_keep_its_order(scheduler: Scheduler) -> None:
    scheduler.receive(1, Request("long", NonceRange(0, 40)), 0)
    scheduler.receive(1, Request("short", NonceRange(0, 0)), 0)
    scheduler.receive(2, Join(), 0)
    texts = {text for _, request in requests_in(scheduler) for text in [request.text]}
    assert texts == {"long"}


def test_the_work_of_a_client_that_left_is_dropped() -> None:
    world = MiningWorld()
    miner = world.add_miner(1e6)
    left = world.request(2**64)
    world.lose(left, at=10 * SECOND)
    small = world.request(1000, at=11 * SECOND)
    world.run()
    assert world.answers[left] == []
    assert world.finished_at(small) < 13, "after what the miner had in hand"
    assert world.miners[miner].hashed < 13e6
    assert world.scheduler.jobs == 0


# memory


def test_the_books_do_not_grow_with_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_GAPS", 3)
    scheduler = Scheduler(TINY)
    scheduler.receive(0, Request("t", EVERYTHING), 0)
    chunks = []
    for miner in range(1, 9):
        scheduler.receive(miner, Join(), 0)
    chunks = requests_in(scheduler)
    for miner, request in chunks[1::2]:
        scheduler.receive(miner, right("t", request.nonces.lower), 5)
    job = scheduler._clients[0][0]
    assert job.missing.gaps <= 3
    held = [request.nonces for _, request in requests_in(scheduler)] + [
        request.nonces for _, request in chunks[::2]
    ]
    rest = job.missing.without(held).without(job.unassigned)
    assert not rest, "every missing nonce is in some hand or unassigned"


def test_progress_of_all_nonces() -> None:
    world = MiningWorld()
    world.add_miner(1e6)
    world.add_miner(3e6)
    world.request(2**64)
    world.run(until=20 * SECOND)
    (progress,) = world.scheduler.progress()
    assert progress.nonces == EVERYTHING
    assert progress.miners == 2
    assert progress.nonces_per_second == pytest.approx(4e6, rel=0.05)
    assert progress.done == pytest.approx(4e6 * 20, rel=0.1)
    assert progress.seconds_left == pytest.approx(2**64 / 4e6, rel=0.05)
    assert progress.share == pytest.approx(80e6 / 2**64, rel=0.1)
    assert progress.best is not None


def test_no_time_left_is_known_while_nobody_works(scheduler: Scheduler) -> None:
    scheduler.receive(1, Request("t", EVERYTHING), 0)
    (progress,) = scheduler.progress()
    assert (progress.miners, progress.seconds_left, progress.best) == (0, None, None)


# sharing, in virtual time


def test_chunks_are_about_a_second_of_each_miners_work() -> None:
    world = MiningWorld()
    speeds = {world.add_miner(speed): speed for speed in (2e4, 1e6, 40e6)}
    world.request(2**64)
    world.run(until=60 * SECOND)
    for conn_id, speed in speeds.items():
        later = world.miners[conn_id].chunks[6:]
        assert all(0.9 * speed <= size <= 1.1 * speed for size in later)
        assert world.miners[conn_id].hashed == pytest.approx(60 * speed, rel=0.1), "never idle"


def test_no_chunk_is_larger_than_the_most() -> None:
    sizes = ChunkSizes(first=5_000, least=1_000, most=20_000)
    world = MiningWorld(Scheduler(sizes))
    miner = world.add_miner(1e6)
    world.request(2**64)
    world.run(until=2 * SECOND)
    chunks = world.miners[miner].chunks
    assert chunks[:2] == [5_000, 5_000]
    assert set(chunks[4:]) == {20_000}


def test_a_small_request_after_a_huge_one_ends_first() -> None:
    world = MiningWorld()
    for _ in range(3):
        world.add_miner(1e6)
    huge = world.request(600_000_000)
    small = world.request(1_000_000, at=20 * SECOND)
    world.run()
    assert world.finished_at(small) < 23
    assert world.finished_at(huge) == pytest.approx(201, rel=0.02)


def test_equal_requests_end_in_order_of_arrival() -> None:
    world = MiningWorld()
    for speed in (5e5, 1e6, 2e6):
        world.add_miner(speed)
    clients = [world.request(10_000_000, at=i) for i in range(10)]
    world.run()
    ends = [world.finished_at(client) for client in clients]
    assert ends == sorted(ends)
    assert ends[0] < 6
    assert ends[-1] == pytest.approx(100 / 3.5, rel=0.1)


def test_nobody_starves_under_an_endless_stream_of_small_requests() -> None:
    world = MiningWorld()
    world.add_miner(1e6)
    huge = world.request(20_000_000)
    for i in range(400):  # as much as the miner can do, for 200 seconds
        world.request(500_000, at=i * SECOND // 2)
    world.run()
    assert world.finished_at(huge) < 4 * 20 + 10, "a quarter of the work is the oldest's"


def test_every_job_of_a_crowd_ends() -> None:
    world = MiningWorld()
    world.add_miner(1e6)
    clients = [world.request(1_000_000 * (1 + i % 7), at=i * 1000) for i in range(60)]
    world.run()
    assert all(len(world.answers[client]) == 1 for client in clients)


@pytest.mark.parametrize("speeds", [(1e6, 1e6), (1e6, 3e6, 10e6), (5e4, 40e6)])
def test_work_is_even_over_miners_of_different_speed(speeds: tuple[float, ...]) -> None:
    world = MiningWorld()
    miners = [world.add_miner(speed) for speed in speeds]
    client = world.request(int(sum(speeds) * 30))
    world.run()
    assert world.finished_at(client) == pytest.approx(30, abs=0.15)
    for miner, speed in zip(miners, speeds, strict=True):
        assert world.miners[miner].hashed == pytest.approx(30 * speed, rel=0.1)


def test_miners_come_to_the_end_together() -> None:
    for tenths in range(11, 60, 7):
        world = MiningWorld()
        for speed in (1e6, 1e6, 2e6, 4e6):
            world.add_miner(speed)
        client = world.request(tenths * 800_000)
        world.run()
        assert world.finished_at(client) == pytest.approx(tenths / 10, abs=0.15)
        hashed = sum(miner.hashed for miner in world.miners.values())
        assert hashed == tenths * 800_000, "no copies were needed"


def test_a_nonce_is_free_when_all_who_hold_it_are_late_or_lost(scheduler: Scheduler) -> None:
    scheduler.receive(1, Join(), 0)
    scheduler.receive(9, Request("t", NonceRange(0, 4)), 0)
    scheduler.receive(2, Join(), SECOND)
    assert requests_in(scheduler) == [
        (1, Request("t", NonceRange(0, 4))),
        (2, Request("t", NonceRange(0, 1))),  # a copy
    ]
    scheduler.on_deadline(LATE_AT_LEAST_MICROS)
    assert requests_in(scheduler) == [(2, Request("t", NonceRange(2, 4)))]
    scheduler.disconnected(2, LATE_AT_LEAST_MICROS)
    scheduler.receive(3, Join(), LATE_AT_LEAST_MICROS)
    assert requests_in(scheduler) == [(3, Request("t", NonceRange(0, 4)))]


def test_a_lost_miners_chunks_go_to_others() -> None:
    world = MiningWorld()
    lost = world.add_miner(1e6)
    world.add_miner(1e6)
    client = world.request(20_000_000)
    world.lose(lost, at=5 * SECOND)
    world.run()
    assert world.finished_at(client) == pytest.approx(15, abs=2.5)
    assert world.scheduler.statistics().chunks_reassigned == 2


def test_jobs_wait_while_no_miner_is_left() -> None:
    world = MiningWorld()
    lost = world.add_miner(1e6)
    client = world.request(5_000_000)
    world.lose(lost, at=2 * SECOND)
    world.add_miner(1e6, at=1000 * SECOND)
    world.run()
    assert world.finished_at(client) == pytest.approx(1003.5, abs=1.5)


def test_stuck_miners_hold_up_nobody() -> None:
    world = MiningWorld()
    stuck = [world.add_miner(1e6, stuck=True) for _ in range(2)]
    world.add_miner(1e6)
    small = world.request(200_000)
    huge = world.request(2**64, at=1)
    world.run(until=60 * SECOND)
    assert world.finished_at(small) < LATE_AT_LEAST_MICROS / SECOND + 5
    assert world.answers[huge] == []
    for miner in stuck:
        assert len(world.miners[miner].chunks) <= CHUNKS_IN_HAND


def test_an_idle_fast_miner_copies_what_a_slow_one_has() -> None:
    world = MiningWorld()
    slow = world.add_miner(1e5)
    world.add_miner(1e7, at=8 * SECOND)
    client = world.request(1_000_000)
    world.run()
    assert world.finished_at(client) < 8.3, "10 without copies"
    assert world.scheduler.statistics().chunks_copied >= 1
    assert world.miners[slow].hashed < 1_000_000


def test_what_a_late_miner_has_answered_is_not_done_again(scheduler: Scheduler) -> None:
    scheduler.receive(1, Join(), 0)
    scheduler.receive(2, Request("t", NonceRange(0, 19)), 0)
    scheduler.actions()
    scheduler.on_deadline(LATE_AT_LEAST_MICROS)
    assert scheduler.actions() == [], "it gets nothing more"
    assert scheduler.statistics().chunks_reassigned == 2
    scheduler.receive(1, right("t", 1), LATE_AT_LEAST_MICROS + 1)
    held = [NonceRange(5, 9), *(request.nonces for _, request in requests_in(scheduler))]
    scheduler.receive(3, Join(), LATE_AT_LEAST_MICROS + 2)
    held += [request.nonces for _, request in requests_in(scheduler)]
    assert min(held).lower == 5
    assert sum(nonces.size for nonces in held) == 15, "each nonce is in one hand"


def test_speed_rises_fast_and_falls_by_the_length_of_the_sample() -> None:
    speed = Speed()
    assert speed.nonces_in(SECOND) == 0
    speed.sample(1_000, SECOND)
    assert speed.nonces_in(SECOND) == 1_000
    speed.sample(100, SECOND // 100)
    assert speed.nonces_per_second == 5_500, "half of a short sample that is faster"
    speed.sample(1, SECOND // 100)
    assert speed.nonces_per_second == pytest.approx(5_500, rel=0.02), "little of a slower one"
    for _ in range(10):
        speed.sample(1_000, SECOND)
    assert speed.nonces_per_second == pytest.approx(1_000, rel=0.01)
    speed.sample(1, 10**12)
    assert speed.micros_for(1_000) < 10**10


def test_a_miner_that_slows_down_gets_less() -> None:
    world = MiningWorld()
    miner = world.add_miner(1e6)
    world.request(2**64)
    world.at(20 * SECOND, lambda: setattr(world.miners[miner], "speed", 1e5))
    world.run(until=120 * SECOND)
    assert world.miners[miner].chunks[-1] < 2e5
    assert world.scheduler.statistics().miners_disconnected == 0
