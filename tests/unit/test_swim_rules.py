"""SWIM's and Lifeguard's rules, one member at a time, by the section that states them."""

import random

import attrs
import pytest

from trio440.actors.cluster import (
    Ack,
    Back,
    Cleared,
    Config,
    Gossip,
    Joined,
    Left,
    Lost,
    Message,
    Nack,
    Node,
    Ping,
    PingReq,
    PushPull,
    Record,
    State,
    Superseded,
    Suspected,
    Swim,
)
from trio440.actors.cluster.messages import MAX_REFUTATIONS
from trio440.errors import InvalidParameter

MS = 1000
SECOND = 1_000_000
ME = Node("me", 5)
A, B, C, D, E = (Node(name, 1) for name in "abcde")


def alive(node: Node, refutations: int = 0) -> Record:
    return Record(node, State.ALIVE, refutations)


def suspect(node: Node, by: str, refutations: int = 0) -> Record:
    return Record(node, State.SUSPECT, refutations, by)


class Bench:
    """One member, its clock, and what came out of it."""

    def __init__(self, *others: Node, config: Config | None = None, acks: bool = False) -> None:
        self.now = 0
        self.acks = acks
        """Whether the others answer pings."""
        self.swim = Swim(ME, Config() if config is None else config, random.Random(3))
        self.swim.join([], 0)
        self.hear(*map(alive, others))
        self.swim.events()

    def hear(self, *records: Record, source: Node = A) -> None:
        self.give(Gossip(source, records))

    def give(self, message: Message) -> None:
        self.swim.receive(message, message.source.address, self.now)

    def pass_time(self, microseconds: int) -> list[tuple[str, Message]]:
        """Let time pass, and return all that leaves meanwhile."""
        end, sent = self.now + microseconds, self.swim.messages_to_send()
        while (at := self.swim.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            sent += self.wake()
        self.now = end
        return sent

    def wake(self) -> list[tuple[str, Message]]:
        self.swim.advance(self.now)
        sent = self.swim.messages_to_send()
        for _, message in sent:
            if isinstance(message, Ping) and self.acks:
                self.give(Ack(message.target, message.seq))
        return sent

    def next(self, kind: type[Message], within: int = 3 * SECOND) -> tuple[str, Message]:
        """Return the first message of a kind that leaves from now on, at its time."""
        end = self.now + within
        while (at := self.swim.next_deadline()) is not None and at <= end:
            self.now = at
            for to, message in self.wake():
                if isinstance(message, kind):
                    return to, message
        raise AssertionError(f"no {kind.__name__}")

    def answers(self, message: Message) -> list[tuple[str, Message]]:
        self.swim.messages_to_send()
        self.give(message)
        return self.swim.messages_to_send()

    def state_of(self, node: Node) -> State:
        return next(one.state for one in self.swim.records() if one.node == node)

    @property
    def own(self) -> Record:
        return next(one for one in self.swim.records() if one.node == ME)


# SWIM, section 3.1: the failure detector


def test_swim_3_1_a_ping_is_acked_with_its_number() -> None:
    bench = Bench(A)
    [(to, ack)] = bench.answers(Ping(A, ME, 77))
    assert to == "a"
    assert isinstance(ack, Ack)
    assert (ack.source, ack.seq) == (ME, 77)


def test_swim_3_1_without_an_ack_helpers_are_asked_after_the_timeout() -> None:
    bench = Bench(A, B, C, D, E)
    target, ping = bench.next(Ping)
    assert isinstance(ping, Ping)
    begun = bench.now
    requests = [(to, m) for to, m in bench.pass_time(500 * MS) if isinstance(m, PingReq)]
    assert len({to for to, _ in requests}) == 3
    assert target not in {to for to, _ in requests}
    assert {(m.target, m.seq) for _, m in requests} == {(ping.target, ping.seq)}
    assert bench.state_of(ping.target) is State.ALIVE
    bench.pass_time(begun + SECOND - bench.now)
    assert bench.swim.events() == [Suspected(ping.target)]


@pytest.mark.parametrize("through_helper", [False, True])
def test_swim_3_1_an_ack_in_time_ends_the_probe(through_helper: bool) -> None:
    bench = Bench(A, B, C)
    _, ping = bench.next(Ping)
    assert isinstance(ping, Ping)
    helper, _ = bench.next(PingReq)
    bench.pass_time(400 * MS)
    bench.give(Ack(Node(helper, 1) if through_helper else ping.target, ping.seq))
    bench.pass_time(300 * MS)
    assert bench.swim.events() == []
    assert bench.swim.statistics().probes_failed == 0


def test_swim_3_1_an_ack_of_anybody_else_or_of_another_probe_ends_nothing() -> None:
    bench = Bench(A, B)
    _, ping = bench.next(Ping)
    assert isinstance(ping, Ping)
    bench.give(Ack(C, ping.seq))
    bench.give(Ack(ping.target, ping.seq + 1))
    bench.give(Ack(attrs.evolve(ping.target, incarnation=9), ping.seq))
    bench.pass_time(SECOND)
    assert bench.swim.events() == [Suspected(ping.target)]


def test_swim_3_1_a_helper_pings_and_passes_the_ack_on_under_the_first_number() -> None:
    bench = Bench(A, B)
    [(to, ping)] = bench.answers(PingReq(A, B, 9))
    assert to == "b"
    assert isinstance(ping, Ping)
    assert ping.target == B
    assert ping.seq != 9
    assert bench.answers(Ack(A, ping.seq)) == [], "the target itself has to answer"
    [(to, ack)] = bench.answers(Ack(B, ping.seq))
    assert to == "a"
    assert isinstance(ack, Ack)
    assert (ack.source, ack.seq) == (ME, 9)
    assert bench.answers(Ack(B, ping.seq)) == [], "once"


# SWIM, section 4.1: dissemination by piggy-backing


def test_swim_4_1_news_ride_on_acks_a_bounded_number_of_times() -> None:
    bench = Bench(A, acks=True)
    bench.pass_time(10 * SECOND)
    bench.hear(alive(C))
    acks = [bench.answers(Ping(A, ME, seq))[0][1].records for seq in range(30)]
    assert 3 <= sum(alive(C) in records for records in acks) <= 6
    assert acks[0] == (alive(C),)
    assert acks[-1] == ()


# SWIM, section 4.2: suspicion


def test_swim_4_2_a_suspect_stays_a_member_until_its_time_is_over() -> None:
    bench = Bench(A, B)
    bench.hear(suspect(B, "a"))
    assert B in bench.swim.live()
    bench.pass_time(4900 * MS)
    assert Lost(B) not in bench.swim.events()
    bench.pass_time(30 * SECOND)
    assert Lost(B) in bench.swim.events()
    assert B not in bench.swim.live()


def test_swim_4_2_a_member_refutes_with_a_greater_number_and_outdoes_any_claim() -> None:
    bench = Bench(A)
    bench.hear(suspect(ME, "a"))
    assert bench.own == alive(ME, 1)
    bench.hear(Record(ME, State.LOST, 7))
    assert bench.own == alive(ME, 8)
    bench.hear(Record(ME, State.LEFT, 8))
    assert bench.own == alive(ME, 9)
    assert bench.swim.statistics().refutations == 3
    _, gossip = bench.next(Gossip)
    assert alive(ME, 9) in gossip.records


def test_swim_4_2_a_claim_that_is_outdone_already_is_answered_but_not_counted() -> None:
    bench = Bench(A, acks=True)
    bench.hear(suspect(ME, "a", 4))
    bench.pass_time(20 * SECOND)
    bench.hear(suspect(ME, "a", 2))
    assert bench.own == alive(ME, 5)
    assert alive(ME, 5) in bench.next(Gossip)[1].records


def test_swim_4_2_a_refutation_clears_a_suspect() -> None:
    bench = Bench(A, B, acks=True)
    bench.hear(suspect(B, "a"))
    bench.hear(alive(B))
    assert bench.swim.events() == [Suspected(B)]
    bench.hear(alive(B, 1))
    assert bench.swim.events() == [Cleared(B)]
    bench.pass_time(40 * SECOND)
    assert bench.swim.events() == []


def test_a_lost_member_that_refutes_is_back() -> None:
    bench = Bench(A, B)
    bench.hear(Record(B, State.LOST, 0))
    bench.hear(alive(B))
    assert bench.swim.events() == [Lost(B)]
    bench.hear(alive(B, 1))
    assert bench.swim.events() == [Back(B)]
    bench.hear(Record(B, State.LEFT, 1))
    bench.hear(Record(B, State.LOST, 2))
    assert bench.swim.events() == [Left(B)]


# Lifeguard, IV-A: local health


def test_lifeguard_iv_a_a_member_in_trouble_probes_more_patiently() -> None:
    bench = Bench(A)
    for refutations in range(3):
        bench.hear(suspect(ME, "a", refutations))
    assert bench.swim.statistics().health == 3
    bench.next(Ping)
    begun = bench.now
    bench.hear(alive(B))
    bench.next(PingReq, within=10 * SECOND)
    assert bench.now - begun == 4 * 500 * MS
    assert bench.swim.next_deadline() is not None


def test_lifeguard_iv_a_a_good_probe_heals_a_failed_one_hurts_a_missed_nack_more() -> None:
    for nacks, health in ((True, 1), (False, 2)):
        bench = Bench(A, B)
        _, ping = bench.next(Ping)
        assert isinstance(ping, Ping)
        helper, _ = bench.next(PingReq)
        if nacks:
            bench.give(Nack(Node(helper, 1), ping.seq))
        sent = bench.pass_time(500 * MS)
        assert bench.swim.statistics().health == health
        assert bench.swim.statistics().nacks_missed == (0 if nacks else 1)
        [ping] = [message for _, message in sent if isinstance(message, Ping)]
        bench.give(Ack(ping.target, ping.seq))
        assert bench.swim.statistics().health == health - 1


def test_lifeguard_iv_a_a_helper_says_nack_after_four_fifths_of_the_timeout() -> None:
    bench = Bench(A, B)
    bench.answers(PingReq(A, B, 9))
    begun = bench.now
    to, nack = bench.next(Nack)
    assert isinstance(nack, Nack)
    assert (to, nack.seq, bench.now - begun) == ("a", 9, 400 * MS)


def test_a_helper_pings_no_stranger() -> None:
    bench = Bench(A)
    [(to, nack)] = bench.answers(PingReq(A, Node("victim", 1), 9))
    assert to == "a"
    assert isinstance(nack, Nack)
    assert bench.swim.statistics().relays_refused == 1


# Lifeguard, IV-B: suspicions that shorten


def lost_after(*accusers: str) -> float:
    bench = Bench(A, B, C, D, E, config=Config(probe_interval_us=100 * SECOND), acks=True)
    for accuser in accusers:
        bench.hear(suspect(E, accuser))
    while E in bench.swim.live():
        bench.pass_time(SECOND)
    return bench.now / SECOND


def test_lifeguard_iv_b_independent_accusers_shorten_a_suspicion() -> None:
    assert lost_after("a") == 3000
    assert lost_after("a", "b") == 1750
    assert lost_after("a", "b", "c", "d") == 500


def test_lifeguard_iv_b_the_same_one_strangers_and_the_suspect_do_not() -> None:
    assert lost_after("a", "a", "stranger", "e", "") == 3000


def test_lifeguard_iv_b_the_word_of_a_new_accuser_is_passed_on() -> None:
    bench = Bench(A, B, C, D, E)
    bench.hear(suspect(E, "a"))
    bench.pass_time(3 * SECOND)
    bench.hear(suspect(E, "b"))
    assert suspect(E, "b") in bench.answers(Ping(A, ME, 1))[0][1].records


def test_a_confirmation_that_ends_a_suspicion_at_once_looks_like_no_pause() -> None:
    bench = Bench(A, B, C, D)
    bench.hear(suspect(D, "a"))
    bench.pass_time(12 * SECOND)
    pauses = bench.swim.statistics().pauses
    bench.hear(suspect(D, "b"), suspect(D, "c"))
    bench.pass_time(1)
    assert Lost(D) in bench.swim.events()
    assert bench.swim.statistics().pauses == pauses == 0


# Lifeguard, IV-C: the buddy system


def test_lifeguard_iv_c_a_suspect_hears_of_it_with_the_next_message() -> None:
    bench = Bench(A, B)
    bench.hear(suspect(B, "a"))
    bench.pass_time(4 * SECOND)
    assert bench.answers(Ping(B, ME, 1))[0][1].records[0] == suspect(B, "a")
    bench.pass_time(60 * SECOND)
    assert bench.state_of(B) is State.LOST
    assert bench.answers(Ping(B, ME, 2))[0][1].records[0] == Record(B, State.LOST, 0)


# Lives of a node


def test_a_ping_for_an_earlier_life_gets_no_ack() -> None:
    bench = Bench(A)
    [(to, answer)] = bench.answers(Ping(A, Node("me", 4), 1))
    assert (to, answer) == ("a", PushPull(ME, wants_reply=True, records=(alive(ME),)))
    assert bench.answers(Ping(A, Node("other", 5), 1)) == []


def test_a_later_life_ends_the_earlier_one() -> None:
    bench = Bench(A, B)
    later = Node("b", 2)
    bench.hear(alive(later))
    assert bench.swim.events() == [Lost(B), Joined(later)]
    bench.hear(alive(B, 40), Record(B, State.LOST, 50))
    assert bench.swim.events() == []
    bench.hear(Record(Node("b", 3), State.LOST, 0))
    assert bench.swim.events() == [Lost(later), Joined(Node("b", 3)), Lost(Node("b", 3))]


def test_a_member_learns_once_that_a_later_life_has_its_address() -> None:
    bench = Bench(A)
    bench.hear(alive(Node("me", 6)), alive(Node("me", 7)))
    assert bench.swim.events() == [Superseded(Node("me", 6))]


def test_what_cannot_be_outdone_ends_this_life() -> None:
    bench = Bench(A)
    bench.hear(suspect(ME, "a", MAX_REFUTATIONS))
    assert bench.swim.events() == [Superseded(ME)]
    assert bench.own == alive(ME)


# Joining and leaving


def test_seeds_are_asked_again_ever_more_slowly() -> None:
    swim = Swim(ME, Config(), random.Random(0))
    swim.join(["s", "me"], 0)
    assert not swim.is_joined
    asked, now = [], 0
    while now < 60 * SECOND:
        asked += [now for to, _ in swim.messages_to_send() if to == "s"]
        now = swim.next_deadline() or 0
        swim.advance(now)
    assert asked[:4] == [0, SECOND, 3 * SECOND, 7 * SECOND]
    assert len(asked) < 20
    swim.receive(
        PushPull(Node("s", 1), wants_reply=False, records=(alive(Node("s", 1)),)), "s", now
    )
    assert swim.is_joined


def test_a_push_pull_is_answered_in_kind_and_once() -> None:
    bench = Bench(A, B)
    [(to, answer)] = bench.answers(PushPull(C, wants_reply=True, records=(alive(C),)))
    assert isinstance(answer, PushPull)
    assert (to, answer.wants_reply) == ("c", False)
    assert set(answer.records) == {alive(ME), alive(A), alive(B), alive(C)}
    assert bench.answers(PushPull(C, wants_reply=False)) == []


def test_a_loss_told_in_full_is_only_a_suspicion() -> None:
    bench = Bench(A, B)
    bench.give(PushPull(A, wants_reply=False, records=(Record(B, State.LOST, 0),)))
    assert bench.swim.events() == [Suspected(B)]
    bench.hear(Record(B, State.LOST, 0))
    assert bench.swim.events() == [Lost(B)]


def test_who_pings_and_is_not_known_is_asked() -> None:
    bench = Bench(A)
    [(_, ack), (to, question)] = bench.answers(Ping(D, ME, 3))
    assert isinstance(ack, Ack)
    assert ack.records == (), "no gossip for strangers"
    assert (to, question) == ("d", PushPull(ME, wants_reply=True, records=(alive(ME),)))


def test_leaving_alone_takes_no_time() -> None:
    bench = Bench()
    bench.swim.leave(0)
    assert bench.swim.has_left
    assert bench.swim.next_deadline() is None
    never = Swim(ME, Config(), random.Random(0))
    never.leave(0)
    assert never.has_left
    never.join(["a"], 0)
    assert never.messages_to_send() == []


def test_one_who_leaves_still_acks_and_probes_nobody() -> None:
    bench = Bench(A, B)
    bench.next(Ping)
    bench.swim.leave(bench.now)
    [(_, ack)] = bench.answers(Ping(A, ME, 1))
    assert Record(ME, State.LEFT, 0) in ack.records
    bench.hear(suspect(ME, "a"), suspect(B, "a"), suspect(B, "b"))
    sent = bench.pass_time(60 * SECOND)
    assert {type(message) for _, message in sent} == {Gossip}
    assert bench.swim.has_left
    assert bench.answers(Ping(A, ME, 2)) == []


# Pauses


def test_a_pause_does_not_count_against_a_suspect() -> None:
    bench = Bench(A, B, C, acks=True)
    bench.hear(suspect(B, "a"))
    bench.pass_time(2 * SECOND)
    left = 28 * SECOND
    bench.now += 300 * SECOND
    bench.hear(suspect(C, "a"))
    bench.wake()
    assert Lost(B) not in bench.swim.events()
    assert bench.swim.statistics().pauses == 1
    bench.pass_time(left + SECOND)
    assert bench.swim.events() == [Lost(B)]
    bench.pass_time(SECOND)
    assert bench.swim.events() == [Lost(C)], "nor does it delay what came later"


# Arguments


def test_seeds_out_of_range_are_refused() -> None:
    swim = Swim(ME, Config(max_seeds=2), random.Random(0))
    with pytest.raises(InvalidParameter, match="seeds must be at most 2 addresses, not 3"):
        swim.join(["a", "b", "c"], 0)
    with pytest.raises(InvalidParameter, match="seeds must be of 1 to 255 bytes each"):
        swim.join([""], 0)
    assert swim.next_deadline() is None


def test_a_member_cut_off_alone_has_no_losses_to_tell() -> None:
    """What it lost comes in a full exchange, which is doubted, and not as news."""
    bench = Bench(A, B)
    bench.pass_time(120 * SECOND)
    assert bench.swim.live() == (ME,)
    assert bench.swim.statistics().queued == 0
    [(_, ack)] = bench.answers(Ping(A, ME, 7))
    assert isinstance(ack, Ack)
    assert ack.records == (Record(A, State.LOST, 0),), "so that it can refute that"


def test_who_is_sought_is_asked_four_times_with_one_record_each() -> None:
    bench = Bench(A)
    bench.pass_time(3 * SECOND)
    bench.swim.seek("x", bench.now)
    bench.swim.seek("x", bench.now)
    bench.swim.seek("me", bench.now)
    begun = bench.now
    sent: list[tuple[int, Message]] = []
    while bench.now < begun + 60 * SECOND:
        new = [m for to, m in bench.pass_time(SECOND) if to == "x"]
        sent += [(bench.now - begun, m) for m in new]
    asked = PushPull(ME, True, (bench.own,))
    assert [(at // SECOND, m) for at, m in sent] == [(1, asked), (1, asked), (3, asked), (7, asked)]
    bench.swim.seek("x", bench.now)
    assert len(bench.swim.messages_to_send()) == 1, "it may be sought again later"


def test_who_is_sought_and_found_is_asked_no_more() -> None:
    bench = Bench(A)
    bench.swim.seek("b", bench.now)
    bench.hear(alive(B))
    sent = [m for to, m in bench.pass_time(20 * SECOND) if to == "b" and isinstance(m, PushPull)]
    assert [m for m in sent if m.wants_reply and len(m.records) == 1] == sent[:1]


def test_so_many_are_sought_at_a_time_and_none_before_or_after() -> None:
    swim = Swim(ME, Config(max_seeds=3), random.Random(1))
    swim.seek("early", 0)
    assert swim.messages_to_send() == []
    swim.join([], 0)
    for number in range(9):
        swim.seek(f"x{number}", 0)
    assert [to for to, _ in swim.messages_to_send()] == ["x0", "x1", "x2"]
    swim.leave(0)
    swim.seek("late", 0)
    assert swim.messages_to_send() == []
