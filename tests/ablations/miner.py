"""Deliberate bugs in the miner: its books, its fairness, what it believes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest.mock import patch

from trio440.mining import scheduler
from trio440.mining.hashing import Found
from trio440.mining.jobs import Chunk, Job, Miner
from trio440.mining.messages import Result
from trio440.mining.policy import Level, Policy
from trio440.mining.scheduler import Disconnect, Scheduler, Send
from trio440.sim.ablating import Ablation

__all__ = ["ABLATIONS"]

Patch = AbstractContextManager[object]


def forget_a_lost_miners_chunks() -> Patch:
    def forget(self: Scheduler, conn_id: int) -> None:
        for job in self._clients.pop(conn_id, ()):
            job.over = True
            self._counts.jobs_dropped += 1
        miner = self._miners.pop(conn_id, None)
        if miner is not None:
            self._crew.remove(miner)

    return patch.object(Scheduler, "_forget", forget)


def work_for_lost_clients() -> Patch:
    def forget(self: Scheduler, conn_id: int) -> None:
        miner = self._miners.pop(conn_id, None)
        if miner is not None:
            self._crew.remove(miner)
            for chunk in miner.hand:
                chunk.job.chunks.discard(chunk)
            if not miner.late:
                miner.release()

    return patch.object(Scheduler, "_forget", forget)


def _without_merging(*, keep_first: bool) -> Patch:
    def answer(self: Job, chunk: Chunk, found: Found) -> None:
        self.chunks.discard(chunk)
        self.missing.remove(chunk.nonces)
        self.unassigned.remove(chunk.nonces)
        if self.best is None or not keep_first:
            self.best = found

    return patch.object(Job, "answer", answer)


def answer_with_the_last_chunks_hash() -> Patch:
    return _without_merging(keep_first=False)


def answer_with_the_first_chunks_hash() -> Patch:
    return _without_merging(keep_first=True)


def count_one_nonce_too_many() -> Patch:
    real = Job.answer

    def answer(self: Job, chunk: Chunk, found: Found) -> None:
        real(self, chunk, found)
        rest = self.missing.lowest(1)
        if rest and rest[0].size > chunk.nonces.size:
            extra = rest[0].first(1)
            self.missing.remove(extra)
            self.unassigned.remove(extra)

    return patch.object(Job, "answer", answer)


def count_a_reassigned_chunk_twice() -> Patch:
    """What is released again is taken for answered when its second miner gets it."""
    real = Job.release

    def release(self: Job, chunk: Chunk) -> None:
        real(self, chunk)
        if self.best is not None:
            self.missing.remove(chunk.nonces)

    return patch.object(Job, "release", release)


def answer_another_client() -> Patch:
    real = Scheduler._take_result

    def take_result(self: Scheduler, miner: Miner, found: Found, now: int) -> None:
        before = len(self._actions)
        real(self, miner, found, now)
        others = [client for client, queue in self._clients.items() if queue]
        for place, action in enumerate(self._actions[before:], before):
            if isinstance(action, Send) and isinstance(action.message, Result):
                strangers = [client for client in others if client != action.conn_id]
                if strangers:
                    self._actions[place] = Send(strangers[0], action.message)

    return patch.object(Scheduler, "_take_result", take_result)


def believe_any_hash() -> Patch:
    return patch.object(scheduler, "_fits", lambda found, chunk: found.nonce in chunk.nonces)


def wait_for_ever_for_the_late() -> Patch:
    return patch.object(Scheduler, "next_deadline", lambda _self: None)


def keep_a_late_miners_chunks() -> Patch:
    def on_deadline(self: Scheduler, now: int) -> None:
        for miner in self._crew.take_late(now):
            miner.late = True
        self._hand_out(now)

    return patch.object(Scheduler, "on_deadline", on_deadline)


def release_what_others_hold() -> Patch:
    def release(self: Job, chunk: Chunk) -> None:
        for nonces in self.missing.within(chunk.nonces):
            self.unassigned.add(nonces)

    return patch.object(Job, "release", release)


def release_what_is_answered() -> Patch:
    def release(self: Job, chunk: Chunk) -> None:
        self.unassigned.add(chunk.nonces)

    return patch.object(Job, "release", release)


def three_chunks_in_hand() -> Patch:
    return patch.object(scheduler, "CHUNKS_IN_HAND", 3)


def tolerate_nonsense() -> Patch:
    def disconnect(self: Scheduler, conn_id: int, reason: str) -> None:
        if conn_id not in self._miners:
            self._forget(conn_id)
            self._actions.append(Disconnect(conn_id, reason))

    return patch.object(Scheduler, "_disconnect", disconnect)


def leave_stragglers_alone() -> Patch:
    return patch.object(Scheduler, "_give_copies", lambda *_: None)


def serve_the_newest_first() -> Patch:
    def choose(self: Policy, miner: Miner, jobs: Sequence[Job], level: Level) -> Chunk:
        return self._cut(miner, max(jobs, key=lambda job: job.number), level)

    return patch.object(Policy, "choose_chunk", choose)


def serve_the_oldest_only() -> Patch:
    def choose(self: Policy, miner: Miner, jobs: Sequence[Job], level: Level) -> Chunk:
        return self._cut(miner, min(jobs, key=lambda job: job.number), level)

    return patch.object(Policy, "choose_chunk", choose)


def starve_the_huge() -> Patch:
    def choose(self: Policy, miner: Miner, jobs: Sequence[Job], level: Level) -> Chunk:
        shortest = min(jobs, key=lambda job: (job.unassigned.size, job.number))
        return self._cut(miner, shortest, level)

    return patch.object(Policy, "choose_chunk", choose)


_HOSTILE: Final[dict[Any, str]] = {
    forget_a_lost_miners_chunks: "what a lost miner had in hand is given to nobody",
    work_for_lost_clients: "the jobs of a client that has gone are worked on",
    answer_with_the_last_chunks_hash: "the last answer counts in the place of the least",
    answer_with_the_first_chunks_hash: "the first answer counts in the place of the least",
    count_one_nonce_too_many: "an answer covers a nonce that was not searched",
    count_a_reassigned_chunk_twice: "a chunk that is given to another counts as answered",
    answer_another_client: "an answer goes to whoever waits",
    believe_any_hash: "a hash is believed that is not its nonce's",
    wait_for_ever_for_the_late: "a miner that hangs is never late",
    keep_a_late_miners_chunks: "a late miner's chunks are given to nobody",
    release_what_others_hold: "a chunk that somebody has in hand is given out again",
    release_what_is_answered: "nonces that are answered are given out again",
    three_chunks_in_hand: "a miner has three chunks in hand",
    tolerate_nonsense: "a miner that answers nonsense stays",
    leave_stragglers_alone: "stragglers' work is not copied near the end",
}
_CALM: Final[dict[Any, str]] = {
    serve_the_newest_first: "the newest job is always next",
    serve_the_oldest_only: "a small job waits for a huge one",
    starve_the_huge: "a huge job waits while there are small ones",
}

ABLATIONS: Final = [
    Ablation(
        name=f"miner-{bug.__name__.replace('_', '-')}",
        system="miner",
        profile=profile,
        description=description,
        apply=bug,
        within=60,
    )
    for profile, bugs in (("hostile", _HOSTILE), ("calm", _CALM))
    for bug, description in bugs.items()
]
