"""Names over a cluster: who owns them, who hears of them, and that all come to see the same."""

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from trio440.actors import Ref
from trio440.actors.cluster import Joined, Left, Lost, Node, Suspected
from trio440.actors.cluster.events import Back
from trio440.actors.cluster.names import (
    MAX_NAMES,
    MAX_UPDATE_BYTES,
    UPDATES,
    Change,
    Entry,
    Names,
    Pull,
    Table,
    Update,
)
from trio440.errors import BadMessage, InvalidParameter, LimitReached
from trio440.wire.codec import INT64_MAX

A, B = Node("a:1", 1), Node("b:1", 1)


def ref(number: int, address: str = "a:1") -> Ref[Any]:
    return Ref(address, number, 1)


def met(*nodes: Node, own: Node = A) -> Names:
    names = Names(own)
    for node in nodes:
        names.meet(node)
    names.updates_to_send()
    return names


# One node


def test_a_change_goes_to_everybody_once() -> None:
    names = met(B)
    names.set("x", ref(1))
    names.set("x", ref(1))
    names.set("x", ref(2))
    names.drop("x")
    names.drop("x")
    changes = [Change(1, "x", ref(1)), Change(2, "x", ref(2)), Change(3, "x", None)]
    assert names.updates_to_send() == [(None, change) for change in changes]
    assert names.updates_to_send() == []
    assert names.lookup("x") is None
    assert names.table() == Table(3)


def test_who_is_met_gets_the_table_and_is_asked_for_its_own() -> None:
    names = Names(A)
    names.set("x", ref(1))
    names.updates_to_send()
    names.notice(Joined(B))
    assert names.updates_to_send() == [(B, Table(1, (Entry("x", ref(1)),))), (B, Pull(-1))]
    names.notice(Joined(A))
    names.notice(Suspected(B))
    assert names.updates_to_send() == []
    assert names.statistics().owners == 1


def test_a_pull_is_answered_if_there_is_something_newer() -> None:
    names = met(B)
    names.hear(B, Pull(-1))
    assert names.updates_to_send() == [(B, Table(0))]
    names.hear(B, Pull(0))
    assert names.updates_to_send() == []
    names.set("x", ref(1))
    names.updates_to_send()
    names.hear(B, Pull(0))
    assert names.updates_to_send() == [(B, names.table())]


def test_who_pulls_on_and_on_is_answered_a_few_times_until_the_next_round() -> None:
    names = met(B)
    for _ in range(2):
        for _ in range(100):
            names.hear(B, Pull(-1))
        assert names.updates_to_send() == [(B, Table(0))] * 8
        names.pull_all()
        assert names.updates_to_send() == [(B, Pull(-1))]
    assert names.statistics().refused == 2 * 92


def test_no_update_within_the_bounds_is_longer_than_one_may_be() -> None:
    address = "a" * 255
    entries = tuple(
        Entry("\U0001f600" * 195 + f"{number:05}", ref(INT64_MAX - number, address))
        for number in range(MAX_NAMES)
    )
    assert len(UPDATES.encode(Table(INT64_MAX, entries))) < MAX_UPDATE_BYTES


def test_names_of_others_come_and_go() -> None:
    names = met(B)
    names.hear(B, Table(4, (Entry("x", ref(1)), Entry("y", ref(2)))))
    names.hear(B, Change(5, "y", ref(3)))
    names.hear(B, Change(6, "x", None))
    names.hear(B, Change(7, "x", None))
    assert names.everything() == {"y": ref(3)}
    names.hear(B, Table(6, (Entry("x", ref(1)),)))
    names.hear(B, Change(5, "y", ref(9)))
    assert names.everything() == {"y": ref(3)}, "that was said before"
    names.hear(B, Table(9, (Entry("z", ref(4)),)))
    assert names.everything() == {"z": ref(4)}
    names.notice(Lost(B))
    assert names.everything() == {}
    assert names.statistics().known == 0


def test_who_is_back_is_asked_again_and_not_heard_before() -> None:
    names = met(B)
    names.hear(B, Table(4, (Entry("x", ref(1)),)))
    names.forget(B)
    names.hear(B, Change(5, "y", ref(3)))
    names.hear(B, Table(5))
    assert names.statistics().unheard == 2
    names.notice(Back(B))
    assert (B, Pull(-1)) in names.updates_to_send()
    names.hear(B, Table(5, (Entry("x", ref(1)), Entry("y", ref(3)))))
    assert names.lookup("y") == ref(3)
    names.notice(Left(B))
    assert names.lookup("y") is None


def test_a_later_life_does_not_inherit() -> None:
    names, later = met(B), Node("b:1", 2)
    names.hear(B, Table(4, (Entry("x", ref(1)),)))
    names.meet(later)
    assert names.everything() == {}
    names.hear(B, Change(5, "y", ref(1)))
    names.hear(B, Table(5, (Entry("x", ref(1)),)))
    assert names.everything() == {}
    names.forget(B)
    names.meet(B)
    assert names.statistics().owners == 1
    names.hear(later, Table(0))
    names.hear(later, Change(1, "z", ref(1)))
    assert names.everything() == {"z": ref(1)}


def test_a_gap_is_pulled_once() -> None:
    names = met(B)
    names.hear(B, Table(1))
    names.hear(B, Change(3, "x", ref(1)))
    names.hear(B, Change(4, "y", ref(2)))
    assert names.everything() == {}
    assert names.updates_to_send() == [(B, Pull(1))]
    assert names.statistics().gaps == 2
    names.hear(B, Table(4, (Entry("x", ref(1)), Entry("y", ref(2)))))
    names.hear(B, Change(6, "z", ref(1)))
    assert names.updates_to_send() == [(B, Pull(4))]
    names.pull_all()
    assert names.updates_to_send() == [(B, Pull(4))]


def test_the_greatest_reference_wins_and_the_others_come_to_light_again() -> None:
    names = met(B)
    names.set("x", ref(1, "a:1"))
    names.hear(B, Table(1, (Entry("x", ref(9, "b:1")),)))
    assert names.lookup("x") == ref(9, "b:1")
    assert names.table() == Table(1, (Entry("x", ref(1, "a:1")),))
    names.forget(B)
    assert names.lookup("x") == ref(1, "a:1")


# Bounds


@pytest.mark.parametrize("name", ["", "x" * 201, "\ud800", 7])
def test_what_is_no_name(name: Any) -> None:
    names = Names(A)
    with pytest.raises(InvalidParameter):
        names.set(name, ref(1))
    assert names.everything() == {}
    assert names.updates_to_send() == []


@pytest.mark.parametrize(
    "wrong",
    [
        *(Ref("", 1, 1), Ref("x" * 256, 1, 1), Ref("\ud800", 1, 1), Ref("a", 0, 1)),
        *(Ref("a", 1, -1), Ref("a", INT64_MAX + 1, 1), Ref("a", 1, INT64_MAX + 1)),
        *("a/1", None),
    ],
)
def test_what_is_no_reference(wrong: Any) -> None:
    with pytest.raises(InvalidParameter):
        Names(A).set("x", wrong)


def test_a_node_owns_so_many_names_and_believes_no_more_of_others() -> None:
    names = met(B)
    for i in range(MAX_NAMES):
        names.set(f"mine {i}", ref(1))
        names.hear(B, Change(i + 1, f"its {i}", ref(1)) if i else Table(1))
    with pytest.raises(LimitReached):
        names.set("one more", ref(1))
    names.set("mine 0", ref(2))
    for i in range(MAX_NAMES, MAX_NAMES + 9):
        names.hear(B, Change(i + 1, f"its {i}", ref(1)))
    statistics = names.statistics()
    assert (statistics.owned, statistics.known) == (MAX_NAMES, 2 * MAX_NAMES)
    assert statistics.refused == 8
    assert len(UPDATES.encode(names.table())) < 100_000


UPDATE_EXAMPLES: list[Update] = [
    Table(0),
    Table(INT64_MAX, (Entry("ä" * 200, Ref("x" * 255, INT64_MAX, INT64_MAX)),)),
    Change(1, "x", ref(1)),
    Change(2, "x"),
    Pull(-1),
    Pull(INT64_MAX),
]


@pytest.mark.parametrize("update", UPDATE_EXAMPLES)
def test_an_update_goes_there_and_back(update: Update) -> None:
    assert UPDATES.decode_untrusted(UPDATES.encode(update)) == update


@pytest.mark.parametrize(
    ("text", "by"),
    [
        (b"\x01x", b"\x01y"),
        (b"\xa1x", b"\xa0"),
        (b"\xa3a:1", b"\xa0"),
        (b"\xa7counter\x01", b"\xa7counter\x00"),
        (b"\xabincarnation\x01", b"\xabincarnation\xff"),
        (b"\xa7version\x03", b"\xa7version\xff"),
    ],
)
def test_what_is_out_of_range_is_no_update(text: bytes, by: bytes) -> None:
    tables: list[Update] = [Table(3, (Entry("x", ref(1)),)), Change(3, "x", ref(1))]
    broken = [UPDATES.encode(one).replace(text, by) for one in tables]
    for data in broken:
        if data not in map(UPDATES.encode, tables):
            with pytest.raises(BadMessage):
                UPDATES.decode_untrusted(data)
    assert text == b"\x01x" or broken != [UPDATES.encode(one) for one in tables]


def test_a_table_has_each_name_once_and_not_too_many() -> None:
    with pytest.raises(InvalidParameter, match="different names"):
        Table(1, (Entry("x", ref(1)), Entry("x", ref(2))))
    with pytest.raises(InvalidParameter, match="at most 1000 names"):
        Table(1, tuple(Entry(str(i), ref(1)) for i in range(MAX_NAMES + 1)))


# Many nodes

NODES = [Node(f"{name}:1", 1) for name in "abc"]
NAMES = st.sampled_from(["x", "y"])
PLACES = st.integers(0, len(NODES) - 1)


class Cluster(RuleBasedStateMachine):
    """Nodes that name things, lose sight of each other, and lose what they send."""

    def __init__(self) -> None:
        super().__init__()
        self.all = {node.address: Names(node) for node in NODES}
        self.sees: dict[str, set[Node]] = {node.address: set() for node in NODES}
        """By each node, whom it counts as live."""
        self.links: dict[tuple[str, str], deque[tuple[Node, Update]]] = {}
        for one in NODES:
            for other in NODES:
                if one != other:
                    self.meet(one, other)
        self.deliver_all()

    def meet(self, one: Node, other: Node) -> None:
        if other not in self.sees[one.address]:
            self.sees[one.address].add(other)
            self.all[one.address].meet(other)
            self.send(one)

    def lose_sight(self, one: Node, other: Node) -> None:
        self.sees[one.address].discard(other)
        self.all[one.address].forget(other)

    def send(self, one: Node) -> None:
        for to, update in self.all[one.address].updates_to_send():
            for receiver in self.sees[one.address] if to is None else {to}:
                link = self.links.setdefault((one.address, receiver.address), deque())
                link.append((one, UPDATES.decode_untrusted(UPDATES.encode(update))))

    def node(self, place: int) -> Node:
        """The present life at a place."""
        return self.all[NODES[place].address].own

    @rule(place=PLACES, name=NAMES, number=st.integers(1, 9))
    def set(self, place: int, name: str, number: int) -> None:
        one = self.node(place)
        self.all[one.address].set(name, Ref(one.address, number, one.incarnation))
        self.send(one)

    @rule(place=PLACES, name=NAMES)
    def drop(self, place: int, name: str) -> None:
        one = self.node(place)
        self.all[one.address].drop(name)
        self.send(one)

    @rule(one=PLACES, other=PLACES)
    def see(self, one: int, other: int) -> None:
        if one != other:
            self.meet(self.node(one), self.node(other))

    @rule(one=PLACES, other=PLACES)
    def lose(self, one: int, other: int) -> None:
        node, lost = self.node(one), self.node(other)
        self.lose_sight(node, lost)
        if lost != node:
            addresses = {one.address for one in self.all[node.address].everything().values()}
            assert lost.address not in addresses

    @rule(place=PLACES)
    def restart(self, place: int) -> None:
        before = self.node(place)
        self.all[before.address] = Names(Node(before.address, before.incarnation + 1))
        self.sees[before.address] = set()
        for other in [self.node(i) for i in range(len(NODES))]:
            if other.address != before.address:
                self.lose_sight(other, before)
                self.meet(other, self.node(place))
                self.meet(self.node(place), other)

    @precondition(lambda self: any(self.links.values()))
    @rule(data=st.data(), count=st.integers(1, 5))
    def deliver(self, data: st.DataObject, count: int) -> None:
        link = data.draw(st.sampled_from([link for link, queue in self.links.items() if queue]))
        for _ in range(min(count, len(self.links[link]))):
            self.deliver_one(link)

    def deliver_one(self, link: tuple[str, str]) -> None:
        sender, update = self.links[link].popleft()
        receiver = self.all[link[1]]
        receiver.hear(sender, update)
        self.send(receiver.own)

    @precondition(lambda self: any(self.links.values()))
    @rule(data=st.data(), first=st.integers(0, 1), count=st.integers(1, 3))
    def lose_updates(self, data: st.DataObject, first: int, count: int) -> None:
        queue = data.draw(st.sampled_from([queue for queue in self.links.values() if queue]))
        rest = list(queue)
        queue.clear()
        queue.extend(rest[:first] + rest[first + count :])

    @invariant()
    def own_names_are_what_was_set(self) -> None:
        for names in self.all.values():
            for entry in names.table().entries:
                found = names.lookup(entry.name)
                assert found is not None
                assert found >= entry.ref

    def teardown(self) -> None:
        """Let everybody see everybody, and ask once; then all must see the same."""
        present = [names.own for names in self.all.values()]
        for one in present:
            for gone in [node for node in self.sees[one.address] if node not in present]:
                self.lose_sight(one, gone)
            for other in present:
                if one != other:
                    self.meet(one, other)
        self.deliver_all()
        for names in self.all.values():
            names.pull_all()
            self.send(names.own)
        self.deliver_all()
        wanted: dict[str, Ref[Any]] = {}
        for names in self.all.values():
            for entry in names.table().entries:
                wanted[entry.name] = max(wanted.get(entry.name, entry.ref), entry.ref)
        for names in self.all.values():
            assert names.everything() == wanted, names

    def deliver_all(self) -> None:
        for _ in range(1000):
            links = [link for link, queue in self.links.items() if queue]
            if not links:
                return
            for link in links:
                self.deliver_one(link)
        raise AssertionError("they go on for ever")


@pytest.mark.slow
def test_all_come_to_see_the_same() -> None:
    run_state_machine_as_test(
        Cluster, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@pytest.mark.campaign
def test_all_come_to_see_the_same_at_length() -> None:
    run_state_machine_as_test(
        Cluster, settings=settings(max_examples=1000, stateful_step_count=60, deadline=None)
    )
