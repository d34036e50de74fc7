"""Machines and worlds: power, pauses, clocks, faults, and how a world ends."""

import subprocess
import threading
from collections.abc import Awaitable, Callable

import pytest
import trio

from trio440.core.host import Host
from trio440.errors import InvariantViolated, SimulationError
from trio440.sim.faults import HostTraits
from trio440.sim.outcome import Order, Outcome, Setup
from trio440.sim.power import PowerCut
from trio440.sim.running import run, simulate
from trio440.sim.trace import Trace
from trio440.sim.world import World

SECOND = 1_000_000
Story = Callable[[World], Awaitable[object]]


def play(
    story: Story,
    *,
    seed: int = 0,
    profile: str = "calm",
    hosts: tuple[HostTraits, ...] = (),
    seconds: int = 60,
) -> tuple[Outcome, Trace]:
    setup = Setup("test", seed, profile=profile)
    return simulate(story, setup, hosts=hosts, duration=seconds * SECOND, keep_trace=True)


def passed(story: Story, *, seed: int = 0, seconds: int = 60) -> Trace:
    outcome, trace = play(story, seed=seed, seconds=seconds)
    assert outcome.failure is None, outcome.failure
    return trace


# Power


def test_a_program_runs_on_its_machine() -> None:
    async def story(world: World) -> None:
        async def program(ports: Host) -> None:
            await ports.clock.sleep(2)
            world.note("slept", "alone")

        machine = world.start("alone", program)
        assert machine.is_up
        await trio.sleep(3)

    lines = [(event.at, event.kind, event.text) for event in passed(story)]
    assert lines == [
        (0, "start", "life 1"),
        (2 * SECOND, "note", "slept"),
        (2 * SECOND, "stop", "the program of life 1 has ended"),
    ]


def test_a_crash_lets_nothing_be_saved() -> None:
    ends: list[str] = []

    async def program(ports: Host) -> None:
        disk = ports.disk("data")
        file = disk.open_append("log")
        disk.sync_directory("")
        file.append(b"synced")
        file.sync()
        try:
            await ports.clock.sleep(100)
        finally:
            calls: dict[str, Callable[[], object]] = {
                "append": lambda: file.append(b" saved by a finally"),
                "sync": file.sync,
                "now": ports.clock.now,
                "list": lambda: disk.list_directory(""),
            }
            for name, call in calls.items():
                try:
                    call()
                except PowerCut:
                    ends.append(name)

    async def story(world: World) -> None:
        machine = world.start("alone", program)
        await trio.sleep(1)
        before = machine.disk
        machine.crash()
        assert not machine.is_up
        assert machine.disk is not before
        await trio.sleep(1)
        assert ends == ["append", "sync", "now", "list"]
        tree = machine.disk.tree("data")
        assert tree.read("log") == b"synced"
        with pytest.raises(SimulationError, match="alone is down"):
            _ = machine.ports

    trace = passed(story)
    assert [event.kind for event in trace][-1] == "crash"


def test_what_was_not_synced_is_lost_under_some_seed_and_kept_under_another() -> None:
    kept = set()

    async def program(ports: Host) -> None:
        disk = ports.disk("data")
        disk.open_append("log").append(b"hasty")
        disk.sync_directory("")
        await ports.clock.sleep(100)

    async def story(world: World) -> None:
        machine = world.start("alone", program)
        await trio.sleep(1)
        machine.crash()
        kept.add(bytes(machine.disk.tree("data").read("log")) == b"hasty")

    for seed in range(30):
        passed(story, seed=seed)
    assert kept == {True, False}


def test_a_restart_runs_the_program_again_with_the_disk() -> None:
    seen: list[list[str]] = []

    async def program(ports: Host) -> None:
        disk = ports.disk("data")
        seen.append(disk.list_directory(""))
        disk.open_append(f"life {len(seen)}").sync()
        disk.sync_directory("")
        await ports.clock.sleep(100)

    async def story(world: World) -> None:
        machine = world.start("alone", program)
        await trio.sleep(1)
        machine.crash()
        await trio.sleep(1)
        machine.restart()
        await trio.sleep(1)
        await machine.stop()
        machine.restart()
        await trio.sleep(1)
        assert machine.lives == 3

    passed(story)
    assert seen == [[], ["life 1"], ["life 1", "life 2"]]


def test_an_orderly_stop_lets_the_program_finish() -> None:
    async def program(ports: Host) -> None:
        try:
            await ports.clock.sleep(100)
        finally:
            ports.disk("data").open_append("log").append(b"saved")

    async def story(world: World) -> None:
        machine = world.start("alone", program)
        await trio.sleep(1)
        await machine.stop()
        assert machine.disk.tree("data").read("log") == b"saved"
        with pytest.raises(SimulationError, match="is down"):
            await machine.stop()

    passed(story)


def test_a_machine_starts_once_at_a_time() -> None:
    async def program(ports: Host) -> None:
        await ports.clock.sleep(100)

    async def story(world: World) -> None:
        machine = world.add_machine("alone")
        with pytest.raises(SimulationError, match="has no program"):
            machine.restart()
        machine.crash()
        machine.start(program)
        with pytest.raises(SimulationError, match="is up already"):
            machine.start(program)

    passed(story)


def test_a_program_that_will_not_die_is_reported() -> None:
    async def program(ports: Host) -> None:
        with trio.CancelScope(shield=True):
            await ports.clock.sleep(0)
            await trio.sleep(700)

    async def story(world: World) -> None:
        machine = world.start("stubborn", program)
        await trio.sleep(1)
        machine.crash()
        machine.restart()
        await trio.sleep(2000)

    outcome, _ = play(story, seconds=3000)
    assert outcome.failure is not None
    assert outcome.failure.invariant == "unexpected SimulationError"
    assert "a crashed program of stubborn does not end" in outcome.failure.detail


# Pauses and clocks


def test_a_pause_holds_deadlines_and_goes_on_behind() -> None:
    woken: list[int] = []

    async def story(world: World) -> None:
        async def program(ports: Host) -> None:
            for _ in range(3):
                await ports.clock.sleep(1)
                woken.append(world.now())
            with ports.clock.move_on_after(1) as scope:
                await trio.sleep_forever()
            assert scope.cancelled_caught
            woken.append(world.now())

        machine = world.start("alone", program)
        await trio.sleep(1.5)
        machine.pause(5 * SECOND)
        machine.pause(4 * SECOND)  # shorter than the one that goes on
        assert machine.is_paused
        await trio.sleep(20)

    passed(story)
    assert woken == [1 * SECOND, 5 * SECOND, 6 * SECOND, 7 * SECOND]


def test_datagrams_wait_for_the_end_of_a_pause() -> None:
    arrived: list[int] = []

    async def story(world: World) -> None:
        async def server(ports: Host) -> None:
            socket = await ports.net.bind_udp(world.machines["server"].address, 7)
            while True:
                await socket.receive()
                arrived.append(world.now())

        machine = world.start("server", server)
        client = world.start("client", lambda ports: ports.clock.sleep(100))
        await trio.sleep(1)
        machine.pause(3 * SECOND)
        socket = await client.ports.net.bind_udp(client.address, 0)
        socket.send_nowait([(b"hello", (machine.address, 7))])
        await trio.sleep(10)

    passed(story)
    assert len(arrived) == 1
    assert 3 * SECOND <= arrived[0] < 3 * SECOND + 100_000


def test_clocks_differ_and_drift() -> None:
    async def story(world: World) -> None:
        one, two = (
            world.start(name, lambda ports: ports.clock.sleep(1e6)) for name in ("one", "two")
        )
        clock = one.ports.clock
        assert abs(clock.now() - two.ports.clock.now()) > 1
        one.skew_clock(drift=10_000, offset=3 * SECOND)
        start = clock.now()
        wall = one.ports.wall.now_ns() - two.ports.wall.now_ns()
        day = one.ports.clock.now() - two.ports.clock.now()
        assert wall / 1e9 == pytest.approx(3 + day)
        with trio.fail_after(100.5):
            await clock.sleep_until(start + 101)
        assert trio.current_time() == pytest.approx(100)
        before = clock.now()
        one.skew_clock(drift=-10_000, offset=0)
        assert clock.now() == pytest.approx(before)
        await trio.sleep(100)
        assert clock.now() == pytest.approx(before + 99)

    passed(story, seconds=1000)


def test_a_deadline_follows_its_clock_when_the_drift_changes() -> None:
    async def story(world: World) -> None:
        woken: list[float] = []

        async def program(ports: Host) -> None:
            await ports.clock.sleep(100)
            woken.append(trio.current_time())

        machine = world.start("alone", program)
        await trio.sleep(50)
        machine.skew_clock(drift=-500_000, offset=0)
        await trio.sleep(200)
        assert woken == [pytest.approx(150)]

    passed(story, seconds=1000)


# Faults of the plan


@pytest.mark.slow
def test_the_faults_of_a_plan_happen_and_heal() -> None:
    kinds: set[str] = set()

    async def story(world: World) -> None:
        async def program(ports: Host) -> None:
            while True:
                await ports.clock.sleep(0.1)

        for name in list(world.machines):
            world.start(name, program)
        await world.healed()
        await trio.sleep(1)
        assert all(machine.is_up for machine in world.machines.values())
        assert not any(machine.is_paused for machine in world.machines.values())

    hosts = tuple(HostTraits(f"host{i}", may_crash=True, has_disk=True) for i in range(3))
    for seed in range(10):
        outcome, trace = play(story, seed=seed, profile="hostile", hosts=hosts)
        assert outcome.failure is None
        kinds |= {event.kind for event in trace}
    assert kinds >= {"start", "crash", "pause", "resume", "fault", "heal"}


def test_only_the_faults_that_are_kept_happen() -> None:
    hosts = tuple(HostTraits(f"host{i}") for i in range(3))

    async def story(world: World) -> None:
        await world.healed()
        await trio.sleep(1)

    everything, _ = play(story, seed=4, profile="hostile", hosts=hosts)
    assert len(everything.faults) > 2
    setup = Setup("test", 4, profile="hostile", keep=(1,))
    outcome, trace = simulate(story, setup, hosts=hosts, duration=60 * SECOND, keep_trace=True)
    assert outcome.faults == everything.faults
    texts = [event.text for event in trace if event.kind == "fault"]
    assert texts == [everything.faults[1]]


# How a world ends


def failure_of(story: Story) -> tuple[str, str]:
    outcome, trace = play(story)
    assert outcome.failure is not None
    assert list(trace)[-1].text.startswith(f"failed: {outcome.failure.invariant}: ")
    return outcome.failure.invariant, outcome.failure.detail


def test_a_story_that_does_not_end_has_failed() -> None:
    async def story(_world: World) -> None:
        await trio.sleep_forever()

    assert failure_of(story) == ("the story ends", "not over after 60 virtual seconds")


def test_a_world_that_spins_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio440.sim.world.STEPS_AT_ONE_TIME", 5_000)

    async def story(_world: World) -> None:
        while True:
            await trio.lowlevel.checkpoint()

    assert failure_of(story)[0] == "time goes on"


def test_a_broken_promise_is_seen_after_the_step_that_broke_it() -> None:
    async def story(world: World) -> None:
        count = 0
        world.check(lambda: world.require(count < 2, "below two", f"it is {count}"))
        for _ in range(10):
            await trio.sleep(1)
            count += 1

    outcome, _ = play(story)
    assert outcome.failure is not None
    assert (outcome.failure.invariant, outcome.failure.detail) == ("below two", "it is 2")
    assert outcome.failure.at == 2 * SECOND


def test_an_exception_of_a_program_is_the_failure() -> None:
    async def program(_ports: Host) -> None:
        raise KeyError("what")

    async def story(world: World) -> None:
        world.start("alone", program)
        await trio.sleep(1)

    invariant, detail = failure_of(story)
    assert invariant == "unexpected KeyError"
    assert detail.startswith("'what' (program, line ")


def test_a_broken_promise_counts_more_than_what_it_led_to() -> None:
    async def program(_ports: Host) -> None:
        try:
            await trio.sleep(10)
        finally:
            raise KeyError("later")

    async def story(world: World) -> None:
        world.start("alone", program)
        await trio.sleep(1)
        raise InvariantViolated("first", "cause")

    assert failure_of(story) == ("first", "cause")


def test_the_real_world_is_out_of_reach() -> None:
    def thread() -> None:
        threading.Thread(target=print).start()

    def process() -> None:
        subprocess.run(["true"], check=True)

    for touch, what in ((thread, "a thread"), (process, "a process")):

        async def story(_world: World, touch: Callable[[], None] = touch) -> None:
            touch()

        invariant, detail = failure_of(story)
        assert invariant == "unexpected RealWorldTouched"
        assert detail.startswith(f"a simulated program started {what} (")
    thread()  # behind it everything works again
    process()


def test_ctrl_c_is_not_a_failure() -> None:
    async def story(_world: World) -> None:
        raise KeyboardInterrupt

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - alone or in a group
        play(story)
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, KeyboardInterrupt)


# Sameness


@pytest.mark.parametrize("level", ["A", pytest.param("B", marks=pytest.mark.slow)])
def test_one_seed_is_one_history(level: str) -> None:
    setups = [Setup("lsp", seed, level, "hostile") for seed in (1, 1, 2)]  # type: ignore[arg-type]
    digests = [run(setup)[0].digest for setup in setups]
    assert digests[0] == digests[1] != digests[2]


def test_the_order_of_tasks_is_part_of_the_seed() -> None:
    async def story(world: World) -> None:
        for number in range(8):

            async def program(ports: Host, number: int = number) -> None:
                await ports.clock.sleep_until(ports.clock.now())
                world.note(f"{number} awake")

            world.start(f"host{number}", program)
        await trio.sleep(20)

    def order(seed: int, kind: Order) -> list[str]:
        setup = Setup("test", seed, profile="calm", order=kind)
        outcome, trace = simulate(story, setup, duration=60 * SECOND, keep_trace=True)
        assert outcome.failure is None
        return [event.text for event in trace if event.text.endswith("awake")]

    kinds: tuple[Order, ...] = ("random", "pct")
    for kind in kinds:
        assert order(1, kind) == order(1, kind)
        assert len({tuple(order(seed, kind)) for seed in range(10)}) > 5
    assert order(1, "random") != order(1, "pct")
