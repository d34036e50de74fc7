from trio440.mining.hashing import hash_of
from trio440.mining.messages import Join, Request, Result
from trio440.mining.policy import ChunkSizes
from trio440.mining.ranges import NonceRange
from trio440.mining.scheduler import Scheduler, Send

MINER, CLIENT = 1, 2
SECOND = 1_000_000


def requests_of(scheduler: Scheduler) -> list[Request]:
    sent = [action.message for action in scheduler.actions() if isinstance(action, Send)]
    return [message for message in sent if isinstance(message, Request)]


def answer(request: Request) -> Result:
    return Result(hash_of(request.text, request.nonces.lower), request.nonces.lower)


def test_answers_that_arrive_together_do_not_make_a_miner_seem_infinitely_fast() -> None:
    """The first answer was held up on its way; the second arrives in the same instant."""
    scheduler = Scheduler(ChunkSizes(first=1000, least=10))
    scheduler.receive(MINER, Join(), 0)
    scheduler.receive(CLIENT, Request("huge", NonceRange(0, 2**60)), 0)
    in_hand = requests_of(scheduler)
    assert [request.nonces.size for request in in_hand] == [1000, 1000]
    for request in in_hand:
        scheduler.receive(MINER, answer(request), 2 * SECOND)
    sizes = [request.nonces.size for request in requests_of(scheduler)]
    assert len(sizes) == 2
    assert max(sizes) <= 1000


def test_a_miner_that_was_idle_is_measured_from_when_it_got_work() -> None:
    scheduler = Scheduler(ChunkSizes(first=1000, least=10))
    scheduler.receive(MINER, Join(), 0)
    scheduler.receive(CLIENT, Request("small", NonceRange(0, 1999)), 0)
    for number, request in enumerate(requests_of(scheduler), 1):
        scheduler.receive(MINER, answer(request), number * SECOND)
    scheduler.receive(CLIENT, Request("late", NonceRange(0, 2**60)), 100 * SECOND)
    now = 100 * SECOND
    for request in requests_of(scheduler):
        now += request.nonces.size * SECOND // 1000
        scheduler.receive(MINER, answer(request), now)
    (progress,) = scheduler.progress()
    assert 900 <= progress.nonces_per_second <= 1100
