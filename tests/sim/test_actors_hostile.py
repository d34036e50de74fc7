"""Somebody who knows a cluster's name speaks to a system of actors, or is spoken to: it goes on.

The enemy is on the third machine. It says whatever it likes, in the name of whomever it likes.
"""

import random
from itertools import count
from typing import Any

import pytest
import trio

from tests.support.actors_enemy import (
    all_of,
    network_of,
    open_enemy,
    receiver_of,
    serves,
    wait_until,
)
from tests.support.actors_world import HOSTS, PORT, Add, Counter, Get, Slow, cut, system_on
from tests.support.rpc_world import ports_of, until
from trio440 import actors, rpc
from trio440.actors.cluster import Gossip, Node, Record, State
from trio440.actors.cluster.datagrams import Datagrams
from trio440.actors.cluster.names import UPDATES, Change, Pull, Table
from trio440.actors.remote import watches as watches_module
from trio440.actors.remote.links import MOST_STRANGERS
from trio440.actors.remote.outgoing import STRANGER_OWN_BYTES
from trio440.actors.remote.parcels import (
    Answered,
    Asked,
    Batch,
    Ended,
    Failed,
    Parcel,
    Received,
    Shared,
    Stop,
    Told,
    Unwatch,
    Watch,
    encode,
    join,
)
from trio440.actors.remote.service import (
    Address,
    SpawnAnswer,
    SpawnRequest,
    Systems,
)
from trio440.core.host import ByteStream, Host
from trio440.errors import RemoteError, StartFailed
from trio440.rpc.envelope import encode_failure, encode_tell
from trio440.rpc.hello import Refused, Welcome, encode_answer
from trio440.sim import simulated
from trio440.sim.world import World
from trio440.wire.codec import INT64_MAX, Codec

# Who does not keep to the rules


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_who_reads_no_frame_is_sent_nothing_and_stops_nobody(world: World) -> None:
    ports = ports_of(world, "three")
    address = f"{world.machines['three'].address}:{PORT}"
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        rpc.open_server(
            PORT,
            rpc.Routes(),
            host=world.machines["three"].address,
            identity=rpc.Identity("actors", address, 1),
            limits=rpc.ServerLimits(frame_bytes=64),
            ports=ports,
        ),
    ):
        with one.dead_letters() as letters:
            for _ in range(3):
                one.tell(actors.Ref(address, 1, 1), Add(1))
                assert (await letters.receive()).reason == "link_full"
        assert await serves(one, two)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_what_is_no_batch_is_dropped_unread_and_the_next_one_taken_in(
    world: World,
) -> None:
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        open_enemy(ports_of(world, "three"), one) as enemy,
    ):
        counter = await one.spawn(Counter)
        body = Codec(Add).encode(Add(1))
        told = Told(counter.counter, one.incarnation, 0, "test.Add", 1, body)
        rng = random.Random(0)
        for data in (
            b"",
            b"\xdd\xff\xff\xff\xff",
            b"\xdd\x00\x2d\xc6\xc0" + encode(Received(0, 0, 0)) * 3_000_000,
            b"\xdd\x00\x00\x00\x01" + b"\x91" * 100_000,
            *(rng.randbytes(rng.randrange(1, 100)) for _ in range(50)),
        ):
            await until(enemy.client.may_tell)
            enemy.send(Batch(one.incarnation, 1, 1, sure=False, parcels=data))
        enemy.send(Batch(one.incarnation - 1, 1, 1, sure=False, parcels=join([encode(told)])))
        for number in (0, -1, INT64_MAX):
            enemy.send(Batch(one.incarnation, 1, number, sure=False, parcels=join([encode(told)])))
        enemy.say(told, sure=False)
        await until(lambda: one.actor_statistics(counter).handled == 1)  # type: ignore[union-attr]
        for batch in enemy.batches[-1:] * 3:
            enemy.send(batch)
        assert await serves(one, two)
        assert await one.ask(counter, Get()) == 1, "what is sent again is not taken in again"


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_who_speaks_garbage_or_is_of_another_cluster_is_not_heard(world: World) -> None:
    ports, machine = ports_of(world, "three"), world.machines["one"]
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        stranger = rpc.Identity("another", "10.9.9.9:9", 1)
        async with rpc.open_client(machine.address, PORT, identity=stranger, ports=ports) as client:
            with pytest.raises(Exception, match="cluster"):
                await client.wait_connected()
        rng = random.Random(1)
        async with open_enemy(ports, one) as enemy:
            link: Any = enemy.client._link
            link._outbox.put(encode_tell(b"actors.deliver", rng.randbytes(1000)))
            link._outbox.put(rng.randbytes(1000))
            await enemy.client.wait_disconnected()
        half_open = [await ports.net.connect_tcp(machine.address, PORT) for _ in range(50)]
        assert await serves(two, one)
        for stream in half_open:
            await stream.aclose()


def any_parcel(rng: random.Random, life: int) -> Parcel:
    """Anything that is a parcel, with numbers and texts at the edges."""

    def number(least: int = 0) -> int:
        return rng.choice([least, 1, 2, 3, life, INT64_MAX])

    def text() -> str:
        return rng.choice(["", "test.Add", "test.Get", "stopped", "full", "é" * 200])

    def body() -> bytes:
        return rng.choice([b"", b"\x80", b"\x81\xa6amount\x01", b"\xc1", rng.randbytes(9)])

    update = rng.choice(
        [
            UPDATES.encode(Pull(-1)),
            UPDATES.encode(Table(INT64_MAX)),
            UPDATES.encode(Change(INT64_MAX, "a", None)),
            body(),
        ]
    )
    kinds: list[Parcel] = [
        Told(number(1), life, number(), text(), number(1), body()),
        Asked(number(1), life, number(), text(), number(1), body(), number(1), number()),
        Answered(number(1), life, text(), number(1), body()),
        Failed(number(1), life, text(), number(), number(), text()),
        Watch(number(1), number(1), life),
        Unwatch(number(1), life),
        Ended(number(1), life, text(), text()),
        Stop(number(1), life, rng.random() < 0.5, number()),
        Shared(life, update),
        Received(number(), number(), number()),
    ]
    return rng.choice(kinds)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_parcels_are_each_is_taken_in_without_an_error(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    async with (
        system_on(world, "one", report=lambda _: None) as one,
        system_on(world, "two") as two,
    ):
        receiver = receiver_of(one)
        for turn in range(1, 400):
            if turn % 10 == 0:
                await one.spawn(Counter)
                await trio.sleep(rng.random())
            parcels = [any_parcel(rng, one.incarnation) for _ in range(rng.randrange(1, 9))]
            batch = Batch(
                one.incarnation, turn, 1, rng.random() < 0.5, join(list(map(encode, parcels)))
            )
            name = rng.choice([two.address, f"10.9.9.{turn % 99}:1", "nonsense"])
            life = rng.choice([0, 1, INT64_MAX])
            receiver.take(batch, rpc.Peer(rpc.Identity("actors", name, life), ("10.0.0.3", 1)))
        assert len(one.links()) <= MOST_STRANGERS + 1
        assert await serves(one, two)


@pytest.mark.slow
@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_who_accepts_connections_and_keeps_to_no_rule_is_not_reached(world: World) -> None:
    rng = random.Random(2)
    ports, machine = ports_of(world, "three"), world.machines["three"]
    address = f"{machine.address}:{PORT}"
    who = rpc.Identity("actors", address, 1)
    welcome = encode_answer(Welcome(1, who, 5_000_000, 0, 1 << 24))
    never_asked = encode_failure(77, "Error", "")
    greetings = [
        b"",  # and never reads
        rng.randbytes(1000),
        b"\xff\xff\xff\xff",
        welcome[:-1],
        welcome + rng.randbytes(1000),
        welcome,  # and then nothing, not even signs of life
        encode_answer(Welcome(99, who, 5_000_000, 1, 1 << 24)),
        encode_answer(Welcome(1, rpc.Identity("actors", address, INT64_MAX), 10_000, 1, 0)),
        encode_answer(Refused("nonsense", "\n" * 100, who)),
    ]

    async def greet(stream: ByteStream) -> None:
        place = next(turns) % (len(greetings) + 1)
        try:
            await stream.receive_some(100)
            await stream.send_all(greetings[place] if place < len(greetings) else welcome)
            if place == len(greetings):
                await stream.receive_some(100)
                await stream.send_all(never_asked)
            await trio.sleep(3)
        except trio.BrokenResourceError:
            pass
        await stream.aclose()

    turns = count()
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        trio.open_nursery() as nursery,
    ):
        listener = await ports.net.listen_tcp(machine.address, PORT)

        async def accept() -> None:
            while True:
                nursery.start_soon(greet, await listener.accept())

        nursery.start_soon(accept)
        with one.dead_letters() as letters:
            for turn in range(60):
                one.tell(actors.Ref(address, 1, 1), Add(turn))
                await trio.sleep(1)
            assert await serves(one, two)
            await wait_until(lambda: address not in [link.address for link in one.links()])
            reasons = {letter.reason for letter in all_of(letters)}
        assert reasons <= {"unreachable", "other_life", "link_full"}
        assert next(turns) > len(greetings)
        nursery.cancel_scope.cancel()


# Floods


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_members_that_there_are_not_take_no_link_that_is_needed(world: World) -> None:
    ports, machine = ports_of(world, "three"), world.machines["three"]
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    networking = actors.Networking(seeds=seeds, limits=actors.LinkLimits(links=5))
    async with system_on(world, "one", networking=networking) as one:
        socket = await ports.net.bind_udp(machine.address, PORT)
        own = Node(f"{machine.address}:{PORT}", 1)
        datagrams = Datagrams("actors", 1400)
        names = ["x" * 255, "x" * 127 + ":1", "nowhere", "10.9.9.9:0", "a\n:1"]
        for name in (*names, *(f"10.9.9.{place}:1" for place in range(15))):
            made_up = Record(Node(name, 1), State.ALIVE, 0)
            socket.send_nowait(
                [(datagrams.encode(Gossip(own, (made_up,))), (world.machines["one"].address, PORT))]
            )
        await until(lambda: len(one.members) == 21)
        async with system_on(world, "two") as two:
            await until(lambda: len(two.members) > 1)
            assert await serves(one, two)
            assert await serves(two, one)
            assert len(one.links()) <= 5
        socket.close()


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_who_wants_acknowledgements_in_many_names_takes_no_link_that_is_needed(
    world: World,
) -> None:
    ports = ports_of(world, "three")
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        for place in range(MOST_STRANGERS + 20):
            async with open_enemy(ports, one, f"10.9.9.{place}:1") as enemy:
                enemy.say(Unwatch(1, one.incarnation))
        await until(lambda: len(one.links()) >= MOST_STRANGERS)
        wanted = actors.Ref[Any]("10.8.8.8:1", 1, 1)
        one.tell(wanted, Add(1))
        assert wanted.address in [link.address for link in one.links()]
        assert len(one.links()) <= MOST_STRANGERS + 1
        assert await serves(one, two)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_endless_watches_of_strangers_leave_room_for_members(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "MOST_WATCHERS", 5)
    ports = ports_of(world, "three")
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    networking = actors.Networking(seeds=seeds, limits=actors.LinkLimits(watches=20))
    async with (
        system_on(world, "one", networking=networking) as one,
        system_on(world, "two") as two,
    ):
        counter = await one.spawn(Counter)
        await until(lambda: len(one.members) == 2)
        for place in range(9):
            async with open_enemy(ports, one, f"10.9.9.{place}:1") as enemy:
                enemy.say(*(Watch(1 + n, counter.counter, one.incarnation) for n in range(30)))
                enemy.say(*(Watch(1 + n, 999, one.incarnation) for n in range(30)))
        statistics = one.actor_statistics(counter)
        assert statistics is not None
        assert statistics.watchers == len(network_of(one).watches) == 20
        downs: list[actors.Down] = []
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                downs.append(await two.wait_stopped(counter))

            nursery.start_soon(watch)
            await trio.sleep(1)
            await one.stop(counter)
        assert [down.reason for down in downs] == ["stopped"]
        assert len(network_of(one).watches) == 0


@simulated(seeds=1, profile="calm", hosts=HOSTS, duration_seconds=600)
async def test_watchers_that_are_gone_make_room_for_new_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "MOST_WATCHERS", 3)
    counters: list[actors.Ref[Any]] = []
    watching: list[tuple[str, int]] = []

    async def watch_until_killed(ports: Host) -> None:
        seeds = (f"{world.machines['one'].address}:{PORT}",)
        async with actors.open_actor_system(
            world.machines["two"].address,
            PORT + len(watching),
            networking=actors.Networking(seeds=seeds),
            ports=ports,
        ) as two:
            watching.append((two.address, two.incarnation))
            await two.wait_stopped(counters[0])

    async with system_on(world, "one") as one:
        counters.append(await one.spawn(Counter))
        watchers = network_of(one).watches._theirs
        for number in range(6):
            if number:
                world.machines["two"].crash()
                await wait_until(lambda: len(one.members) == 1)
                world.machines["two"].restart()
            else:
                world.start("two", watch_until_killed)
            await wait_until(lambda number=number: len(watching) == number + 1)  # type: ignore[misc]  # has a default
            await wait_until(lambda: watching[-1] in watchers)
        assert len(watchers) == 3


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_endless_questions_take_no_room_of_timers_and_none_of_other_systems(
    world: World,
) -> None:
    async def hold(context: actors.Context[Get], question: Get) -> Any:
        return context.hold_reply(question)

    ports = ports_of(world, "three")
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    networking = actors.Networking(seeds=seeds, limits=actors.LinkLimits(questions=10))
    limits = actors.Limits(timers=5)
    async with (
        system_on(world, "one", networking=networking, limits=limits) as one,
        system_on(world, "two") as two,
        open_enemy(ports, one) as enemy,
    ):
        holding: Any = await one.spawn(hold)
        asked = Asked(holding.counter, one.incarnation, 0, "test.Get", 1, b"\x80", 1, INT64_MAX)
        for _ in range(10):
            enemy.say(*[asked] * 50, sure=False)
        await until(lambda: one.actor_statistics(holding).handled == 10)  # type: ignore[union-attr]
        busy = await one.spawn(Counter)
        one.tell(busy, Slow(1000))
        stop = Stop(busy.counter, one.incarnation, drain=True, left_us=INT64_MAX)
        enemy.say(*[stop] * 500)
        await trio.sleep(1)
        assert len(network_of(one)._timers) == 11
        for _ in range(5):
            one.tell_after(holding, Add(1), 1000)
        assert await serves(two, one)
        enemy.say(Stop(busy.counter, one.incarnation, drain=True, left_us=1))
        with trio.fail_after(1):
            await one.wait_stopped(busy)
        assert len(network_of(one)._timers) == 10


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_no_more_actors_are_spawned_for_others_than_are_offered(world: World) -> None:
    ports = ports_of(world, "three")
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        open_enemy(ports, one) as enemy,
    ):
        one.offer("counter", Counter, limit=3)
        request = SpawnRequest(one.incarnation, "counter", ())
        peer = Systems(enemy.client)
        spawned = [await peer.spawn(request) for _ in range(5)]
        assert [answer.problem for answer in spawned[:3]] == ["", "", ""]
        assert "actors of this offer" in spawned[4].problem
        assert one.statistics().actors == 3
        with pytest.raises(StartFailed, match="actors of this offer"):
            await two.spawn_at(one.address, "counter")
        await one.stop(actors.Ref(one.address, spawned[0].counter, one.incarnation))
        await two.spawn_at(one.address, "counter")


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_a_member_that_asks_for_names_on_and_on_is_sent_a_few_tables(world: World) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        counter = await one.spawn(Counter)
        for number in range(100):
            one.register(f"name {number}", counter, scope="cluster")
        await until(lambda: two.lookup("name 99") is not None)
        sent: list[Shared] = []
        naming = network_of(one).naming
        real = naming._send

        def send(node: Node, shared: Shared) -> None:
            sent.append(shared)
            real(node, shared)

        naming._send = send
        pull = Shared(one.incarnation, UPDATES.encode(Pull(-1)))
        ports = ports_of(world, "three")
        async with open_enemy(ports, one, two.address, two.incarnation) as enemy:
            for _ in range(20):
                enemy.send(Batch(one.incarnation, 99, 1, True, join([encode(pull)] * 500)))
                await trio.sleep(0.1)
        tables = [each for each in sent if len(each.update) > 1000]
        assert 0 < len(tables) <= 8
        assert network_of(one).naming._names.statistics().refused > 400


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_answers_to_who_takes_none_are_bounded(world: World) -> None:
    async def answer(_: actors.Context[Get], question: Get) -> Any:
        return "x" * 100_000

    ports = ports_of(world, "three")
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        open_enemy(ports, one) as enemy,
    ):
        ref: Any = await one.spawn(answer)
        asked = Asked(ref.counter, one.incarnation, 0, "test.Get", 1, b"\x80", 1, 10**9)
        enemy.say(*[asked] * 500, sure=False)
        await until(lambda: one.actor_statistics(ref).handled == 500)  # type: ignore[union-attr]
        [waiting] = [link.waiting for link in one.links() if link.address == enemy.address]
        assert 5 < waiting <= STRANGER_OWN_BYTES // 100_000 + 1
        assert await serves(one, two)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_acknowledgements_of_what_was_not_sent_are_not_believed(world: World) -> None:
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
    ):
        one.set_delivery(two.address, "acknowledged")
        counter = await two.spawn(Counter)
        assert await one.ask(counter, Get()) == 0
        ports = ports_of(world, "three")
        async with open_enemy(ports, one, two.address, two.incarnation) as enemy:
            with cut(world, "two"):
                for _ in range(5):
                    one.tell(counter, Add(1))
                await trio.sleep(0.1)
                for parcel in (
                    Received(one.incarnation, 1, INT64_MAX),
                    Received(one.incarnation, 77, 3),
                    Received(one.incarnation - 1, 1, 3),
                ):
                    for link in (1, 99):
                        batch = Batch(one.incarnation, link, 50, False, join([encode(parcel)]))
                        enemy.send(batch)
                await trio.sleep(0.5)
                [real] = [each for each in one.links() if each.address == two.address]
                assert real.waiting == 5
        await until(lambda: two.actor_statistics(counter).handled == 6)  # type: ignore[union-attr]


# Who is asked answers nonsense


class Liar(rpc.Service, name="actors"):
    """Has a method of the name, and answers otherwise."""

    latest = rpc.method(Address, Address)
    spawn = rpc.method(SpawnRequest, SpawnAnswer)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_nonsense_from_a_seed_or_for_an_actor_is_an_error_that_says_so(world: World) -> None:
    ports, machine = ports_of(world, "three"), world.machines["three"]
    address = f"{machine.address}:{PORT}"
    answers: list[Any] = []
    routes = rpc.Routes()

    def latest(asked: Address, _: rpc.Peer) -> Address:
        return asked

    async def spawn(_: SpawnRequest, __: rpc.Peer) -> Any:
        if answers[0] is None:
            raise RemoteError("Nonsense", "\n")
        return answers.pop(0)

    routes.add(Liar.latest, latest)
    routes.add(Liar.spawn, spawn)
    networking = actors.Networking(seeds=(address, f"{world.machines['one'].address}:{PORT}"))
    async with (
        rpc.open_server(
            PORT,
            routes,
            host=machine.address,
            identity=rpc.Identity("actors", address, 1),
            ports=ports,
        ),
        system_on(world, "one", networking=networking) as one,
    ):
        network = network_of(one)
        node = Node(address, 1)
        network.links.find = lambda found: node if found == address else None
        for counter, life in ((0, 1), (-3, 1), (1, -1)):
            answers.append(SpawnAnswer(counter, life, ""))
            with pytest.raises(StartFailed, match="no reference"):
                await one.spawn_at(address, "counter")
        answers.append(None)
        with pytest.raises(StartFailed, match="Nonsense"):
            await one.spawn_at(address, "counter")
