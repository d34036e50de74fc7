"""Who is who: acquaintances, admission, and that no two stores are ever let in under one id."""

from itertools import combinations
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio440.raft.acquaintance import (
    Acquaintance,
    Acquaintances,
    Admission,
    Opinion,
    Verdict,
    consents_needed,
)
from trio440.raft.membership import NO_STORE, Configuration

NAMES = ("a", "b", "c", "d", "e", "f", "g")
FIRST = Configuration(voters=("a", "b", "c"))


def record(known: Acquaintances) -> tuple[Acquaintance, ...]:
    batch = known.take_unrecorded()
    known.recorded(batch)
    return batch


def opinion(sender: str, verdict: Verdict = Verdict.SAME, **changes: Any) -> Opinion:
    made = Opinion(sender, 1, verdict, 0, FIRST.voters)
    return attrs.evolve(made, **changes)


# Messages


def test_the_first_message_is_dropped_until_its_store_is_recorded() -> None:
    known = Acquaintances("a", 1)
    assert not known.admits("b", 2)
    batch = known.take_unrecorded()
    assert batch == (Acquaintance("b", 2, met=True),)
    assert not known.admits("b", 2)
    assert known.take_unrecorded() == ()
    known.recorded(batch)
    assert known.admits("b", 2)
    assert known.met == {"a": 1, "b": 2}
    again = Acquaintances("a", 1, batch)
    assert again.admits("b", 2)
    assert again.met == known.met


def test_another_store_is_turned_away_and_told_of_once() -> None:
    known = Acquaintances("a", 1, [Acquaintance("b", 2)])
    for _ in range(2):
        assert not known.admits("b", 3)
    assert known.take_rejected() == (("b", 3),)
    assert not known.admits("b", 3)
    assert known.take_rejected() == ()
    assert known.take_unrecorded() == ()
    assert known.admits("b", 2)
    assert not known.admits("a", 9)


def test_who_was_introduced_is_met_with_the_first_message() -> None:
    known = Acquaintances("a", 1)
    assert known.introduced("b", 2) is None
    assert record(known) == (Acquaintance("b", 2),)
    assert known.met == {"a": 1}
    assert known.admits("b", 2)
    assert known.met == {"a": 1, "b": 2}
    assert record(known) == (Acquaintance("b", 2, met=True),)


@pytest.mark.parametrize("store", [0, -1, 1 << 63])
def test_what_is_no_store_is_never_noted(store: int) -> None:
    known = Acquaintances("a", 1)
    assert not known.admits("b", store)
    found = known.introduced("b", store)
    assert found is not None
    assert found.verdict is Verdict.FULL
    assert known.take_unrecorded() == ()


def test_ids_that_anybody_made_up_take_no_more_room_than_the_limit() -> None:
    known = Acquaintances("a", 1, limit=3)
    known.observe(FIRST, 0, 0)
    for number in range(10):
        known.admits(f"x{number}", 5)
        known.introduced(f"y{number}", 5)
    assert [one.id for one in record(known)] == ["x0", "y0", "x1"]
    late = known.introduced("y9", 5)
    assert late == Opinion("a", 5, Verdict.FULL, 0, FIRST.voters)
    assert known.introduced("b", 2) is None
    assert [one.id for one in record(known)] == ["b"]
    for number in range(1_000):
        known.admits("b", 10 + number)
    assert len(known.take_rejected()) <= 64


def test_the_configuration_counts_more_than_what_was_noted() -> None:
    known = Acquaintances("a", 1, [Acquaintance("b", 9)])
    stores = [("a", 1), ("b", 2), ("c", 3), ("d", NO_STORE)]
    known.observe(Configuration(voters=("a", "b", "c"), stores=stores), 4, 4)
    assert known.admits("b", 2)
    assert not known.admits("b", 9)
    assert known.admits("c", 3)
    assert not known.admits("d", 4)
    for peer, store, verdict in (("b", 2, "same"), ("b", 9, "other"), ("d", 4, "other")):
        found = known.introduced(peer, store)
        assert found == Opinion("a", store, Verdict(verdict), 4, ("a", "b", "c"))


def test_an_older_configuration_counts_again() -> None:
    known = Acquaintances("a", 1)
    known.observe(Configuration(voters=("a", "b"), stores=[("b", 2)]), 4, 0)
    assert known.admits("b", 2)
    record(known)
    known.observe(FIRST, 0, 0)
    assert known.admits("b", 2)
    assert not known.admits("b", 3)


@pytest.mark.parametrize("outgoing", [(), ("a", "b", "d")])
def test_who_is_removed_unmet_is_refused_when_that_is_committed_and_over(
    outgoing: tuple[str, ...],
) -> None:
    known = Acquaintances("a", 1)
    removal = Configuration(
        voters=("a", "b"), outgoing=outgoing, stores=[("a", 1), ("b", 2), ("d", NO_STORE)]
    )
    known.observe(removal, 4, 3)
    assert known.introduced("d", 4) is None
    record(known)
    found = known.introduced("d", 4)
    assert found == Opinion("a", 4, Verdict.SAME, 4, ("a", "b"), outgoing)
    assert known.admits("d", 4)
    assert not known.admits("d", 5)
    known.observe(removal, 4, 4)
    assert known.admits("d", 4) is bool(outgoing)
    known.observe(removal.completed(), 5, 4)
    assert known.admits("d", 4)
    known.observe(removal.completed(), 5, 5)
    assert not known.admits("d", 4)
    found = known.introduced("d", 4)
    assert found is not None
    assert found.verdict is Verdict.OTHER


# Admission


@pytest.mark.parametrize("count", range(1, 10))
def test_two_sets_that_consent_share_as_many_as_may_be_lost(count: int) -> None:
    names = [str(number) for number in range(count)]
    needed = consents_needed(names, "0")
    others = names[1:]
    assert needed <= len(others)
    least = min(
        len(set(one) & set(other))
        for one in combinations(others, needed)
        for other in combinations(others, needed)
    )
    assert least >= (count - 1) // 2
    assert {3: 2, 5: 3}.get(count, needed) == needed


def test_both_others_of_three_must_consent() -> None:
    admission = Admission("a", 1, FIRST.voters)
    assert list(admission.awaited) == ["b", "c"]
    for answer in (
        opinion("b"),
        opinion("b"),
        opinion("x"),
        opinion("a"),
        opinion("c", about=2),
        opinion("c", Verdict.FULL),
    ):
        admission.take(answer)
        assert not admission.is_granted
    assert list(admission.awaited) == ["c"]
    admission.take(opinion("c"))
    assert admission.is_granted
    assert list(admission.awaited) == []


@pytest.mark.parametrize(("count", "needed"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (7, 3)])
def test_an_oath_leaves_a_majority_to_be_asked_at_once_and_all_others_later(
    count: int, needed: int
) -> None:
    voters = NAMES[:count]
    admission = Admission("a", 1, voters, is_new=True)
    for number, name in enumerate(voters[1:]):
        assert admission.is_granted is (number >= needed)
        assert admission.is_complete is (number >= consents_needed(voters, "a"))
        admission.take(opinion(name, voters=voters))
    assert admission.is_complete
    admission.take(opinion("x", Verdict.OTHER))
    assert not admission.is_granted


def test_who_joins_on_an_oath_waits_for_nobody() -> None:
    admission = Admission("z", 1, is_new=True)
    assert admission.is_granted
    assert not admission.is_complete


def test_one_refusal_is_final() -> None:
    admission = Admission("a", 1, FIRST.voters)
    for sender in "bc":
        admission.take(opinion(sender))
    admission.take(opinion("x", Verdict.OTHER))
    admission.take(opinion("x"))
    assert admission.refused_by == "x"
    assert not admission.is_granted


def test_who_joins_needs_a_majority_of_the_latest_voters_it_hears_of() -> None:
    admission = Admission("z", 1)
    assert not admission.is_granted
    assert list(admission.awaited) == []
    admission.take(opinion("y", voters=()))
    admission.take(opinion("b"))
    assert list(admission.awaited) == ["a", "c"]
    admission.take(opinion("c", index=7, voters=("c", "d", "e"), outgoing=("a", "b", "c")))
    admission.take(opinion("a", index=3))
    assert list(admission.awaited) == ["d", "e"]
    admission.take(opinion("d"))
    assert admission.is_granted


def test_who_joins_with_the_id_of_a_first_member_asks_like_one() -> None:
    admission = Admission("a", 1)
    five = ("a", "b", "c", "d", "e")
    for sender in "bc":
        admission.take(opinion(sender, voters=five))
    assert not admission.is_granted
    admission.take(opinion("d", voters=five))
    assert admission.is_granted


# No two stores


class Member:
    """A peer that answers, with its disk: what is noted counts when it is synced."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.disk: dict[str, Acquaintance] = {}
        self.stores = 0
        self.start(new=True)

    def start(self, *, new: bool = False) -> None:
        """Come back, with an empty disk where it is new."""
        if new:
            self.stores += 1
            self.disk = {}
        self.known = Acquaintances(self.name, self.stores, self.disk.values())
        self.syncing: tuple[Acquaintance, ...] = ()

    def ask(self, store: int) -> Opinion | None:
        return self.known.introduced("a", store)

    def write(self) -> None:
        if not self.syncing:
            self.syncing = self.known.take_unrecorded()

    def sync(self) -> None:
        self.disk |= {one.id: one for one in self.syncing}
        self.known.recorded(self.syncing)
        self.syncing = ()


@st.composite
def courses(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, int]]]:
    """How many members there are, and what happens to whom: action, member, machine."""
    count = draw(st.integers(2, 7))
    actions = st.sampled_from(["consent", "consent", "ask", "ask", "write", "crash", "lose"])
    steps = st.tuples(actions, st.integers(1, count - 1), st.integers(0, 1))
    return count, draw(st.lists(steps, max_size=60))


@settings(max_examples=100)
@given(courses())
def test_no_two_stores_are_let_in_under_one_id(
    course: tuple[int, list[tuple[str, int, int]]],
) -> None:
    """Two machines that are both called a ask whoever they reach, as often as they like.

    Meanwhile the others crash, and as many of them lose their disks as a cluster bears that has
    lost a's disk as well; those answer again with nothing on their disks. Refusals come last.
    """
    count, steps = course
    voters = NAMES[:count]
    others = {place: Member(voters[place]) for place in range(1, count)}
    admissions = [Admission("a", store, voters) for store in (1, 2)]
    may_lose = (count - 1) // 2 - 1
    for action, place, which in steps:
        member = others[place]
        match action:
            case "ask" | "consent":
                answer = member.ask(which + 1)
                if action == "consent":
                    member.write()
                    member.sync()
                    answer = member.ask(which + 1)
                if answer is not None and answer.verdict is Verdict.SAME:
                    admissions[which].take(answer)
            case "write":
                member.write()
            case "crash":
                member.start()
            case "lose" if may_lose > 0:
                may_lose -= 1
                member.start(new=True)
    assert not all(admission.is_granted for admission in admissions)


def consents(member: Member, admission: Admission, store: int) -> None:
    """Let a member answer in full."""
    for _ in range(2):
        answer = member.ask(store)
        if answer is not None and answer.verdict is Verdict.SAME:
            admission.take(answer)
        member.write()
        member.sync()


@pytest.mark.parametrize("count", range(2, 8))
def test_no_two_stores_are_let_in_whoever_was_asked_and_whatever_else_was_lost(count: int) -> None:
    """Any others let the first store in, as many as may be lose their disks, any are asked next."""
    voters = NAMES[:count]
    places = range(1, count)
    needed = consents_needed(voters, "a")
    for first in combinations(places, needed):
        for lost in combinations(first, min(needed, max(0, (count - 1) // 2 - 1))):
            others = {place: Member(voters[place]) for place in places}
            admissions = [Admission("a", store, voters) for store in (1, 2)]
            for place in first:
                consents(others[place], admissions[0], 1)
            assert admissions[0].is_granted
            for place in lost:
                others[place].start(new=True)
            for place in places:
                consents(others[place], admissions[1], 2)
            assert not admissions[1].is_granted


@pytest.mark.parametrize("count", range(2, 8))
def test_after_an_oath_no_other_store_is_let_in_while_no_other_disk_is_lost(count: int) -> None:
    voters = NAMES[:count]
    places = range(1, count)
    for first in combinations(places, count // 2):
        others = {place: Member(voters[place]) for place in places}
        sworn = Admission("a", 1, voters, is_new=True)
        for place in first:
            consents(others[place], sworn, 1)
        assert sworn.is_granted
        later = Admission("a", 2, voters)
        for place in places:
            consents(others[place], later, 2)
        assert not later.is_granted


def test_a_single_member_has_nobody_to_ask() -> None:
    """Whatever it has lost, nobody else had it."""
    assert Admission("a", 1, ("a",)).is_granted
