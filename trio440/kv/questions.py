"""When a replica asks another one whether it has the same, and what came of it. Pure."""

import random
from typing import Final, final

import attrs

__all__ = ["Questions", "SyncTimes", "jitter"]

MOST_DOUBLINGS: Final = 16


@attrs.frozen(kw_only=True)
class SyncTimes:
    """When replicas compare what they have, in microseconds."""

    settle_us: int = 1_000_000
    """After the last write that was told to another server, it is asked whether it has all."""
    settle_local_us: int = 5_000_000
    """The same for a sibling, to which messages are seldom lost."""
    second_us: int = 2_000_000
    """Before a new server asks others than the first one: what that gives need not come twice."""
    longest_us: int = 10_000_000
    """Between two such questions, whatever is written; the same where nothing is."""
    patience_us: int = 5_000_000
    """Who has said nothing for so long after a question is away: told nothing but the question,
    which is repeated, until heard of again."""
    fruitless_us: int = 300_000_000
    """The longest wait where asking changes nothing: the two disagree on what they may hold."""


@final
@attrs.define
class Questions:
    """Those to one peer. All times are on the actor's clock."""

    times: SyncTimes
    rng: random.Random
    """Spreads the questions of many actors over time."""
    due_us: int
    is_asked: bool
    """Whether it is asked at all: of its siblings an actor asks the next one alone."""
    asked_us: int | None = None
    """Of the question that has no answer yet."""
    is_away: bool = False
    news: bool = False
    """Whether something has come of it."""
    _told_us: int | None = None
    """When news were told for the first time since the last question."""
    _differed: bool = False
    """Whether the last comparison showed a difference."""
    _fruitless: int = 0
    """Comparisons in a row of which nothing came."""

    def is_open(self, now_us: int) -> bool:
        """Whether an answer may still come; who has not answered in time is away."""
        if self.asked_us is None:
            return False
        if now_us < self.asked_us + self.times.patience_us:
            return True
        self.asked_us = None
        self.due_us = now_us + (self.times.longest_us if self.is_away else 0)
        self.is_away = True
        return False

    def is_due(self, now_us: int) -> bool:
        """Whether to ask now, where no answer may still come."""
        return self.is_asked and now_us >= self.due_us

    def hear(self, now_us: int) -> None:
        """Note that the peer is there."""
        if self.is_away:
            self.is_away = False
            self.due_us = now_us

    def settle(self, now_us: int) -> None:
        """Note that the two are the same."""
        self.asked_us = self._told_us = None
        self._differed = self.news = False
        self._fruitless = 0
        self.due_us = now_us + self._wait_us()

    def differ(self) -> None:
        """Note that the two are not the same."""
        self.asked_us = None
        self._differed = True

    def differ_anew(self, now_us: int) -> None:
        """Note that the peer has asked, and the two are not the same."""
        self.differ()
        self.due_us = now_us + self._wait_us()

    def note_asked(self, now_us: int) -> None:
        """Note that the question is told."""
        is_fruitless = self._differed and not self.news
        self._fruitless = self._fruitless + 1 if is_fruitless else 0
        self._differed = self.news = False
        self.asked_us, self._told_us = now_us, None
        self.due_us = now_us + self._wait_us()

    def note_told(self, now_us: int, settle_us: int) -> None:
        """Note that news are told: the peer is asked so long after the last of them."""
        if not self._fruitless:
            self.due_us = self._settled(now_us, settle_us)

    def postpone(self, now_us: int) -> None:
        """Ask later, while news come from others: they may be what there is to learn."""
        if self.asked_us is None and not self.is_away:
            self.due_us = max(self.due_us, self._settled(now_us, self.times.settle_us))

    def _settled(self, now_us: int, settle_us: int) -> int:
        if self._told_us is None:
            self._told_us = now_us
        return min(now_us + settle_us, self._told_us + self.times.longest_us)

    def _wait_us(self) -> int:
        """Return how long to wait until the next question, where nothing happens."""
        longest_us = self.times.longest_us << min(self._fruitless, MOST_DOUBLINGS)
        return jitter(self.rng, min(longest_us, self.times.fruitless_us))


def jitter(rng: random.Random, wait_us: int) -> int:
    """Return a time that is up to a quarter shorter."""
    return wait_us - rng.randrange(wait_us // 4 + 1)
