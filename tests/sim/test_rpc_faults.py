"""RPC where machines crash, pause and are cut off: every call ends, and ends truthfully."""

from collections import Counter
from contextlib import suppress
from typing import Final

import pytest
import trio

from tests.support.rpc_world import HOSTS, PORT, Number, Shop, Text, ports_of
from trio440 import rpc
from trio440.core.host import Host
from trio440.errors import AnswerLost, CallTimedOut, RpcError
from trio440.sim import simulated
from trio440.sim.world import World

CALLS: Final = 60
TASKS: Final = 4
TIMEOUT_SECONDS: Final = 4.0
AGAIN_SECONDS: Final = 10.0
"""The silence of a client and its longest wait, and room for both sides' clocks."""
SLACK_SECONDS: Final = 0.5
"""Clocks drift, and a paused machine notices late."""


class Watch:
    """What the two programs do, and what must hold of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handled: Counter[int] = Counter()
        self.endings: Counter[str] = Counter()
        self.tells: list[tuple[int, int]] = []
        self.running = 0
        self.incarnation = 0
        self.next_value = 0
        self.done = trio.Event()

    async def serve(self, ports: Host) -> None:
        self.incarnation += 1
        identity = rpc.Identity("c", "server", self.incarnation)
        routes, life = rpc.Routes(), self.incarnation

        @routes.answers(Shop.double)
        def double(request: Number, _: rpc.Peer) -> Number:
            self.handled[request.value] += 1
            return Number(2 * request.value)

        @routes.answers(Shop.slow)
        async def slow(request: Number, _: rpc.Peer) -> Number:
            self.handled[request.value] += 1
            await ports.clock.sleep(ports.rng.uniform(0, 2))
            return Number(2 * request.value)

        @routes.takes(Shop.note)
        def note(message: Number, _: rpc.Peer) -> None:
            self.tells.append((life, message.value))

        @routes.answers(Shop.who)
        def who(_: Text, peer: rpc.Peer) -> Text:
            return Text(peer.identity.node_id)

        host = self.world.machines["server"].address
        await rpc.serve(PORT, routes, host=host, identity=identity, ports=ports)

    async def use(self, ports: Host) -> None:
        async with rpc.open_client(
            "server",
            PORT,
            identity=rpc.Identity("c", "client"),
            expected=rpc.Expected("server"),
            limits=rpc.ClientLimits(silence_seconds=2, longest_wait_seconds=1),
            ports=ports,
        ) as client:
            async with trio.open_nursery() as nursery:
                for _ in range(TASKS):
                    nursery.start_soon(self.ask_on, client, ports)
            await self.world.healed()
            await self.ask_again(client, ports)
            self.judge(client.statistics())
        self.done.set()

    async def ask_again(self, client: rpc.Client, ports: Host) -> None:
        """All is well again: so are calls, once a connection that died is known to be dead."""
        with ports.clock.fail_after(AGAIN_SECONDS):
            while True:
                with suppress(AnswerLost):
                    assert await Shop(client).who(Text()) == Text("client")
                    return

    async def ask_on(self, client: rpc.Client, ports: Host) -> None:
        for _ in range(CALLS // TASKS):
            self.next_value = value = self.next_value + 1
            began = ports.clock.now()
            try:
                await self.ask(client, value, ports)
            except RpcError as error:
                self.endings[type(error).__name__] += 1
                self.world.require(
                    isinstance(error, AnswerLost | CallTimedOut), "only these", repr(error)
                )
            took = ports.clock.now() - began
            paused = self.world.setup.profile != "partitions"
            self.world.require(
                paused or took <= TIMEOUT_SECONDS + SLACK_SECONDS, "in time", f"{took}"
            )
            Shop(client).note(Number(value))
            await ports.clock.sleep(ports.rng.uniform(0, 1))

    async def ask(self, client: rpc.Client, value: int, ports: Host) -> None:
        method = ports.rng.choice([Shop.double, Shop.slow])
        if ports.rng.random() < 0.2:
            with trio.move_on_after(ports.rng.uniform(0, 1)):
                await self.check(client, method, value)
                return
            self.endings["cancelled"] += 1
        else:
            await self.check(client, method, value)

    async def check(
        self, client: rpc.Client, method: rpc.Method[Number, Number], value: int
    ) -> None:
        answer = await client.call(method, Number(value), timeout_seconds=TIMEOUT_SECONDS)
        self.world.require(answer == Number(2 * value), "its own answer", f"{value}: {answer}")
        self.world.require(self.handled[value] == 1, "an answer was handled", f"{value}")
        self.endings["answered"] += 1

    def judge(self, counts: rpc.ClientStatistics) -> None:
        require = self.world.require
        require(max(self.handled.values()) == 1, "at most once", f"{self.handled}")
        require(counts.calls_in_flight == 0, "no call is left", f"{counts}")
        for life in range(1, self.incarnation + 1):
            heard = [value for of, value in self.tells if of == life]
            require(len(heard) == len(set(heard)), "a message comes once", f"{heard}")
        self.world.note(f"{sorted(self.endings.items())}")


async def _play(world: World) -> None:
    watch = Watch(world)
    world.start("server", watch.serve)
    world.start("client", watch.use)
    await watch.done.wait()
    world.require(watch.endings["answered"] >= CALLS / 4, "much is answered", f"{watch.endings}")
    TROUBLES.update(watch.endings, worlds=1)


TROUBLES: Final = Counter[str]()
"""How calls ended in all worlds."""


@pytest.mark.slow
@simulated(seeds=4, profile="partitions", hosts=HOSTS, duration_seconds=600, heal_seconds=40)
async def test_calls_end_truthfully_through_partitions(world: World) -> None:
    await _play(world)


@pytest.mark.slow
@simulated(seeds=4, profile="crashes", hosts=["server"], duration_seconds=600, heal_seconds=40)
async def test_calls_end_truthfully_through_crashes_of_the_server(world: World) -> None:
    world.add_machine("client")
    await _play(world)


@simulated(seeds=4, profile="hostile", hosts=HOSTS, duration_seconds=600, heal_seconds=40)
async def test_calls_end_truthfully_through_everything(world: World) -> None:
    await _play(world)


@simulated(seeds=2, profile="calm", hosts=HOSTS)
async def test_a_restarted_server_is_found_again_under_its_new_incarnation(world: World) -> None:
    watch = Watch(world)
    machine = world.start("server", watch.serve)
    ports = ports_of(world, "client")
    async with rpc.open_client("server", PORT, identity=rpc.Identity("c"), ports=ports) as client:
        for life in range(1, 5):
            assert (await client.wait_connected()).identity.incarnation == life
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    with pytest.raises(AnswerLost):
                        while True:
                            await Shop(client).slow(Number(1))

                nursery.start_soon(ask)
                await trio.sleep(0.5)
                machine.crash()
                await trio.sleep(0.3)
                machine.restart()
            assert await Shop(client).double(Number(2), timeout_seconds=8) == Number(4)
        assert client.statistics().connects == 5


@simulated(seeds=2, profile="calm", hosts=HOSTS)
async def test_attempts_to_reach_a_dead_machine_become_rare(world: World) -> None:
    ports = ports_of(world, "client")
    async with rpc.open_client("server", PORT, ports=ports) as client:
        await trio.sleep(60)
        assert 10 <= client.statistics().attempts <= 40


def test_faults_were_met() -> None:
    if TROUBLES["worlds"] >= 12:
        assert min(TROUBLES[name] for name in ("AnswerLost", "CallTimedOut", "cancelled")) >= 3
