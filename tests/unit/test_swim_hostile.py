"""Whatever a member is told, by whomever, it stays within its bounds and goes on."""

import random

import attrs
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

from tests.support.swim_world import AFTER, ALLOWED
from trio440.actors.cluster import (
    CODEC,
    Ack,
    Config,
    Gossip,
    Joined,
    Message,
    Nack,
    Node,
    Ping,
    PingReq,
    PushPull,
    Record,
    State,
    Superseded,
    Swim,
)
from trio440.actors.cluster.messages import MAX_ADDRESS_BYTES, MAX_REFUTATIONS
from trio440.wire.codec import INT64_MAX

ME = Node("me", 5)
TIGHT = Config(max_members=5, max_relays=3, max_replies=2, max_seeds=3, max_datagram_bytes=1280)

ADDRESSES = st.sampled_from(["me", *"abcdefgh", "x" * MAX_ADDRESS_BYTES])
LIVES = st.sampled_from([0, 4, 5, 6, INT64_MAX])
COUNTS = st.sampled_from([0, 0, 1, 2, MAX_REFUTATIONS])
NODES = st.builds(Node, ADDRESSES, LIVES)
RECORDS = st.builds(Record, NODES, st.sampled_from(State), COUNTS, st.just("") | ADDRESSES)
MANY = st.lists(RECORDS, max_size=8).map(tuple)
SEQS = st.integers(0, 3) | st.just(INT64_MAX)
TARGETS = st.just(ME) | NODES
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, NODES, TARGETS, SEQS, MANY),
    st.builds(PingReq, NODES, TARGETS, SEQS, MANY),
    st.builds(Gossip, NODES, MANY),
    st.builds(PushPull, NODES, st.booleans(), MANY),
)


class AnyInput(RuleBasedStateMachine):
    """One member that anything is said to, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.swim = Swim(ME, TIGHT, random.Random(0))
        self.states: dict[Node, str] = {}
        self.pings: list[Ping] = []
        self.drain()

    def drain(self) -> None:
        for event in self.swim.events():
            if not isinstance(event, Superseded):
                state = self.states.get(event.node, "unknown")
                assert isinstance(event, ALLOWED[state]), (state, event)
                self.states[event.node] = AFTER[type(event)]
        for to, message in self.swim.messages_to_send():
            assert to != "me"
            assert len(CODEC.encode(message)) <= TIGHT.max_datagram_bytes
            if isinstance(message, Ping):
                self.pings.append(message)

    @rule(seeds=st.lists(ADDRESSES, max_size=1))
    def join(self, seeds: list[str]) -> None:
        self.swim.join([seed for seed in seeds if seed in "abc"], self.now)
        self.drain()

    @rule(message=MESSAGES)
    def receive(self, message: Message) -> None:
        self.swim.receive(message, message.source.address, self.now)
        self.drain()

    @precondition(lambda self: self.pings)
    @rule(data=st.data(), is_ack=st.booleans(), records=MANY)
    def answer(self, data: st.DataObject, is_ack: bool, records: tuple[Record, ...]) -> None:
        ping = data.draw(st.sampled_from(self.pings[-4:]))
        source = data.draw(st.just(ping.target) | NODES)
        answer = (Ack if is_ack else Nack)(source, ping.seq, records)
        self.swim.receive(answer, answer.source.address, self.now)
        self.drain()

    @rule(turns=st.integers(1, 30))
    def work(self, turns: int) -> None:
        for _ in range(turns):
            deadline = self.swim.next_deadline()
            if deadline is None:
                return
            self.now = max(self.now, deadline)
            self.swim.advance(self.now)
            after = self.swim.next_deadline()
            assert after is None or after > self.now
            self.drain()

    @rule(microseconds=st.sampled_from([1, 1000, 700_000, 90_000_000_000]))
    def sleep(self, microseconds: int) -> None:
        self.now += microseconds

    @precondition(lambda self: len(self.states) > 4)
    @rule()
    def leave(self) -> None:
        self.swim.leave(self.now)
        self.drain()

    @invariant()
    def bounds_hold(self) -> None:
        local = self.swim._local
        assert len(local.members) <= TIGHT.max_members
        assert len(local.queue) <= TIGHT.max_members + 1
        assert len(self.swim._probing._relays) <= TIGHT.max_relays
        assert len(local.timers) <= 5 + TIGHT.max_members + TIGHT.max_relays
        assert len(local._suspicions) <= TIGHT.max_members
        for suspicion in local._suspicions.values():
            assert len(suspicion.accusers) <= TIGHT.suspicion_confirmations + 1
        assert 0 <= local.health.count <= TIGHT.max_health

    @invariant()
    def views_agree(self) -> None:
        live = {node for node, state in self.states.items() if state != "gone"}
        assert set(self.swim.live()) == live | {ME}
        ring = self.swim._local.ring
        assert sorted(ring._order) == sorted(node.address for node in live)


def test_a_member_stands_any_input() -> None:
    run_state_machine_as_test(
        AnyInput, settings=settings(max_examples=15, stateful_step_count=40, deadline=None)
    )


@pytest.mark.campaign
def test_a_member_stands_any_input_at_length() -> None:
    run_state_machine_as_test(
        AnyInput, settings=settings(max_examples=2000, stateful_step_count=60, deadline=None)
    )


def joined(config: Config) -> Swim:
    swim = Swim(ME, config, random.Random(0))
    swim.join([], 0)
    return swim


def test_a_flood_of_members_fills_the_table_and_no_more() -> None:
    swim = joined(Config(max_members=100))
    for i in range(1000):
        record = Record(Node(f"n{i}", 1), State.ALIVE, 0)
        swim.receive(Gossip(Node("a", 1), (record,)), "a", 0)
    statistics = swim.statistics()
    assert (statistics.known, statistics.queued) == (100, 100)
    assert statistics.members_refused == 900
    assert sum(isinstance(event, Joined) for event in swim.events()) == 100


def test_a_flood_of_questions_is_answered_at_a_bounded_rate() -> None:
    swim = joined(Config(max_replies=4))
    for i in range(50):
        swim.receive(PushPull(Node(f"n{i}", 1), wants_reply=True), f"n{i}", 10)
    assert len(swim.messages_to_send()) == 4
    assert swim.statistics().replies_refused == 46
    swim.receive(PushPull(Node("n60", 1), wants_reply=True), "n60", 1_000_000)
    assert len(swim.messages_to_send()) == 1


def test_a_flood_of_probes_for_others_is_answered_with_nacks() -> None:
    swim = joined(Config(max_relays=2))
    a, b = Node("a", 1), Node("b", 1)
    swim.receive(Gossip(a, (Record(b, State.ALIVE, 0),)), "a", 0)
    for seq in range(5):
        swim.receive(PingReq(a, b, seq), "a", 0)
    kinds = [type(message) for _, message in swim.messages_to_send()]
    assert kinds == [Ping, Ping, Nack, Nack, Nack]
    now = 0
    while now < 3_000_000:
        now = swim.next_deadline() or 0
        swim.advance(now)
    swim.messages_to_send()
    swim.receive(PingReq(a, b, 9), "a", now)
    assert [type(message) for _, message in swim.messages_to_send()] == [Ping]


@pytest.mark.parametrize("sender", ["b", "me"])
def test_a_message_in_the_name_of_another_is_dropped(sender: str) -> None:
    swim = joined(Config())
    source = Node("a" if sender == "b" else "me", 1)
    message = Ping(source, ME, 1, (Record(Node("c", 1), State.ALIVE, 0),))
    swim.receive(message, sender, 0)
    assert (swim.messages_to_send(), swim.events()) == ([], [])
    assert swim.statistics().strangers == 1


def test_nothing_is_heard_before_joining() -> None:
    swim = Swim(ME, Config(), random.Random(0))
    swim.receive(Ping(Node("a", 1), ME, 1), "a", 0)
    assert swim.messages_to_send() == []
    assert not swim.is_joined
    assert attrs.asdict(swim.statistics())["known"] == 0
