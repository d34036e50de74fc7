"""What a cluster has to stand, each as a function of a seed that asserts what it should."""

from tests.support.swim_world import World
from trio440.actors.cluster import Back, Config, Joined, Left, Lost, State, Suspected

DETECTED_S = 25
"""Six members: at most 2n - 1 probes, and a suspicion of 5 s with three confirmations."""


def joined(count: int, *, seed: int, config: Config | None = None) -> World:
    """Return a cluster in which everybody has met, by encoded messages."""
    world = World(count, seed=seed, config=config, by_wire=True)
    world.run_until_converged(10)
    return world


def quiet(seed: int) -> None:
    """Without faults nobody is suspected, and gossip ends."""
    world = joined(6, seed=seed)
    world.run(10)
    world.sent.clear()
    world.run(20)
    assert world.is_converged()
    assert world.count(Suspected) == world.count(Lost) == 0
    assert world.sent["Gossip"] == 0, "there is nothing to tell"
    assert 6 * 19 <= world.sent["Ping"] <= 6 * 21, "one probe each second"
    assert all(machine.swim.statistics().queued == 0 for machine in world.up)


def crash(seed: int) -> None:
    """A crashed member is lost to all, once, in bounded time, and probed no more."""
    world = joined(6, seed=seed)
    dead = world["n3"].node
    world.crash("n3")
    world.run(DETECTED_S)
    for machine in world.up:
        assert [event for _, event in machine.log if event == Lost(dead)] == [Lost(dead)]
    assert world.count(Lost) == 5, "and nobody else is"
    world.sent.clear()
    world.run(20)
    assert world.sent["PingReq"] == 0
    assert all(machine.swim.statistics().health == 0 for machine in world.up)
    assert all(machine.swim.statistics().nacks_missed == 0 for machine in world.up)
    assert all(machine.swim.statistics().pauses == 0 for machine in world.up)
    assert world.is_converged()


def loss(seed: int) -> None:
    """A fifth of all messages is lost, and nobody counts as lost."""
    world = joined(6, seed=seed)
    world.loss = 0.2
    world.run(30)
    assert world.count(Suspected) > 0, "the trial is one"
    assert world.count(Lost) == 0
    world.loss = 0
    world.run_until_converged(35)


def partition(seed: int) -> None:
    """Halves lose each other, and after healing find each other without a restart."""
    world = joined(6, seed=seed)
    world.partition(["n0", "n1", "n2"])
    world.run(60)
    assert all(len(machine.swim.live()) == 3 for machine in world.up)
    lost = world.count(Lost)
    assert lost == 18
    world.heal()
    world.run_until_converged(45)
    assert world.count(Back) == 18
    assert world.count(Lost) == lost, "nobody loses those of its own side to healing"


def alone(seed: int) -> None:
    """A member that was cut off alone comes back, and knows who crashed meanwhile."""
    world = joined(6, seed=seed)
    world.partition(["n2"])
    world.run(120)
    assert [node.address for node in world["n2"].live()] == ["n2"]
    world.crash("n4")
    world.run(30)
    world.heal()
    world.run_until_converged(60)


def bad_link(seed: int) -> None:
    """Two members that do not reach each other are vouched for by the others."""
    world = joined(6, seed=seed)
    world.cut_links = {frozenset(("n1", "n2"))}
    world.run(40)
    assert world.count(Suspected) == 0
    assert world.is_converged()


def pause(seed: int) -> None:
    """A member that slept is lost, blames nobody, and comes back."""
    world = joined(6, seed=seed)
    world.crash("n5")
    world.run(5)
    world.pause("n1")
    world.run(30)
    at = world.now
    world.resume("n1")
    world.run_until_converged(45)
    later = [event for when, event in world.machines["n1"].log if when >= at]
    assert {event.node.address for event in later if isinstance(event, Lost)} <= {"n5"}
    assert world.count(Back) == 4


def nap(seed: int) -> None:
    """A member that sleeps for less than a suspicion lasts is not lost, nor is anybody to it."""
    world = joined(6, seed=seed)
    for _ in range(4):
        world.pause("n1")
        world.run(3.5)
        world.resume("n1")
        world.run(1.5)
    assert world.count(Lost) == 0
    world.run_until_converged(20)


def deaf(seed: int) -> None:
    """A member that slept, and lost what came meanwhile, gives a suspect its time all the same."""
    world = joined(6, seed=seed)
    suspect = world["n5"].node
    world.pause("n5")
    while world.first("n1", Suspected, "n5") is None:
        world.run(0.25)
    world.pause("n1", keeps=False)
    world.resume("n5")
    world.run(40)
    world.resume("n1")
    world.run_until_converged(45)
    assert Lost(suspect) not in [event for _, event in world.machines["n1"].log]


def leave(seed: int) -> None:
    """One who leaves is not taken for lost, and is not missed."""
    world = joined(6, seed=seed)
    world.leave("n4")
    world.run(3)
    assert world["n4"].has_left
    assert world["n4"].next_deadline() is None
    assert world.count(Left) == 5
    world.run(20)
    assert world.count(Suspected) == world.count(Lost) == 0
    assert world.is_converged()


def restart(seed: int) -> None:
    """A later life that knows nobody is found at its address, and told from the earlier one."""
    world = joined(6, seed=seed)
    earlier = world["n0"].node
    world.crash("n0")
    world.start("n0", [])
    world.run_until_converged(8)
    assert world.count(Suspected) == 0
    for machine in world.up:
        if machine.name != "n0":
            events = [event for _, event in machine.log]
            assert events.index(Lost(earlier)) < events.index(Joined(world["n0"].node))
    world.run(30)
    assert world.is_converged()


def forget(seed: int) -> None:
    """The lost are tried again for a while, at a low rate, and then forgotten by all."""
    config = Config(forget_us=90_000_000, push_pull_interval_us=5_000_000)
    world = joined(6, seed=seed, config=config)
    world.crash("n3")
    world.run(60)
    states = {one.state for m in world.up for one in m.swim.records() if one.node.address == "n3"}
    assert states == {State.LOST}
    world.run(65)
    assert all(machine.swim.statistics().known == 4 for machine in world.up)
    world.run(30)
    assert all(machine.swim.statistics().known == 4 for machine in world.up)


def crowd(seed: int) -> None:
    """Many join at once; no message is longer than a datagram."""
    world = World(24, seed=seed, by_wire=True)
    world.run_until_converged(60)
    assert world.count(Joined) == 24 * 23
    assert world.count(Suspected) == 0


TRIALS = (
    quiet,
    crash,
    loss,
    partition,
    alone,
    bad_link,
    pause,
    nap,
    deaf,
    leave,
    restart,
    forget,
    crowd,
)
