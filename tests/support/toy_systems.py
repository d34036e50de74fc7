"""Systems that do little, each with a flaw of its own, to try the simulator's commands on."""

import os
import signal

import trio

from trio440.errors import InvariantViolated
from trio440.sim.faults import HostTraits
from trio440.sim.stage import Stage
from trio440.sim.systems import System
from trio440.sim.world import World

HOSTS = (HostTraits("server", may_crash=True), HostTraits("client"))
NEEDED = {0, 2}
"""The positions of the faults that FLAWED needs to fail."""


def hear(data: bytes, source: str) -> None:
    del data, source


def play(stage: Stage) -> None:
    stage.on_datagram("server", hear)
    for step in range(20):
        stage.at(step * 100_000, lambda: stage.send("client", "server", b"hello"))
    stage.run()


async def story(world: World) -> None:
    world.note(f"drew {world.rng('note').random()}")
    await world.healed()


async def talk(world: World) -> None:
    print("a system may print")  # noqa: T201 - it must disturb nobody
    await story(world)


async def flawed(world: World) -> None:
    await world.healed()
    happening = {place for place, _ in world.plan.happening}
    if happening >= NEEDED and world.setup.seed % 5 == 3:
        raise InvariantViolated("nothing breaks", "it broke\ntwice")


async def spin(world: World) -> None:
    while world.setup.seed == 2:
        pass


async def die(world: World) -> None:
    if world.setup.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)


async def stumble(world: World) -> None:
    await trio.sleep(1.5)
    raise ValueError("no such thing")


async def differ(world: World) -> None:
    world.note(f"a hash of this process: {hash('word')}")
    raise InvariantViolated("nothing breaks", "it broke")


DIFFERS = System(name="differs", summary="", hosts=HOSTS, level_b=differ)
GOOD = System(name="good", summary="plays", hosts=HOSTS, level_a=play, level_b=story)
LOUD = System(name="loud", summary="", hosts=HOSTS, level_b=talk)
FLAWED = System(name="flawed", summary="breaks", hosts=HOSTS, level_b=flawed)
SPINS = System(name="spins", summary="", hosts=HOSTS, level_b=spin)
DIES = System(name="dies", summary="", hosts=HOSTS, level_b=die)
STUMBLES = System(name="stumbles", summary="", hosts=HOSTS, level_b=stumble)
