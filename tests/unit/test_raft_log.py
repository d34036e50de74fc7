"""The log against a dictionary of entries, through writes that overtake truncations."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio440.errors import RaftViolated
from trio440.raft.log import ENTRY_OVERHEAD, Log, size_of
from trio440.raft.messages import Entry


def entries(*terms: int, start: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(start + place, term) for place, term in enumerate(terms))


class LogMachine(RuleBasedStateMachine):
    """Every write is modelled as the bytes that it would put on a disk, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(0, 0)
        self.model: dict[int, Entry] = {}
        self.term = 1
        self.base = 0
        self.commit = 0
        self.applied = 0
        self.disk: dict[int, Entry] = {}
        self.writes: deque[tuple[Entry, ...]] = deque()

    def last(self) -> int:
        return max(self.model, default=self.base)

    @rule(count=st.integers(1, 3), new_term=st.booleans())
    def append(self, count: int, new_term: bool) -> None:
        self.term += new_term
        new = entries(*[self.term] * count, start=self.last() + 1)
        for entry in new:
            self.log.append(entry)
        self.model |= {entry.index: entry for entry in new}

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        """Another leader's entries: some that are here, then others, of a later term or not."""
        prev = data.draw(st.integers(self.commit, self.last()))
        same = [self.model[i] for i in range(prev + 1, self.last() + 1)]
        same = same[: data.draw(st.integers(0, len(same)))]
        more = data.draw(st.integers(0, 3))
        self.term += 1
        new = (*same, *entries(*[self.term] * more, start=prev + len(same) + 1))
        self.log.merge(new)
        if more:
            self.model = {i: e for i, e in self.model.items() if i <= prev + len(same)}
            self.model |= {entry.index: entry for entry in new}

    @rule()
    def write(self) -> None:
        written = self.log.take_unwritten()
        if written:
            self.writes.append(written)

    @precondition(lambda self: self.writes)
    @rule(count=st.integers(1, 3))
    def sync(self, count: int) -> None:
        """Several writes become durable at once, and only the last one is told."""
        last = self.writes[0]
        for _ in range(min(count, len(self.writes))):
            last = self.writes.popleft()
            self.disk = {i: e for i, e in self.disk.items() if i < last[0].index}
            self.disk |= {entry.index: entry for entry in last}
        self.log.persisted(last[-1].index, last[-1].term)

    @rule(data=st.data())
    def commit_some(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.commit, self.last()))
        assert self.log.commit_to(index) is (index > self.commit)
        self.commit = index

    @rule(limit=st.integers(1, 4))
    def apply(self, limit: int) -> None:
        for entry in self.log.take_committed(limit):
            assert entry == self.model[entry.index]
            assert entry.index == self.applied + 1
            assert entry.index <= self.commit
            assert self.disk[entry.index] == entry, "applied where it is durable"
            self.applied = entry.index
        self.log.apply_to(self.applied)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.base = data.draw(st.integers(self.base, self.applied)) if self.applied else 0
        self.log.compact(self.base)

    @invariant()
    def agrees(self) -> None:
        assert self.log.last_index == self.last()
        for index in range(self.base + 1, self.last() + 1):
            assert self.log.entry(index) is self.model[index]
            assert self.log.term(index) == self.model[index].term
        assert self.log.term(self.last() + 1) is None
        for index in range(self.base + 1, self.log.stable + 1):
            assert self.disk[index] == self.model[index], "stable is what the disk has"


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(
    st.lists(st.integers(1, 3), max_size=6).map(sorted),
    st.lists(st.integers(1, 3), max_size=6).map(sorted),
)
def test_hints_lead_to_where_two_logs_meet_in_few_steps(ours: list[int], theirs: list[int]) -> None:
    """No step passes over the last entry that both have, and each goes back."""
    leader, follower = Log(0, 0, entries(*ours)), Log(0, 0, entries(*theirs))
    meeting = 0
    while meeting < min(len(ours), len(theirs)) and ours[: meeting + 1] == theirs[: meeting + 1]:
        meeting += 1
    prev, steps = leader.last_index, 0
    while follower.term(prev) != leader.term(prev):
        hint = follower.find_conflict(prev, leader.term(prev) or 0)
        after = leader.find_conflict(hint.index, hint.term).index
        assert after < prev
        assert after >= meeting
        prev, steps = after, steps + 1
    assert steps <= len(set(ours) | set(theirs)), "one step a term"


def test_a_write_that_was_overtaken_says_nothing_about_what_came_instead() -> None:
    """The same index and term again, after another leader's entry was there meanwhile."""
    log = Log(0, 0)
    log.append(*entries(1))
    log.take_unwritten()
    log.merge(entries(2))
    log.take_unwritten()
    log.merge(entries(1))
    log.take_unwritten()
    log.persisted(1, 1)
    assert log.stable == 0
    log.persisted(1, 2)
    log.persisted(1, 1)
    assert log.stable == 1


def test_what_is_committed_is_never_overwritten() -> None:
    log = Log(0, 0, entries(1, 1))
    log.commit_to(2)
    with pytest.raises(RaftViolated, match="committed"):
        log.merge(entries(1, 2))
    with pytest.raises(RaftViolated, match="ends"):
        log.commit_to(3)
    with pytest.raises(RaftViolated, match="place"):
        log.append(*entries(3, start=5))


def test_a_batch_is_as_large_as_allowed_and_never_empty() -> None:
    log = Log(0, 0, [Entry(index, 1, b"x" * 10) for index in range(1, 6)])
    one = 10 + ENTRY_OVERHEAD
    assert len(log.entries_within(1, 1)) == 1
    assert len(log.entries_within(1, 2 * one)) == 2
    assert len(log.entries_within(4, 100 * one)) == 2
    assert log.entries_within(6, 100) == ()
    assert size_of(log.entries(1, 5)) == 5 * one


def test_a_snapshot_keeps_the_tail_only_if_it_follows() -> None:
    log = Log(0, 0, entries(1, 1, 1))
    assert log.restore(2, 1)
    assert (log.base_index, log.last_index, log.commit) == (2, 3, 2)
    log = Log(0, 0, entries(1, 1, 1))
    assert not log.restore(2, 2)
    assert (log.last_index, log.last_term, log.stable, log.applied) == (2, 2, 2, 2)
