"""What replicas do with messages that nobody sends who keeps to the rules, at level A."""

import random
from typing import Any

import pytest

from tests.support.kv_replicas import CODEC, START_MS, Store
from trio440.actors.ref import Ref
from trio440.errors import BadMessage
from trio440.kv.hlc import HybridClock, pack
from trio440.kv.operations import Get, GetSiblings, Put, PutSibling, Siblings
from trio440.kv.peers import UNPROVEN_BYTES, Peer
from trio440.kv.replica import Replica
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.siblings import HIDDEN, dot_of, hidden_key
from trio440.kv.sync import MOST_UNHEARD, Replication
from trio440.kv.sync_messages import MOST_SERVERS, Listing, ServerInfo, Sync

NOW = pack(START_MS)
STRANGER = Ref[Any]("10.9.9.9:9", 1, 1)
WRITER = (STRANGER.address, STRANGER.counter, STRANGER.incarnation)


def replica_of(count: int, limits: ReplicaLimits | None = None) -> Replica:
    """A replica with so many keys."""
    me = Ref[Any]("10.0.0.1:7000", 1, 1)
    replica = Replica(me, HybridClock(), limits or ReplicaLimits())
    replica.execute(0, [Put(b"%06d" % number, b"v") for number in range(count)], START_MS)
    return replica


def server(number: int, counters: tuple[int, ...] = (1,), incarnation: int = 1) -> ServerInfo:
    return ServerInfo(f"10.1.{number // 250}.{number % 250}:7", incarnation, counters)


# What a peer makes up


def test_keys_that_a_peer_makes_up_take_no_memory() -> None:
    replica = replica_of(10)
    peer = Peer(STRANGER, is_sibling=False)
    peer.repair([b"made up %d" % number for number in range(10_000)], replica)
    peer.repair([b"%06d" % 1], replica)
    assert list(peer.repairs) == [b"000001"]
    for number in range(40):
        keys = tuple(b"%d/%d/" % (number, place) + bytes(2000) for place in range(20))
        zeros = (0,) * len(keys)
        peer.compare(
            Sync((WRITER,), 0, listings=(Listing(0, None, None, keys, zeros, zeros),)), replica
        )
        peer.kill((b"late %d" % number + bytes(20_000), None, 1, STRANGER, 0))
    assert sum(map(len, (*peer.wants, *peer.kills))) < UNPROVEN_BYTES


def test_what_was_left_out_is_found_when_there_is_room_again() -> None:
    replica = replica_of(1)
    peer = Peer(STRANGER, is_sibling=False)
    me = ServerInfo("10.0.0.1:7000", 1, (1,))
    keys = tuple(b"%d/" % place + bytes(4000) for place in range(300))
    zeros = (0,) * len(keys)
    listing = Listing(0, None, None, keys, zeros, zeros)
    wanted: set[bytes] = set()
    for _ in range(20):
        theirs = tuple(key for key in keys if key not in wanted)
        zeros = (0,) * len(theirs)
        listing = Listing(0, None, None, theirs, zeros, zeros)
        peer.compare(Sync((WRITER,), 0, listings=(listing,)), replica)
        wanted.update(peer.write(replica, me).wants)
    assert wanted == {*keys}


def test_a_part_of_the_root_is_not_compared_key_by_key() -> None:
    """A message has room for thousands of these; each would look at every key."""
    replica = replica_of(2000)
    peer = Peer(STRANGER, is_sibling=False)
    listing = Listing(0, b"", None, (), (), ())
    peer.compare(Sync((WRITER,), 0, listings=(listing,)), replica)
    assert not peer.repairs
    assert list(peer.streams) == [0]


@pytest.mark.parametrize(
    "words",
    [
        {"nodes": (1, 1), "digests": ((0,) * 32,) * 2},
        {"listings": (Listing(1, None, b"k", (), (), ()), Listing(1, b"k", None, (), (), ()))},
        {"actors": (WRITER, WRITER)},
        {"actors": (("h" * 70_000, 1, 1),)},
    ],
)
def test_work_that_a_message_could_make_is_no_message(words: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        Sync(**{"actors": (WRITER,), "clock": 0, **words})


@pytest.mark.parametrize("expiry", [-1, 1 << 48, (1 << 63) - 1])
def test_no_record_ends_at_a_moment_that_none_has(expiry: int) -> None:
    with pytest.raises(BadMessage, match="time of an end"):
        Sync((WRITER,), 0, (b"k",), (b"v",), (NOW,), (0,), (expiry,))


@pytest.mark.parametrize(
    ("address", "incarnation", "counters"),
    [
        ("", 1, (1,)),
        ("h" * 256, 1, (1,)),
        ("10.0.0.1:7", 0, (1,)),
        ("10.0.0.1:7", 1, (0,)),
        ("10.0.0.1:7", 1, (-5, 5)),
        ("10.0.0.1:7", 1, tuple(range(1, 258))),
    ],
)
def test_servers_that_there_cannot_be(
    address: str, incarnation: int, counters: tuple[int, ...]
) -> None:
    with pytest.raises(BadMessage):
        ServerInfo(address, incarnation, counters)


# Records that no replica makes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"k" * 4097, b"v"),
        (b"k", bytes((512 << 10) + 1)),
        (HIDDEN, b"v"),
        (HIDDEN + b"junk", b"v"),
        (hidden_key(b"k", bytes(15)), b"v"),
        (hidden_key(b"k", bytes(17)), None),
        (hidden_key(b"", dot_of(NOW, STRANGER)), b"v"),
        (hidden_key(b"k", b"\xff" * 16), b"v"),
        (hidden_key(b"k", b"\xff" * 16), None),
        (hidden_key(b"k", dot_of(NOW + 1, STRANGER)), b"v"),
        (hidden_key(b"k" * 4097, dot_of(NOW, STRANGER)), b"v"),
    ],
)
def test_what_no_replica_may_have_taken_is_not_kept(key: bytes, value: bytes | None) -> None:
    replica = replica_of(0)
    assert replica.merge([(key, value, NOW, STRANGER, 0)], START_MS) == ([], [])
    assert len(replica.records) == 0
    assert replica.statistics().refused_full == 1


def test_the_longest_keys_and_values_are_kept() -> None:
    replica = replica_of(0)
    longest, value = b"k" * 4096, bytes(512 << 10)
    rows = [
        (longest, value, NOW, STRANGER, 0),
        (hidden_key(longest, dot_of(NOW, STRANGER)), value, NOW, STRANGER, 0),
        (hidden_key(longest, dot_of(NOW - 1, STRANGER)), None, NOW, STRANGER, 0),
    ]
    assert len(replica.merge(rows, START_MS)[0]) == 3


def test_no_sibling_that_was_made_up_keeps_others_from_being_replaced() -> None:
    replica = replica_of(0)
    made_up = [
        (hidden_key(b"k", b"\xff" * 8 + bytes(8)), b"v", NOW, STRANGER, 0),
        (hidden_key(b"k", bytes(8)), b"v", NOW, STRANGER, 0),
    ]
    replica.merge(made_up, START_MS)
    replica.execute(0, [PutSibling(b"k", b"one")], START_MS)
    ((read,), _) = replica.execute(0, [GetSiblings(b"k")], START_MS)
    assert isinstance(read, Siblings)
    replica.execute(0, [PutSibling(b"k", b"both", read.context)], START_MS)
    ((read,), _) = replica.execute(0, [GetSiblings(b"k")], START_MS)
    assert isinstance(read, Siblings)
    assert [entry.value for entry in read.entries] == [b"both"]


# Servers that there are not


def test_servers_that_a_stranger_makes_up_are_few_and_keep_nobody_out() -> None:
    store = Store()
    one = store.add_server(1)
    victim = store.actors[one.ref(1)]
    for first in range(0, 1000, MOST_SERVERS):
        made_up = tuple(server(first + number) for number in range(MOST_SERVERS))
        message = Sync((WRITER,), 0, servers=made_up)
        victim.replication.receive(message, store.now_us, START_MS)
    assert len(victim.replication.servers) <= MOST_UNHEARD
    two = store.add_server(1)
    store.put(one.ref(1), b"k", b"v")
    store.put(two.ref(1), b"l", b"v")
    store.run(20)
    assert len(store.all(one.ref(1))) == len(store.all(two.ref(1))) == 2


def test_servers_that_a_stranger_speaks_for_make_room_when_they_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 20
    monkeypatch.setattr("trio440.kv.sync.MOST_SERVERS", most)
    replica = replica_of(1)
    replication = Replication(replica, random.Random(1))
    replication.meet(ServerInfo("10.0.0.1:7000", 1, (1,)), (), 0)
    for number in range(most):
        speak(replication, server(number), 0)
    speak(replication, server(most), 0)
    assert len(replication.servers) == most
    late = server(most)
    for now_us in (0, 11_000_000, 17_000_000):
        replication.messages_to_send(now_us)
    speak(replication, late, 30_000_000)
    assert late in replication.servers
    assert len(replication.servers) == most


def test_a_message_has_room_for_some_servers_only() -> None:
    """However many actors they say that they have."""
    replica = replica_of(1)
    replication = Replication(replica, random.Random(1))
    replication.meet(ServerInfo("10.0.0.1:7000", 1, (1,)), (), 0)
    real = server(5000)
    speak(replication, real, 0)
    many = tuple(server(number, tuple(range(1, 257))) for number in range(100))
    replication.receive(Sync((WRITER,), 0, servers=many), 0, START_MS)
    told: set[str] = set()
    speak(replication, real, 0)
    for now_us in range(0, 1_000_000, 125_000):
        for ref, message in replication.messages_to_send(now_us):
            assert len(CODEC.encode(message)) < 400_000
            if ref.address == real.address:
                told.update(each.address for each in message.servers)
    assert told >= {each.address for each in many}


@pytest.mark.parametrize("count", [1, 3])
def test_a_later_life_that_somebody_makes_up_does_not_cut_a_server_off(count: int) -> None:
    store = Store()
    one, two = store.add_server(count), store.add_server(1)
    store.run(20)
    made_up = ServerInfo(two.address, 1 << 62, (1, 2, 3))
    for counter in one.counters:
        message = Sync((WRITER,), 0, servers=(made_up,))
        store.actors[one.ref(counter)].replication.receive(message, store.now_us, START_MS)
    store.put(one.ref(1), b"k", b"v")
    store.put(two.ref(1), b"l", b"v")
    store.lost = lambda _sender, to: to not in store.actors
    store.run(40)
    assert len(store.all(one.ref(1))) == len(store.all(two.ref(1))) == 2
    store.put(one.ref(1), b"m", b"v")
    store.run(2)
    assert store.do(two.ref(1), Get(b"m"))[0].entry is not None


def speak(replication: Replication, who: ServerInfo, now_us: int) -> None:
    """Let a server introduce itself."""
    sender = who.address, who.counters[0], who.incarnation
    replication.receive(Sync((sender,), 0, root=0, servers=(who,)), now_us, START_MS)
