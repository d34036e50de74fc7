"""What one message costs the scheduler when there are many miners or many jobs, counted."""

from typing import Any

import pytest

from trio440.mining.hashing import hash_of
from trio440.mining.jobs import Job, Miner
from trio440.mining.messages import Join, Request, Result
from trio440.mining.policy import ChunkSizes
from trio440.mining.ranges import MAX_NONCE, NonceRange
from trio440.mining.scheduler import MAX_JOBS, Scheduler, Send
from trio440.mining.speed import Speed

MINERS = 400
CLIENT = MINERS
SECOND = 1_000_000


class Work:
    """Counts the calls of everything that is done once for each miner or chunk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = 0
        for owner, name in [
            (Miner, "backlog"),
            (Miner, "expected_end"),
            (Speed, "micros_for"),
            (Speed, "nonces_in"),
            (Job, "covered_only_by"),
        ]:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, method: Any) -> Any:
        def counted(*args: Any) -> Any:
            self.done += 1
            return method(*args)

        return counted

    def take(self) -> int:
        done, self.done = self.done, 0
        return done


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


class Crowd:
    def __init__(self, sizes: ChunkSizes) -> None:
        self.scheduler = Scheduler(sizes)
        self.hands: list[list[Request]] = [[] for _ in range(MINERS)]
        self.answered = 0
        for miner in range(MINERS):
            self.scheduler.receive(miner, Join(), 0)

    def ask(self, nonces: NonceRange, now: int) -> None:
        self.scheduler.receive(CLIENT, Request("t", nonces), now)
        self.perform()

    def answer(self, miner: int, now: int) -> None:
        nonce = self.hands[miner].pop(0).nonces.lower
        self.scheduler.receive(miner, Result(hash_of("t", nonce), nonce), now)
        self.perform()

    def perform(self) -> None:
        for action in self.scheduler.actions():
            assert isinstance(action, Send)
            if isinstance(action.message, Request):
                self.hands[action.conn_id].append(action.message)
            else:
                self.answered += 1


def test_a_huge_request_costs_as_much_for_each_miner_as_for_one(work: Work) -> None:
    crowd = Crowd(ChunkSizes(first=100, least=10))
    work.take()
    crowd.ask(NonceRange(0, MAX_NONCE), 0)
    assert all(len(hand) == 2 for hand in crowd.hands)
    assert work.take() < 20 * MINERS


def test_a_result_amid_a_huge_job_costs_nothing_for_the_other_miners(work: Work) -> None:
    crowd = Crowd(ChunkSizes(first=100, least=10))
    crowd.ask(NonceRange(0, MAX_NONCE), 0)
    for round_ in range(1, 4):
        for miner in range(MINERS):
            work.take()
            crowd.answer(miner, round_ * SECOND)
            assert crowd.scheduler.next_deadline() is not None
            assert len(crowd.hands[miner]) == 2
            assert work.take() < 40


@pytest.mark.parametrize("known", [False, True])
def test_the_end_of_a_job_costs_as_much_for_each_miner_as_for_one(work: Work, known: bool) -> None:
    """Many miners are idle and may copy what the others have."""
    crowd = Crowd(ChunkSizes(first=1000, least=10))
    if known:
        crowd.ask(NonceRange(0, 2 * MINERS * 1000 - 1), 0)
        for at in (SECOND, 2 * SECOND):
            for miner in range(MINERS):
                crowd.answer(miner, at)
        assert crowd.answered == 1
    work.take()
    crowd.ask(NonceRange(0, MINERS // 2 * (50 if known else 1000) - 1), 10 * SECOND)
    assert work.take() < 30 * MINERS
    busy = [miner for miner in range(MINERS) if crowd.hands[miner]]
    assert len(busy) <= MINERS // 2
    crowd.answer(busy[0], 20 * SECOND)
    assert crowd.scheduler.statistics().chunks_copied > 0, "the others are long overdue"
    assert work.take() < 30 * MINERS


def test_jobs_that_nobody_has_room_for_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    served_jobs = Scheduler._served_jobs

    def counted(scheduler: Scheduler) -> list[Job]:
        jobs = served_jobs(scheduler)
        looked.append(len(jobs))
        return jobs

    crowd = Crowd(ChunkSizes(first=100, least=10))
    crowd.ask(NonceRange(0, MAX_NONCE), 0)
    monkeypatch.setattr(Scheduler, "_served_jobs", counted)
    for client in range(CLIENT + 1, CLIENT + MAX_JOBS):
        crowd.scheduler.receive(client, Request("t", NonceRange(0, 9)), 1)
    assert crowd.scheduler.jobs == MAX_JOBS
    assert looked == []
