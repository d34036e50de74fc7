"""Actors of several systems: messages, questions, watches and ends across simulated networks."""

from typing import Any, Final

import attrs
import pytest
import trio

from tests.support.actors_world import (
    HOSTS,
    PORT,
    SEEDS,
    Add,
    Counter,
    Get,
    GetNames,
    Names,
    Slow,
    cut,
    system_on,
)
from tests.support.rpc_world import ports_of, until
from trio440 import actors
from trio440.actors.cluster import Left, Lost, Node
from trio440.actors.testing import open_probe
from trio440.core.host import Host
from trio440.errors import (
    ActorFailed,
    ActorStopped,
    AskTimedOut,
    InvalidParameter,
    MailboxFull,
    NameUnknown,
    StartFailed,
    SystemSuperseded,
)
from trio440.sim import simulated
from trio440.sim.world import World


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_messages_and_questions_go_to_actors_of_other_systems(world: World) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        counter = await two.spawn(Counter)
        assert counter.address == two.address == f"{world.machines['two'].address}:{PORT}"
        for amount in range(100):
            one.tell(counter, Add(amount))
        assert await one.ask(counter, Get()) == sum(range(100))
        one.tell(counter, Names(["a", "b"]))
        assert await one.ask(counter, GetNames()) == Names(["a", "b"])
        await until(lambda: len(one.members) == len(two.members) == 2)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_question_that_cannot_be_answered_fails_as_at_home(world: World) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        small = actors.MailboxPolicy(1)
        once = actors.Restart("temporary")
        counter = await two.spawn(Counter, mailbox=small)
        async with trio.open_nursery() as nursery:
            for _ in range(2):  # one is handled, and one waits
                nursery.start_soon(one.ask, counter, Slow(2))
                await trio.sleep(0.5)
            with pytest.raises(MailboxFull, match="limit is 1 messages"):
                await one.ask(counter, Get())
        with pytest.raises(AskTimedOut):
            await one.ask(counter, Slow(5), timeout_seconds=1)
        failing = await two.spawn(fail, restart=once)
        with pytest.raises(ActorFailed, match="ValueError: of no use"):
            await one.ask(failing, Get())
        with pytest.raises(ActorStopped, match="has stopped"):
            await one.ask(failing, Get())
        nobody: actors.Ref[Get] = actors.Ref("nowhere", 1, 1)
        with pytest.raises(ActorStopped, match="no link leads to nowhere"):
            await one.ask(nobody, Get())


async def fail(context: actors.Context[Get], message: Get) -> int:
    del context, message
    raise ValueError("of no use")


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_references_travel_in_messages_and_answers_to_them_come_back(world: World) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        relay = await two.spawn(pass_on)
        async with open_probe(one, Add) as probe:
            one.tell(relay, PassOn(probe.ref, 7))
            assert await probe.expect(Add) == Add(7)
        with one.open_reply(Add) as reply:
            one.tell(relay, PassOn(reply.ref, 8))
            assert await reply.wait() == Add(8)


@actors.message("test.PassOn")
@attrs.frozen
class PassOn:
    to: actors.Ref[Add]
    amount: int


async def pass_on(context: actors.Context[PassOn], message: PassOn) -> None:
    context.tell(message.to, Add(message.amount))


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_watch_of_an_actor_elsewhere_ends_once_whatever_became_of_it(world: World) -> None:
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        open_probe(one, actors.Down) as probe,
    ):
        once = actors.Restart("temporary")
        stopping, crashing = await two.spawn(Counter), await two.spawn(Counter, restart=once)
        gone: actors.Ref[Any] = attrs.evolve(stopping, counter=99)
        watcher = await one.spawn(Watcher, probe.ref)
        for ref in (stopping, crashing, gone):
            one.tell(watcher, Begin(ref))
        assert (await probe.expect(actors.Down)).reason == "unknown"
        await until(lambda: watched(two, stopping) and watched(two, crashing))
        await one.stop(stopping)
        down = await probe.expect(actors.Down)
        assert (down.ref, down.reason) == (stopping, "stopped")
        one.tell(crashing, Add(-1))
        down = await probe.expect(actors.Down)
        assert (down.ref, down.reason, down.detail) == (crashing, "crashed", "ValueError: -1")
        await probe.expect_nothing(for_seconds=30)


def watched(system: actors.ActorSystem, ref: actors.Ref[Any]) -> bool:
    found = system.actor_statistics(ref)
    return found is not None and found.watchers > 0


@actors.message("test.Begin")
@attrs.frozen
class Begin:
    ref: actors.Ref[Any]


class Watcher(actors.Actor[Begin | actors.Down]):
    def __init__(self, probe: actors.Ref[actors.Down]) -> None:
        self.probe = probe

    @actors.handler
    async def begin(self, message: Begin) -> None:
        self.context.watch(message.ref)

    @actors.handler
    async def down(self, message: actors.Down) -> None:
        self.context.tell(self.probe, message)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=600)
async def test_a_lost_system_ends_watches_and_questions_and_a_later_life_is_another(
    world: World,
) -> None:
    refs: list[actors.Ref[Any]] = []

    async def live(ports: Host) -> None:
        seeds = (f"{world.machines['one'].address}:{PORT}",)
        async with actors.open_actor_system(
            world.machines["two"].address,
            PORT,
            networking=actors.Networking(seeds=seeds),
            ports=ports,
        ) as system:
            refs.append(await system.spawn(Counter))
            await trio.sleep_forever()

    async with system_on(world, "one") as one, open_probe(one, actors.Down) as probe:
        world.start("two", live)
        await until(lambda: refs and len(one.members) == 2)
        watcher = await one.spawn(Watcher, probe.ref)
        one.tell(watcher, Begin(refs[0]))
        assert await one.ask(refs[0], Get()) == 0
        world.machines["two"].crash()
        with pytest.raises(ActorStopped, match="its system is lost"):
            await one.ask(refs[0], Slow(1), timeout_seconds=100)
        down = await probe.expect(actors.Down, within_seconds=60)
        assert (down.ref, down.reason) == (refs[0], "lost")
        with one.dead_letters() as letters:
            one.tell(refs[0], Add(1))
            assert (await letters.receive()).reason == "unreachable"
            world.machines["two"].restart()
            await until(lambda: len(refs) == 2 and len(one.members) == 2)
            assert refs[1].address == refs[0].address
            assert refs[1].incarnation > refs[0].incarnation
            assert await one.ask(refs[1], Get()) == 0
            one.tell(refs[0], Add(1))
            one.tell(watcher, Begin(refs[0]))
        down = await probe.expect(actors.Down)
        assert (down.ref, down.reason) == (refs[0], "lost")
        assert await one.ask(refs[1], Get()) == 0
        await probe.expect_nothing(for_seconds=60)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=600)
@pytest.mark.parametrize("delivery", ["at_most_once", "acknowledged"])
async def test_connections_that_break_lose_what_may_be_lost_and_double_nothing(
    world: World, delivery: actors.Delivery
) -> None:
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    limits = actors.LinkLimits(silence_seconds=1, longest_wait_seconds=0.2)
    networking = actors.Networking(seeds=seeds, delivery=delivery, limits=limits)
    async with (
        system_on(world, "one", networking=networking) as one,
        system_on(world, "two") as two,
        open_probe(two, Add) as probe,
    ):
        await until(lambda: len(one.members) == 2)
        for number in range(400):
            one.tell(probe.ref, Add(number))
            await trio.sleep(0.05)
            if number % 100 == 50:
                with cut(world, "two"):
                    await trio.sleep(2)
        [link] = [each for each in one.links() if each.address == two.address]
        got = [(await probe.expect(Add, within_seconds=30)).amount]
        while got[-1] < 399:
            got.append((await probe.expect(Add, within_seconds=30)).amount)
        assert got == sorted(set(got)), "in order, each once"
        if delivery == "acknowledged":
            assert got == list(range(400))
        assert link.connects >= 4


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=600)
async def test_a_system_that_others_take_for_an_earlier_life_ends(world: World) -> None:
    ports = ports_of(world, "two")
    address = world.machines["two"].address
    alone = actors.Networking()
    with pytest.raises(SystemSuperseded) as caught:
        async with system_on(world, "one") as one:
            async with actors.open_actor_system(
                address, PORT, networking=attrs.evolve(alone, after=1 << 61), ports=ports
            ) as two:
                two.join([one.address])
                await until(lambda: len(one.members) == 2)
                later = two.incarnation
            async with actors.open_actor_system(
                address, PORT, networking=alone, ports=ports
            ) as two:
                assert two.incarnation < later
                two.join([one.address])
                await trio.sleep_forever()
    assert caught.value.incarnation == later


@pytest.mark.slow
@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS, duration_seconds=600)
async def test_names_are_known_everywhere_while_their_owners_are_there(world: World) -> None:
    async with (
        system_on(world, "one") as one,
        system_on(world, "two") as two,
        system_on(world, "three") as three,
    ):
        await until(lambda: all(len(each.members) == 3 for each in (one, two, three)))
        low, high = sorted([await one.spawn(Counter), await two.spawn(Counter)])
        assert (low.address, high.address) == (one.address, two.address)
        one.register("counter", low, scope="cluster")
        assert await three.wait_registered("counter") == low
        two.register("counter", high, scope="cluster")
        await until(lambda: all(each.lookup("counter") == high for each in (one, two, three)))
        await one.stop(high)
        await until(lambda: all(each.lookup("counter") == low for each in (one, two, three)))
        one.register("counter", high, scope="system")
        assert (one.lookup("counter"), two.lookup("counter")) == (high, low)
        with cut(world, "one"):
            await until(lambda: three.lookup("counter") is None, 60)
        await until(lambda: three.lookup("counter") == low, 60)
        one.unregister("counter", scope="cluster")
        await until(lambda: three.lookup("counter") is None)
        with pytest.raises(NameUnknown, match="nobody had the name 'counter' within 1 s"):
            await three.wait_registered("counter", timeout_seconds=1)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_what_a_system_offers_is_spawned_there_for_others(world: World) -> None:
    async with system_on(world, "one") as one, system_on(world, "two") as two:
        two.offer("counter", Counting)
        ref = await one.spawn_at(two.address, "counter", 3, Names(["a"]))
        assert ref.address == two.address
        assert await one.ask(ref, Get()) == 3
        assert await one.ask(ref, GetNames()) == Names(["a"])
        with pytest.raises(StartFailed, match="nothing is offered under the name 'other'"):
            await one.spawn_at(two.address, "other")
        with pytest.raises(StartFailed, match=r"Counting\.__init__"):
            await one.spawn_at(two.address, "counter")
        with pytest.raises(AskTimedOut):
            await one.spawn_at("10.9.9.9:1", "counter", timeout_seconds=1)
        with pytest.raises(InvalidParameter, match=r"an argument must be a message, .*not \[1\]"):
            await one.spawn_at(two.address, "counter", [1])
        two.offer("unannotated", lambda *_: Counter())
        with pytest.raises(StartFailed, match=r"'test.Unread' of version 1 is known, see learn"):
            await one.spawn_at(two.address, "unannotated", Unread())
        with pytest.raises(InvalidParameter, match="offered once"):
            two.offer("counter", Counter)
        await one.stop(ref)
        assert (await one.wait_stopped(ref)).reason == "unknown"


@actors.message("test.Unread")
@attrs.frozen
class Unread:
    pass


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_who_finds_none_of_its_seeds_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [record.message for record in caplog.records if "seeds" in record.message]

    async with system_on(world, "one"):
        first = f"{world.machines['one'].address}:{PORT}"
        assert said() == []
        other = actors.Networking(cluster="other", seeds=[first])
        async with system_on(world, "two", networking=other) as two:
            assert len(said()) == 1
            assert said()[0].startswith(f"{two.address} has found none of its seeds yet and goes")
            assert "cluster: 'other', the server's 'actors'" in said()[0]
        caplog.clear()
        async with system_on(world, "three"):
            assert said() == []


class Counting(Counter):
    def __init__(self, total: int, names: Names) -> None:
        super().__init__()
        self.total, self.names = total, names.names


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_link_keeps_to_its_bounds(world: World) -> None:
    limits = actors.LinkLimits(messages=5, message_bytes=1000, links=2)
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    networking = actors.Networking(seeds=seeds, limits=limits)
    async with system_on(world, "one", networking=networking) as one:
        nobody: actors.Ref[Any] = actors.Ref("10.9.9.9:1", 1, 1)
        with one.dead_letters() as letters:
            for amount in range(7):
                one.tell(nobody, Add(amount))
            one.tell(nobody, Names(["x" * 1000]))
            one.tell(attrs.evolve(nobody, address="10.9.9.9:2"), Add(1))
            one.tell(attrs.evolve(nobody, address="10.9.9.9:3"), Add(1))
            for address in ("a" * 200 + ":1", "a\n:1", "a:0"):
                one.tell(attrs.evolve(nobody, address=address), Add(1))
            reasons = [letters.receive_nowait().reason for _ in range(7)]
        assert reasons == ["link_full"] * 3 + ["unreachable"] * 4
        with pytest.raises(ActorStopped, match="as much as may be waits"):
            await one.ask(nobody, Get())
        assert [link.waiting for link in one.links()] == [5, 1]
        with one.dead_letters() as letters, trio.fail_after(100):
            gone = [await letters.receive() for _ in range(6)]
        assert {letter.detail for letter in gone} == {"cannot be reached"}
        assert one.links() == []


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_old_news_of_an_earlier_life_harm_no_link_to_the_present_one(world: World) -> None:
    async with system_on(world, "one") as one:
        async with system_on(world, "two") as two:
            earlier = Node(two.address, two.incarnation)
            counter = await two.spawn(Counter)
            assert await one.ask(counter, Get()) == 0
        world.machines["two"].crash()
        async with system_on(world, "two") as two:
            counter = await two.spawn(Counter)
            one.tell(counter, Add(1))
            assert await one.ask(counter, Get()) == 1
            (link,) = one.links()
            assert one._front is not None
            for news in (Lost(earlier), Left(earlier)):
                one._front.network.hear(news)
                one.tell(counter, Add(1))
                (after,) = one.links()
                assert (after.connects, after.is_lost) == (link.connects, False)
            assert await one.ask(counter, Get()) == 3


EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - of a machine that is simulated


@pytest.mark.parametrize(
    "host", ["", "example.com", EVERYWHERE, "::", "[::1]", "0::1", "10.0.0.1:7000", 5]
)
def test_what_others_cannot_reach_a_system_under_is_refused(host: Any) -> None:
    with pytest.raises(InvalidParameter, match="advertised must be the numeric address"):
        actors.Networking(advertised=host)


@simulated(seeds=SEEDS, profile="calm", hosts=HOSTS)
async def test_a_system_that_listens_everywhere_says_under_which_host_it_is_reached(
    world: World,
) -> None:
    machine = world.machines["two"]
    seeds = (f"{world.machines['one'].address}:{PORT}",)
    networking = actors.Networking(seeds=seeds, advertised=machine.address)
    async with (
        system_on(world, "one") as one,
        actors.open_actor_system(
            EVERYWHERE, PORT, networking=networking, ports=ports_of(world, "two")
        ) as two,
    ):
        assert two.address == f"{machine.address}:{PORT}"
        counter = await two.spawn(Counter)
        assert await one.ask(counter, Get()) == 0
        await until(lambda: len(one.members) == len(two.members) == 2)
