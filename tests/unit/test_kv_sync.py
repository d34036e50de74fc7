"""Who is told what and when, at level A: messages are lost, actors begin anew, servers are away."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kv_replicas import CODEC, START_MS, Store
from trio440.actors.ref import Ref
from trio440.errors import BadMessage
from trio440.kv.hlc import HybridClock, pack
from trio440.kv.operations import Delete, Put
from trio440.kv.peers import GAP_US
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.sync import Replication, gateway
from trio440.kv.sync_messages import Listing, ServerInfo, Sync

SECOND = 1_000_000


def refs(*servers: ServerInfo) -> list[Ref[Any]]:
    return [server.ref(counter) for server in servers for counter in server.counters]


def store_of(*counts: int, **options: Any) -> tuple[Store, list[Ref[Any]]]:
    """Servers with so many actors each, that have met."""
    store = Store(**options)
    actors = refs(*[store.add_server(count) for count in counts])
    store.run(40)
    return store, actors


def fill(store: Store, ref: Ref[Any], count: int, prefix: bytes = b"filler/") -> None:
    store.do(ref, *(Put(prefix + b"%06d" % n, b"v" * 10) for n in range(count)))


@pytest.mark.parametrize("count", [2, 4])
def test_siblings_see_a_put_within_half_a_second(count: int) -> None:
    store, actors = store_of(count)
    for number in range(20):
        store.put(actors[number % count], b"k%d" % number, b"v")
    store.run(0.5)
    assert [len(store.all(ref)) for ref in actors] == [20] * count


@pytest.mark.parametrize("counts", [(1, 1), (4, 4), (1, 1, 1, 1), (4, 4, 4, 4), (1, 4)])
def test_other_servers_see_a_put_within_two_seconds(counts: Sequence[int]) -> None:
    store, actors = store_of(*counts, latency_us=250_000)
    for number, ref in enumerate(actors):
        store.put(ref, b"k%d" % number, b"v")
    store.run(0.875)  # to the gateway, over, and to the siblings: 125 + 125 + 250 + 125 ms
    assert [len(store.all(ref)) for ref in actors] == [len(actors)] * len(actors)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(4,), (4, 4)])
def test_nobody_is_told_more_than_ten_times_in_any_second(counts: Sequence[int]) -> None:
    """From the first moment on, while every actor takes a put in each 10 ms."""
    store = Store()
    actors = refs(*[store.add_server(count) for count in counts])
    for step in range(300):
        for number, ref in enumerate(actors):
            store.put(ref, b"k%d/%d" % (number, step), b"v")
        store.run(0.01)
    store.run(2)
    assert store.most_in_a_second() <= 10
    assert store.is_equal()


def test_a_sync_is_not_redundant() -> None:
    """After 1000 keys one more costs what the first one did."""
    store, actors = store_of(4, 4)
    began = store.now_us
    store.put(actors[0], b"first", b"v")
    store.run(8)
    first = store.bytes_since(began)
    fill(store, actors[1], 1000)
    store.run(30)
    began = store.now_us
    store.put(actors[0], b"other", b"v")
    store.run(8)
    assert store.bytes_since(began) <= 2 * first


def test_a_put_is_sent_once_to_each_server_and_passed_on_there() -> None:
    received = {}
    for count in (1, 4):
        store, actors = store_of(4, count)
        began, there = store.now_us, store.servers[1].address
        fill(store, actors[0], 300)
        store.run(8)
        received[count] = sum(
            size
            for when, sender, to, size in store.sent
            if when >= began and to.address == there != sender.address
        )
        assert store.is_equal()
    assert received[4] <= 1.1 * received[1]
    assert received[1] < 300 * 60


def test_only_the_server_that_took_a_write_tells_other_servers() -> None:
    store, actors = store_of(4, 4, 4, 4)
    began, home = store.now_us, store.servers[0].address
    fill(store, actors[0], 300)
    store.run(0.9)
    assert store.is_equal()
    crossing = {True: 0, False: 0}
    for when, sender, to, size in store.sent:
        if when >= began and sender.address != to.address:
            crossing[sender.address == home] += size
    assert crossing[True] > 3 * 300 * 20
    assert crossing[False] < 1500


def test_news_are_relayed_once() -> None:
    """A put in a server of 8 goes to 7, and not from each of these to 6 others."""
    store, actors = store_of(8)
    before = len(store.sent)
    store.put(actors[0], b"k", b"v")
    store.run(0.4)
    assert len(store.sent) - before == 7


def test_a_doubled_tick_says_nothing_twice() -> None:
    store, actors = store_of(2)
    store.put(actors[0], b"k", b"v")
    before = len(store.sent)
    for _ in range(5):
        store.run(0)
        assert store.actors[actors[0]].replication.messages_to_send(store.now_us) == []
    assert len(store.sent) == before


def test_all_who_are_owed_something_are_told_in_one_turn() -> None:
    """An actor has few turns a second: those at different times would wait for each other's."""
    me, other = ServerInfo("10.0.0.1:7000", 1, (1, 2)), ServerInfo("10.0.0.2:7000", 1, (1,))
    replica = Replica(me.ref(gateway(me, other.address).counter), HybridClock(), ReplicaLimits())
    (sibling,) = (me.ref(counter) for counter in me.counters if me.ref(counter) != replica.ref)
    replication = Replication(replica, random.Random(1))
    replication.meet(me, [other], 0)
    replication.messages_to_send(0)

    def put(now_us: int) -> set[Ref[Any]]:
        _, written = replica.execute(0, [Put(b"k", b"v")], START_MS)
        replication.written(written)
        return {ref for ref, _ in replication.messages_to_send(now_us)}

    assert put(900_000) == {sibling, other.ref(1)}
    question = Sync(
        ((sibling.address, sibling.counter, 1),), 0, root=replica.records.tree.digest(0)
    )
    replication.receive(question, 1_050_000, START_MS)
    assert [ref for ref, _ in replication.messages_to_send(1_050_000)] == [sibling]
    assert put(1_100_000) == {other.ref(1)}
    assert put(1_120_000) == set()
    due_us = replication.next_deadline()
    assert due_us == 1_100_000 + GAP_US
    assert {ref for ref, _ in replication.messages_to_send(due_us)} == {sibling, other.ref(1)}


def test_an_idle_store_says_little() -> None:
    store, _ = store_of(4, 4)
    before, began = len(store.sent), store.now_us
    store.run(60)
    assert len(store.sent) - before < 140
    assert store.bytes_since(began) < 25_000


# Joining


def test_a_new_server_gets_what_there_is_from_one_of_the_others() -> None:
    store, actors = store_of(2, 1, 1)
    fill(store, actors[0], 2000)
    store.run(30)
    began = store.now_us
    new = store.add_server(1)
    store.run(2)
    (ref,) = refs(new)
    assert store.actors[ref].replica.records.tree.count(0) == 2000
    store.run(30)
    state = 2000 * 45
    assert store.bytes_since(began, to=new.address) < 1.5 * state


def test_who_is_filled_by_several_at_once_is_told_little_when_it_has_everything() -> None:
    """Each owes it what was missing when they compared, and what it has of that by now is void."""
    store, actors = store_of(3, limits=ReplicaLimits(sync_bytes=1_500))
    store.do(actors[0], *(Put(b"%06d" % n, b"v" * 500) for n in range(400)))
    store.run(10)
    store.restart(actors[2])
    while not store.is_equal():
        store.run(0.25)
    store.run(10)  # by then they have compared
    began = store.now_us
    store.run(20)
    assert store.bytes_since(began) <= 5_000
    assert store.is_equal()


def test_a_write_behind_a_question_is_told_to_who_was_the_same_before() -> None:
    """It is owed when the answer comes, for the question was the first message in 125 ms."""
    store, _ = store_of(1, 1, latency_us=50_000)
    before = len(store.sent)
    while len(store.sent) == before:
        store.run(0.01)
    _, asker, other, _ = store.sent[before]
    store.put(asker, b"k", b"v")
    store.run(0.1)
    assert len(store.sent) == before + 2  # the question and its answer
    store.run(0.1)
    assert store.get(other, b"k") == b"v"


def test_a_put_while_two_servers_meet_is_not_lost() -> None:
    """Nor late: not one that was taken before the others had heard of the new server."""
    for pause in range(0, 1000, 90):
        store, actors = store_of(1, 2, 1)
        store.add_server(2)
        for step in range(10):
            if step * 100 == pause - pause % 100:
                store.run(pause % 100 / 1000)
                for number, ref in enumerate(actors):
                    store.put(ref, b"old%d" % number, b"v")
                for number, ref in enumerate(refs(store.servers[3])):
                    store.put(ref, b"new%d" % number, b"v")
            store.run(0.1)
        store.run(2 - (1000 - pause) / 1000)
        assert {len(store.all(ref)) for ref in store.actors} == {6}, pause


def test_four_servers_join_one_by_one() -> None:
    store = Store(latency_us=250_000)
    for joined in range(1, 5):
        store.add_server(4)
        for number, server in enumerate(store.servers):
            store.put(refs(server)[number % 4], b"%d/%d" % (joined, number), b"v")
        store.run(2)
        expected = joined * (joined + 1) // 2
        assert {len(store.all(ref)) for ref in store.actors} == {expected}


def test_servers_hear_of_each_other_from_the_one_that_both_know() -> None:
    store = Store()
    first = store.add_server(2)
    for _ in range(3):
        store.add_server(2, knows=[first])
    store.run(4)
    for number, ref in enumerate(store.actors):
        store.put(ref, b"%d" % number, b"v")
    store.run(2)
    assert {len(store.all(ref)) for ref in store.actors} == {8}


def test_a_later_life_takes_the_place_of_an_earlier_one() -> None:
    store, actors = store_of(1, 1)
    replication = store.actors[actors[0]].replication
    old = store.servers[1]
    new = ServerInfo(old.address, old.incarnation + 1, (5,))
    for server in (new, old):
        hello = Sync(((old.address, server.counters[0], 1),), 0, servers=(server,))
        replication.receive(hello, store.now_us, START_MS)
        assert replication.servers == (new,)
    replication.written([b"k"])
    assert [to for to, _ in replication.messages_to_send(store.now_us)] == [new.ref(5)]


# Healing


@pytest.mark.parametrize("counts", [(4,), (2, 2), (1, 1, 1)])
def test_lost_messages_are_made_good(counts: Sequence[int]) -> None:
    store, actors = store_of(*counts)
    rng = random.Random(3)
    store.lost = lambda _sender, _to: rng.random() < 0.5
    for step in range(100):
        store.put(rng.choice(actors), b"%d" % rng.randrange(40), b"%d" % step)
        store.run(0.05)
    store.lost = lambda _sender, _to: False
    store.run(40)
    assert store.is_equal()
    assert len({tuple(sorted(store.all(ref).items())) for ref in actors}) == 1


def away(store: Store, address: str) -> None:
    store.lost = lambda sender, to: (sender.address == address) != (to.address == address)


def heal(store: Store) -> None:
    store.lost = lambda _sender, _to: False


def test_an_hour_away_costs_what_differs() -> None:
    store, actors = store_of(2, 2)
    fill(store, actors[0], 3000)
    store.run(60)
    assert store.is_equal()
    away(store, store.servers[1].address)
    before = len(store.sent)
    for n in range(60):
        store.put(actors[0], b"here/%d" % n, b"v" * 10)
        store.put(actors[3], b"there/%d" % n, b"v" * 10)
        store.run(60)
    lost = [
        size
        for _, sender, to, size in store.sent[before:]
        if sender.address != to.address and size > 250
    ]
    assert len(lost) < 10, "who is away is told nothing but the question"
    began = store.now_us
    heal(store)
    store.run(30)
    assert store.is_equal()
    crossing = sum(
        size
        for when, sender, to, size in store.sent
        if when >= began and sender.address != to.address
    )
    differing, state = 120 * 40, 3120 * 40
    assert crossing < 10 * differing < state, crossing


def test_one_difference_among_many_costs_little() -> None:
    store, actors = store_of(1, 1)
    fill(store, actors[0], 9000)
    store.run(60)
    assert store.is_equal()
    store.lost = lambda _sender, _to: True
    store.put(actors[1], b"one", b"v")
    store.run(0.5)
    heal(store)
    began = store.now_us
    store.run(30)
    assert store.is_equal()
    assert store.bytes_since(began) < 8000


def test_an_actor_that_begins_anew_gets_everything_from_its_siblings() -> None:
    store, actors = store_of(4, 2)
    fill(store, actors[1], 500)
    store.run(30)
    for ref in actors[:4]:
        store.restart(ref)
        began = store.now_us
        store.put(actors[4], b"meanwhile/%d" % ref.counter, b"v")
        store.run(30)
        assert store.is_equal()
        crossing = store.bytes_since(began, to=store.servers[1].address)
        assert crossing < 60_000, "its server does not send everything again"


def test_a_stamp_of_an_earlier_life_is_not_given_again() -> None:
    store, actors = store_of(1, 1)
    store.offsets[actors[0].address] = 60_000
    store.put(actors[0], b"k", b"old")
    store.run(2)
    store.offsets[actors[0].address] = 0
    store.restart(actors[0])
    store.put(actors[0], b"k", b"new")
    store.run(20)
    assert [store.get(ref, b"k") for ref in actors] == [b"new"] * 2


def test_two_that_cannot_meet_hear_from_the_third() -> None:
    store, actors = store_of(1, 1, 1)
    blocked = {actors[0].address, actors[1].address}
    store.lost = lambda sender, to: {sender.address, to.address} == blocked
    store.put(actors[0], b"k", b"v")
    store.run(20)
    assert store.get(actors[1], b"k") == b"v"


def test_differences_that_cannot_be_settled_are_looked_at_ever_more_seldom() -> None:
    """One server is full and the other one is not."""
    store, actors = store_of(1, 1, limits=ReplicaLimits(keys=100))
    store.actors[actors[1]].replica.limits = ReplicaLimits(keys=8)  # type: ignore[misc]
    fill(store, actors[0], 50)
    store.run(600)
    began = store.now_us
    store.run(600)
    assert not store.is_equal()
    assert store.bytes_since(began) < 60_000
    assert store.actors[actors[1]].replica.statistics().refused_full > 0


# Clocks


def test_a_server_whose_clock_is_behind_wins_with_what_it_writes_later() -> None:
    store, actors = store_of(1, 1)
    store.offsets[actors[1].address] = -300_000
    store.put(actors[0], b"k", b"first")
    store.run(2)
    store.put(actors[1], b"k", b"second")
    store.run(2)
    assert [store.get(ref, b"k") for ref in actors] == [b"second"] * 2


def test_a_server_whose_clock_is_far_ahead_is_not_believed() -> None:
    store, actors = store_of(1, 1)
    store.offsets[actors[1].address] = 700_000
    store.put(actors[1], b"k", b"from the future")
    store.run(20)
    assert store.get(actors[0], b"k") is None
    assert store.actors[actors[0]].clock.refused > 0
    store.put(actors[0], b"k", b"now")
    store.run(20)
    assert store.get(actors[0], b"k") == b"now"


# Deleting


def test_a_delete_reaches_everybody_and_nothing_comes_back() -> None:
    store, actors = store_of(2, 2)
    store.put(actors[0], b"k", b"v")
    store.run(2)
    store.delete(actors[3], b"k")
    store.run(2)
    assert [store.get(ref, b"k") for ref in actors] == [None] * 4
    assert store.is_equal()


def test_a_delete_at_once_beats_the_put_that_is_on_its_way() -> None:
    store, actors = store_of(2, 1)
    store.put(actors[0], b"k", b"v")
    store.run(0.001)
    store.do(actors[1], Delete(b"k"))
    store.run(2)
    assert [store.get(ref, b"k") for ref in actors] == [None] * 3


def test_who_was_away_for_longer_than_the_grace_period_brings_nothing_back() -> None:
    store, actors = store_of(1, 1, limits=ReplicaLimits(grace_seconds=60))
    store.put(actors[0], b"gone", b"v")
    store.put(actors[0], b"stays", b"v")
    store.run(20)
    away(store, actors[1].address)
    store.delete(actors[0], b"gone")
    store.run(200)
    assert len(store.actors[actors[0]].replica.records) == 2
    store.do(actors[0], Put(b"tick", b""))  # who is asked sweeps
    assert len(store.actors[actors[0]].replica.records) == 2
    assert store.get(actors[1], b"gone") == b"v"
    store.put(actors[1], b"new", b"v")
    heal(store)
    store.run(60)
    assert [sorted(store.all(ref)) for ref in actors] == [[b"new", b"stays", b"tick"]] * 2
    assert store.actors[actors[0]].replica.statistics().refused_late == 1
    store.run(120)
    store.do(actors[1], Put(b"tick", b"2"))
    store.run(60)
    assert store.is_equal()


def test_what_is_late_for_one_goes_from_all_though_new_servers_would_take_it_again() -> None:
    """Who refuses it does not meet who holds it; those between have not forgotten anything yet."""
    store, actors = store_of(1, 1, limits=ReplicaLimits(grace_seconds=60))
    refuses, holds = actors
    away(store, holds.address)
    store.put(holds, b"late", b"v")
    store.delete(refuses, b"other")
    store.run(100)
    store.get(refuses, b"other")  # who is asked sweeps
    store.lost = lambda *ends: {end.address for end in ends} == {refuses.address, holds.address}
    between = refs(store.add_server(2), store.add_server(1))
    for _ in range(40):
        store.run(1)
        for ref in store.actors:
            store.get(ref, b"other")
    assert [store.all(ref) for ref in (*actors, *between)] == [{}] * 5
    assert store.is_equal()


def test_a_time_to_live_ends_everywhere() -> None:
    store, actors = store_of(2, 2)
    store.put(actors[0], b"k", b"v", ttl_ms=5000)
    store.run(2)
    assert [store.get(ref, b"k") for ref in actors] == [b"v"] * 4
    store.run(3)
    assert [store.get(ref, b"k") for ref in actors] == [None] * 4
    assert store.is_equal()


# Messages that are none


GOOD = Sync((("a", 1, 1),), 0, (b"k",), (b"v",), (pack(5),), (0,))


@pytest.mark.parametrize(
    "changes",
    [
        {"actors": ()},
        {"writers": (1,)},
        {"writers": (-1,)},
        {"stamps": ()},
        {"values": ()},
        {"expiries": (1, 2)},
        {"keys": (b"",)},
        {"stamps": (-1,)},
        {"nodes": (0,)},
        {"nodes": (40_000,), "digests": ((0,) * 32,)},
        {"nodes": (0,), "digests": ((0,) * 31,)},
        {"fresh": 2},
        {"fresh": -1},
    ],
)
def test_a_message_that_does_not_fit_together_is_none(changes: dict[str, Any]) -> None:
    data = CODEC.encode(GOOD)
    assert CODEC.decode_untrusted(data) == GOOD
    for name, value in changes.items():
        setattr(GOOD, name, value)
    try:
        data = CODEC.encode(GOOD)
    finally:
        GOOD.__init__((("a", 1, 1),), 0, (b"k",), (b"v",), (pack(5),), (0,))  # type: ignore[misc]
    with pytest.raises(BadMessage):
        CODEC.decode_untrusted(data)


def test_parts_of_a_message_are_checked_too() -> None:
    with pytest.raises(BadMessage, match="no node"):
        Listing(-1, None, None, (), (), ())
    with pytest.raises(BadMessage, match="columns"):
        Listing(0, None, None, (b"k",), (), ())
    with pytest.raises(BadMessage, match="1 to 256"):
        ServerInfo("a:1", 1, ())


def test_both_ends_mean_the_same_gateways() -> None:
    one, two = (ServerInfo(f"10.0.0.{n}:7", n, (4, 5, 6, 7)) for n in (1, 2))
    assert gateway(one, two.address) in refs(one)
    assert gateway(one, two.address) == gateway(one, two.address)
    spread = {gateway(one, f"10.0.0.{n}:7").counter for n in range(2, 60)}
    assert spread == {4, 5, 6, 7}


# Anything may happen


@pytest.mark.slow
@settings(max_examples=12)
@given(st.integers(0, 1 << 30))
def test_replicas_converge_whatever_gets_lost(seed: int) -> None:
    rng = random.Random(seed)
    store = Store(latency_us=rng.randrange(300_000))
    for _ in range(rng.randrange(1, 4)):
        store.add_server(rng.randrange(1, 4))
    actors = list(store.actors)
    loss = rng.random()
    store.lost = lambda _sender, _to: rng.random() < loss
    for step in range(40):
        ref, key = rng.choice(actors), b"%d" % rng.randrange(8)
        match rng.randrange(12):
            case 0:
                store.delete(ref, key)
            case 1:
                store.put(ref, key, b"%d" % step, ttl_ms=rng.randrange(1, 3000))
            case 2 if len(store.servers[0].counters) > 1 or len(store.servers) > 1:
                store.run(8 * loss)
                away(store, ref.address)
            case _:
                store.put(ref, key, b"%d" % step)
        store.run(rng.random() / 2)
    heal(store)
    store.run(90)
    assert store.is_equal()
    assert len({tuple(sorted(store.all(ref).items())) for ref in actors}) == 1
    assert store.most_in_a_second() <= 10
