"""What a leader knows of a follower, against a follower that may lose every message."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.raft.membership import Configuration
from trio440.raft.messages import SnapshotMeta
from trio440.raft.progress import CatchUp, Flow, Progress, Window

LAST = 12


class Follower:
    """A number: it accepts what follows it, and answers with it. Messages keep their order."""

    def __init__(self, has: int, rng: random.Random, loss: float) -> None:
        self.has = has
        self.rng = rng
        self.loss = loss
        self.requests: deque[tuple[int, int]] = deque()
        self.replies: deque[tuple[bool, int, int]] = deque()

    def send(self, prev: int, last: int) -> None:
        if self.rng.random() >= self.loss:
            self.requests.append((prev, last))

    def answer(self) -> None:
        prev, last = self.requests.popleft()
        reply = (prev <= self.has, last if prev <= self.has else prev, self.has)
        if prev <= self.has:
            self.has = max(self.has, last)
        if self.rng.random() >= self.loss:
            self.replies.append(reply)


def send(progress: Progress, follower: Follower, size: int) -> None:
    if progress.paused and not progress.nudged:
        return
    prev = progress.next - 1
    last = prev if progress.paused else min(LAST, prev + size)
    progress.nudged = False
    progress.sent(last, 10)
    follower.send(prev, last)


def hear(progress: Progress, follower: Follower) -> None:
    ok, index, hint = follower.replies.popleft()
    if ok:
        progress.matched(index)
    else:
        progress.rejected(index, hint + 1)


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, LAST), st.sampled_from([0, 0.3]))
def test_a_follower_catches_up_whatever_is_lost_and_nothing_passes_the_window(
    seed: int, most: int, has: int, loss: float
) -> None:
    rng = random.Random(seed)
    progress, follower = Progress(LAST + 1, Window(most, 1_000)), Follower(has, rng, loss)
    for step in range(1_000):
        if progress.match == LAST:
            return
        choice = rng.randrange(3)
        if step % 7 == 0:
            progress.heartbeat_answered()
        elif choice == 0:
            send(progress, follower, rng.randint(0, 3))
        elif choice == 1 and follower.requests:
            follower.answer()
        elif choice == 2 and follower.replies:
            hear(progress, follower)
        assert len(progress.window) <= most
        assert progress.match <= follower.has, "only what the follower has"
        assert progress.match < progress.next <= LAST + 1
    raise AssertionError("it never catches up")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), max_size=30), st.data())
def test_the_window_is_a_list_of_what_is_not_acknowledged(
    sent: list[tuple[int, int]], data: st.DataObject
) -> None:
    window, model, last = Window(5, 100), [], 0
    for step, size in sent:
        last += step
        if data.draw(st.booleans()):
            window.add(last, size)
            model.append((last, size))
        else:
            index = data.draw(st.integers(0, last))
            window.free_to(index)
            model = [one for one in model if one[0] > index]
        assert len(window) == len(model)
        assert window.bytes == sum(size for _, size in model)
        assert window.is_full is (len(model) >= 5 or window.bytes >= 100)


def test_old_rejections_change_nothing() -> None:
    progress = Progress(5, Window(5, 100))
    assert not progress.rejected(7, 3), "it is not about the probe that is out"
    progress.matched(6)
    assert not progress.rejected(6, 3), "what was rejected has matched since"
    assert (progress.match, progress.next, progress.flow) == (6, 7, Flow.REPLICATE)


def test_a_snapshot_ends_when_the_follower_has_it() -> None:
    progress = Progress(5, Window(5, 100))
    progress.become_snapshot(SnapshotMeta(9, 1, Configuration(voters=("a",))))
    assert progress.paused
    assert not progress.rejected(4, 1)
    progress.matched(3)
    assert progress.flow is Flow.SNAPSHOT
    progress.matched(9)
    assert (progress.flow, progress.next) == (Flow.REPLICATE, 10)


@pytest.mark.parametrize(("ticks", "done"), [(10, True), (11, False)])
def test_a_learner_has_caught_up_after_a_short_round(ticks: int, done: bool) -> None:
    catch_up = CatchUp(target=100, began=0)
    catch_up.reached(99, 120, now=5, most_ticks=10)
    assert not catch_up.done
    catch_up.reached(100, 120, now=ticks, most_ticks=10)
    assert catch_up.done is done
    assert catch_up.target == 120


def test_a_learner_that_has_everything_has_caught_up_however_long_it_took() -> None:
    catch_up = CatchUp(target=100, began=0)
    catch_up.reached(100, 100, now=1000, most_ticks=10)
    assert catch_up.done
