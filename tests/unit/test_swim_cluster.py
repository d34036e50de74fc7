"""Clusters of SWIM's cores on a network with faults: completeness, accuracy, convergence."""

import random
from collections.abc import Callable

import pytest

from tests.support.swim_trials import TRIALS
from tests.support.swim_world import World
from trio440.actors.cluster import Lost, Superseded


@pytest.mark.parametrize("trial", TRIALS, ids=[trial.__name__ for trial in TRIALS])
def test_a_cluster_stands(trial: Callable[[int], None]) -> None:
    trial(0)


@pytest.mark.campaign
@pytest.mark.parametrize("trial", TRIALS, ids=[trial.__name__ for trial in TRIALS])
def test_a_cluster_stands_under_many_seeds(trial: Callable[[int], None]) -> None:
    for seed in range(1, 100):
        trial(seed)


def strike(world: World, rng: random.Random) -> None:
    """Let one thing happen to one machine, or to the network."""
    names = list(world.machines)
    world.loss = rng.choice([0, 0, 0.1, 0.4])
    machine = world.machines[rng.choice(names[1:])]
    is_running = machine.is_up and machine.held is None
    match rng.randrange(6):
        case 0 if is_running and len(world.up) > 2:
            world.crash(machine.name)
        case 1 if not machine.is_up:
            world.start(machine.name, rng.sample(names, 2))
        case 2 if is_running:
            world.pause(machine.name, keeps=rng.random() < 0.5)
        case 3 if machine.is_up and not is_running:
            world.resume(machine.name)
        case 4:
            world.partition(rng.sample(names, rng.randint(1, len(names) - 1)))
        case 5:
            world.heal()


def hostile_weather(seed: int, count: int, turns: int) -> None:
    """Anything happens to anybody; then nothing does, and all must see who is there."""
    rng = random.Random(f"weather/{seed}")
    world = World(count, seed=seed, delay_us=(500, 150_000), by_wire=True)
    world.run(3)
    for _ in range(turns):
        strike(world, rng)
        world.run(rng.uniform(0.1, 15))
    world.heal()
    world.loss = 0
    for machine in world.up:
        if machine.held is not None:
            world.resume(machine.name)
    world.run_until_converged(150)
    converged = world.now
    world.run(10)
    assert world.is_converged()
    nodes = {machine.swim.node for machine in world.up}
    for machine in world.up:
        later = [event for at, event in machine.log if at > converged]
        assert not [event for event in later if isinstance(event, Lost) and event.node in nodes]
    assert world.count(Superseded) == 0


def test_everybody_is_known_after_any_weather() -> None:
    for seed in range(3):
        hostile_weather(seed, 5, 12)


@pytest.mark.campaign
def test_everybody_is_known_after_much_weather() -> None:
    for seed in range(3, 200):
        hostile_weather(seed, 5, 20)
    for seed in range(20):
        hostile_weather(seed, 12, 25)


def test_the_same_seed_gives_the_same_run() -> None:
    logs = []
    for _ in range(2):
        world = World(5, seed=7, loss=0.2)
        world.run(20)
        logs.append([machine.log for machine in world.machines.values()])
    assert logs[0] == logs[1]
    assert any(logs[0])


@pytest.mark.campaign
@pytest.mark.parametrize("loss", [0, 0.05, 0.2])
def test_fifty_members(loss: float) -> None:
    for seed in range(4):
        world = World(50, seed=seed, loss=loss)
        world.run(60)
        assert world.count(Lost) == 0
        gone = world["n3"].node
        world.crash("n3")
        world.run(40)
        for machine in world.up:
            assert Lost(gone) in [event for _, event in machine.log]
        assert world.count(Lost) == 49
