"""Members of a cluster on UDP sockets of simulated machines."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from tests.support.gossip_world import (
    CONFIG,
    PORT,
    Cluster,
    Member,
    until,
    until_all_see_each_other,
)
from tests.support.rpc_world import ports_of
from trio440.actors.cluster import (
    CODEC,
    Ack,
    Back,
    Config,
    Event,
    Gossip,
    Joined,
    Left,
    Lost,
    Message,
    Node,
    Ping,
    PushPull,
    Record,
    State,
    Superseded,
    Suspected,
    open_membership,
)
from trio440.actors.cluster.datagrams import Datagrams
from trio440.core.host import Datagram, Host, format_address
from trio440.errors import InvalidParameter
from trio440.sim import simulated
from trio440.sim.world import World

HOSTS = ["one", "two", "three"]
SEEDS_ALONE = Config(reconnect_interval_us=10**12)
"""Nobody is tried at random."""
SEEDS = 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_three_find_each_other_by_one_seed(world: World) -> None:
    members = await Cluster(world).start_all(*HOSTS)
    await trio.sleep(60)
    for member in members:
        assert [type(event) for event in member.events] == [Joined, Joined]
        membership = member.membership
        assert membership.find(members[0].node.address) == members[0].node
        assert membership.find("10.9.9.9:1") is None
        assert len(membership.records()) == 3
        statistics = membership.statistics()
        assert 58 <= statistics.swim.probes <= 61
        assert statistics.swim.pauses == 0
        assert (statistics.dropped, statistics.unresolved_seeds) == ({}, 0)
        assert 2 * 58 <= statistics.datagrams_sent <= 2 * 61 + 40


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_killed_member_is_lost_and_its_later_life_is_found(world: World) -> None:
    cluster = Cluster(world)
    one, two, three = await cluster.start_all(*HOSTS)
    cluster.crash("three")
    await until(lambda: one.told(Lost) and two.told(Lost))
    for member in (one, two):
        assert member.told(Suspected) == member.told(Lost) == [three.node]
        assert member.membership.find(three.node.address) is None
    again = await cluster.start("three", incarnation=2)
    await until_all_see_each_other([one, two, again])
    for member in (one, two):
        assert member.events[-1] == Joined(Node(three.node.address, 2))
        assert member.told(Back) == []


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_later_life_takes_over_before_the_earlier_is_missed(world: World) -> None:
    cluster = Cluster(world)
    one, two, three = await cluster.start_all(*HOSTS)
    cluster.crash("three")
    again = await cluster.start("three", [], incarnation=2)
    await until_all_see_each_other([one, two, again])
    for member in (one, two):
        assert member.events[-2:] == [Lost(three.node), Joined(again.node)]
    earlier = await start_an_earlier_life(cluster)
    await until(lambda: Superseded(again.node) in earlier.events)
    assert one.membership.find(again.node.address) == again.node


async def start_an_earlier_life(cluster: Cluster) -> Member:
    cluster.crash("three")
    return await cluster.start("three", incarnation=1)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_one_who_leaves_is_not_taken_for_lost(world: World) -> None:
    cluster = Cluster(world)
    one, two, three = await cluster.start_all(*HOSTS)
    begun = world.now()
    await three.membership.leave()
    assert world.now() - begun < 2_000_000
    await three.membership.leave()
    three.membership.join(["one:7000"])
    await trio.sleep(30)
    for member in (one, two):
        assert member.events[-1] == Left(three.node)
        assert member.told(Lost) == member.told(Suspected) == []
        assert len(member.sees) == 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_leaving_alone_or_before_joining_takes_no_time(world: World) -> None:
    cluster = Cluster(world)
    begun = world.now()
    await (await cluster.start("one", [])).membership.leave()
    await (await cluster.start("two", None)).membership.leave()
    assert world.now() == begun


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_leaving_when_nobody_hears_it_takes_bounded_time(world: World) -> None:
    cluster = Cluster(world)
    config = Config(retransmissions=100)
    _, _, three = await cluster.start_all(*HOSTS, config=config)
    cluster.crash("one")
    cluster.crash("two")
    with trio.fail_after(25 * 0.2 + 0.001):
        await three.membership.leave()


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_partition_heals(world: World) -> None:
    cluster = Cluster(world)
    members = await cluster.start_all(*HOSTS)
    one, two, three = members
    fault = cluster.cut_off("three")
    await until(lambda: len(three.told(Lost)) == 2 and one.told(Lost) and two.told(Lost), 120)
    cluster.heal(fault)
    await until_all_see_each_other(members)
    assert one.told(Back) == two.told(Back) == [three.node]
    assert set(three.told(Back)) == {one.node, two.node}


@pytest.mark.slow
@simulated(seeds=SEEDS, profile="flaky", hosts=HOSTS, duration_seconds=400, heal_seconds=100)
async def test_on_a_flaky_network_nobody_is_lost(world: World) -> None:
    members = await Cluster(world).start_all(*HOSTS)
    await world.healed()
    await until_all_see_each_other(members)
    assert all(member.told(Lost) == [] for member in members)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_another_cluster_is_counted_and_not_heard(world: World) -> None:
    cluster = Cluster(world)
    one, two, _ = await cluster.start_all(*HOSTS)
    cluster.crash("three")
    other = await cluster.start("three", incarnation=9, cluster="red")
    await until(lambda: one.told(Lost) and two.told(Lost))
    await trio.sleep(20)
    assert other.sees == set()
    assert one.dropped["another cluster"] > 3
    assert other.dropped["another cluster"] > 3
    assert one.membership.find(other.node.address) is None
    assert one.told(Joined)[-1].incarnation == 1


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_cluster_takes_the_place_of_another(world: World) -> None:
    """A node of another cluster at a known port answers for nobody."""
    cluster = Cluster(world)
    members = await cluster.start_all(*HOSTS)
    cluster.crash("three")
    await cluster.start("three", [], incarnation=1, cluster="red")
    await until(lambda: all(member.told(Lost) for member in members[:2]))


@simulated(seeds=SEEDS, profile="calm", hosts=[*HOSTS, "enemy"])
async def test_garbage_costs_a_count(world: World) -> None:
    one, two, three = await Cluster(world).start_all(*HOSTS)
    ports = ports_of(world, "enemy")
    socket = await ports.net.bind_udp(world.machines["enemy"].address, PORT)
    target = one.socket.local_address
    rng = random.Random(0)
    good = Datagrams("blue", 1400).encode(Gossip(Node("10.0.0.9:1", 1)))
    for _ in range(100):
        bad = bytearray(good)
        bad[rng.randrange(8, len(bad))] ^= 1 << rng.randrange(8)
        datagrams = [rng.randbytes(rng.randrange(80)), bytes(bad), good, good[:8], good * 30]
        datagrams += [good + bytes(65_507 - len(good)), CODEC.encode(Gossip(Node("a", 1)))]
        socket.send_nowait([(datagram, target) for datagram in datagrams])
        await trio.sleep(0.1)
    await trio.sleep(1)
    assert [type(event) for event in one.events] == [Joined, Joined]
    assert one.dropped["another cluster"] == 200
    assert one.dropped["too long"] == 200
    assert one.dropped["no message"] > 100
    statistics = one.membership.statistics()
    assert statistics.swim.strangers + sum(one.dropped.values()) == 700, "in another's name"
    assert statistics.swim.pauses == statistics.swim.health == 0
    assert two.told(Suspected) == three.told(Suspected) == []


class Flooded:
    """A socket at which something is always readable; what it sends is kept."""

    def __init__(self, ports: Host) -> None:
        self.ports = ports
        self.sent: list[Datagram] = []

    async def receive(self, limit: int = 64) -> list[Datagram]:
        await self.ports.clock.sleep(0.001)
        return self.receive_nowait(limit)

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        return [(b"garbage", ("10.0.0.9", 9))] * limit

    def send_nowait(self, datagrams: Sequence[Datagram]) -> int:
        self.sent += datagrams
        return len(datagrams)

    def close(self) -> None:
        """There is nothing to close."""


class Starved(Flooded):
    """A socket of a task that never runs in time; one other member answers."""

    def __init__(self, ports: Host) -> None:
        super().__init__(ports)
        self.datagrams = Datagrams("blue", 1400)
        self.other = Node("10.0.0.2:7000", 1)

    async def receive(self, limit: int = 64) -> list[Datagram]:
        del limit
        return await trio.sleep_forever()

    def receive_nowait(self, limit: int = 64) -> list[Datagram]:
        del limit
        answers: list[Datagram] = []
        for datagram, to in self.sent:
            message = self.datagrams.decode_untrusted(datagram)
            answer: Message = PushPull(self.other, False, (Record(self.other, State.ALIVE, 0),))
            if isinstance(message, Ping):
                answer = Ack(self.other, message.seq)
            answers.append((self.datagrams.encode(answer), to))
        self.sent.clear()
        return answers


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_what_is_readable_is_heard_before_time_goes_on(world: World) -> None:
    ports = ports_of(world, "one")
    socket: Any = Starved(ports)
    async with open_membership(
        socket, Node("10.0.0.1:7000", 1), cluster="blue", config=CONFIG, ports=ports
    ) as membership:
        events: list[Event] = []
        membership.subscribe(events.append)
        membership.join([socket.other.address])
        await trio.sleep(30)
        assert events == [Joined(socket.other)]
        statistics = membership.statistics().swim
        assert statistics.probes >= 25
        assert statistics.probes_failed == 0


@pytest.mark.slow
@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_flood_does_not_stop_time(world: World) -> None:
    ports = ports_of(world, "one")
    socket: Any = Flooded(ports)
    async with open_membership(
        socket, Node("10.0.0.1:7000", 1), cluster="blue", config=SEEDS_ALONE, ports=ports
    ) as membership:
        membership.join(["10.0.0.2:7000"])
        await trio.sleep(0.5)
        assert len(socket.sent) == 1
        await trio.sleep(1)
        assert len(socket.sent) == 2, "the seed is asked again after a second"
        assert membership.statistics().swim.pauses == 0


@simulated(seeds=SEEDS, profile="calm", hosts=[*HOSTS, "enemy"])
async def test_members_that_have_no_numeric_address_get_nothing(world: World) -> None:
    one, *_ = await Cluster(world).start_all(*HOSTS)
    ports = ports_of(world, "enemy")
    socket = await ports.net.bind_udp(world.machines["enemy"].address, PORT)
    source = Node(format_address(socket.local_address), 1)
    names = ["two:7000", "[::1]:7000", "x", "10.0.0.2:7000x"]
    records = tuple(Record(Node(name, 1), State.ALIVE, 0) for name in names)
    datagram = Datagrams("blue", 1400).encode(Gossip(source, records))
    reached: set[str] = set()
    world.network.on_send = lambda _, to, __: reached.add(to[0])
    socket.send_nowait([(datagram, one.socket.local_address)])
    await trio.sleep(30)
    assert set(one.told(Joined)[2:]) == {record.node for record in records}
    assert one.dropped["no address"] > 10
    assert reached <= {machine.address for machine in world.machines.values()}


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_full_send_buffer_drops_datagrams(world: World) -> None:
    cluster = Cluster(world)
    members = await cluster.start_all(*HOSTS)
    world.network.send_limit = 0
    await trio.sleep(3)
    world.network.send_limit = None
    assert all(member.dropped["socket buffer full"] >= 2 for member in members)
    await until_all_see_each_other(members)
    assert all(member.told(Lost) == [] for member in members)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_silent_seed_is_asked_again(world: World) -> None:
    one = await Cluster(world).start("one", None, config=SEEDS_ALONE)
    await trio.sleep(5)
    assert one.membership.statistics().datagrams_sent == 0
    one.membership.join(["10.0.0.2:7000"])
    await trio.sleep(4)
    assert one.membership.statistics().datagrams_sent == 3, "at once, after 1 s and 2 s more"


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_seed_gets_its_address_later(world: World) -> None:
    cluster = Cluster(world)
    names = world.network.names
    names["slow.example"] = []
    one = await cluster.start("one", ["none.example:7000", "slow.example:7000", "two:9"])
    await trio.sleep(60)
    assert one.membership.statistics().unresolved_seeds == 2
    two = await cluster.start("two", [])
    await trio.sleep(30)
    assert one.sees == two.sees == set()
    names["slow.example"] = ["::1", world.machines["two"].address]
    await until_all_see_each_other([one, two])
    assert one.membership.statistics().unresolved_seeds == 1
    names["none.example"] = ["::1"]
    await trio.sleep(30)
    assert one.membership.statistics().unresolved_seeds == 1, "nothing that can be reached"


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_seed_that_moves_is_found(world: World) -> None:
    cluster = Cluster(world)
    names = world.network.names
    names["seed.example"] = [world.machines["three"].address]
    two = await cluster.start("two", ["seed.example:7000"])
    await trio.sleep(60)
    assert two.membership.statistics().unresolved_seeds == 0
    one = await cluster.start("one", [])
    names["seed.example"] = [world.machines["one"].address]
    await until_all_see_each_other([one, two])


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_seeds_are_bounded(world: World) -> None:
    config = Config(max_seeds=3)
    cluster = Cluster(world)
    world.network.names["many.example"] = [f"10.9.9.{i}" for i in range(1, 200)]
    one = await cluster.start("one", ["many.example:1"], config=config)
    sent: set[object] = set()
    world.network.on_send = lambda _, to, __: sent.add(to)
    await trio.sleep(60)
    assert len(sent) <= 3
    with pytest.raises(InvalidParameter, match="at most 3 seeds"):
        one.membership.join(["a:1", "b:1", "c:1", "d:1"])
    for wrong in ("", "one", "one:0", "::1:5", "one:70000", "one:x"):
        with pytest.raises(InvalidParameter, match="HOST:PORT"):
            one.membership.join([wrong])


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_events_come_in_order_to_all_who_subscribed(world: World) -> None:
    cluster = Cluster(world)
    await cluster.start_all("two", "three", seeds=["two:7000"])
    one = await cluster.start("one", None)
    heard: list[tuple[str, Event]] = []

    def first(event: Event) -> None:
        heard.append(("first", event))
        one.membership.join(["two:7000", "10.0.0.3:7000"])
        end_of_last()

    def last(event: Event) -> None:
        heard.append(("last", event))

    one.membership.subscribe(first)
    end_of_last = one.membership.subscribe(last)
    one.membership.subscribe(lambda event: heard.append(("third", event)))
    one.membership.join(["two:7000"])
    await until_all_see_each_other(list(cluster.members.values()))
    assert [who for who, _ in heard] == ["first", "last", "third", "first", "third"]
    assert [event for who, event in heard if who == "third"] == one.events


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_what_a_subscriber_raises_ends_the_membership(world: World) -> None:
    def fail(event: Event) -> None:
        raise KeyError(event)

    await Cluster(world).start("one", [])
    ports = ports_of(world, "two")
    socket = await ports.net.bind_udp(world.machines["two"].address, PORT)
    node = Node(format_address(socket.local_address), 1)
    with pytest.raises(KeyError):
        async with open_membership(
            socket, node, cluster="blue", config=CONFIG, ports=ports
        ) as membership:
            membership.subscribe(fail)
            membership.join(["one:7000"])
            await trio.sleep_forever()
    assert world.network.open_endpoints == ["udp 10.0.0.1:7000"]


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_paused_member_hears_its_socket_before_its_timers(world: World) -> None:
    members = await Cluster(world).start_all(*HOSTS)
    one, two, three = members
    for _ in range(10):
        world.machines["three"].pause(world.now() + 3_000_000)
        await trio.sleep(5)
    assert three.told(Suspected) == []
    assert three.membership.statistics().swim.pauses > 0
    assert one.told(Lost) == two.told(Lost) == []
    await until_all_see_each_other(members)


@simulated(seeds=1, profile="calm", hosts=HOSTS)
async def test_what_is_no_node_or_no_cluster(world: World) -> None:
    ports = ports_of(world, "one")
    for address, cluster, problem in [
        ("one:7000", "blue", "numeric host"),
        ("10.0.0.1", "blue", "numeric host"),
        ("[::0:1]:70", "blue", "numeric host"),
        ("10.0.0.1:0", "blue", "numeric host"),
        ("[10.0.0.1]:70", "blue", "numeric host"),
        ("10.0.0.1:70", "", "cluster"),
    ]:
        socket = await ports.net.bind_udp(world.machines["one"].address)
        with pytest.raises(InvalidParameter, match=problem):
            async with open_membership(
                socket, Node(address, 1), cluster=cluster, config=CONFIG, ports=ports
            ):
                pass
        socket.close()
