"""Worlds whose programs do what no program should: each ends, and says what was wrong."""

import os
import socket
import threading
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio

from trio440.core.host import Host
from trio440.errors import InvalidParameter
from trio440.sim.faults import HostTraits
from trio440.sim.outcome import Outcome, Setup
from trio440.sim.running import simulate
from trio440.sim.trace import Trace
from trio440.sim.world import World

SECOND = 1_000_000
Story = Callable[[World], Awaitable[object]]


def play(story: Story) -> tuple[Outcome, Trace]:
    return simulate(story, Setup("test", 0, profile="calm"), duration=20 * SECOND, keep_trace=True)


def failure_of(story: Story) -> tuple[str, str]:
    failure = play(story)[0].failure
    assert failure is not None
    return failure.invariant, failure.detail


# Programs that do not end


async def sleeps_shielded(_ports: Host) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def works_shielded(ports: Host) -> None:
    with trio.CancelScope(shield=True):
        while True:
            await ports.clock.sleep(1)


async def swallows_cancellation(_ports: Host) -> None:
    while True:
        with suppress(trio.Cancelled):
            await trio.sleep(1)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("program", [sleeps_shielded, works_shielded])
def test_a_program_that_is_shielded_for_ever_fails_its_world(
    program: Callable[[Host], Awaitable[object]], crash: bool
) -> None:
    async def story(world: World) -> None:
        machine = world.start("stubborn", program)
        await trio.sleep(1)
        if crash:
            machine.crash()
        await trio.sleep(5)

    if crash and program is works_shielded:
        assert play(story)[0].failure is None  # its ports end it
    else:
        assert failure_of(story) == ("what is cancelled ends", "programs of stubborn go on")


def test_a_program_that_swallows_its_cancellation_fails_its_world(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio440.sim.world.STEPS_AT_ONE_TIME", 5_000)
    monkeypatch.setattr("trio440.sim.world.STEPS_AT_THE_END", 5_000)

    async def story(world: World) -> None:
        world.start("stubborn", swallows_cancellation)
        await trio.sleep(1)

    assert failure_of(story)[0] == "time goes on"


def test_a_program_that_spins_under_a_shield_fails_its_world(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio440.sim.world.STEPS_AT_ONE_TIME", 5_000)
    monkeypatch.setattr("trio440.sim.world.STEPS_AT_THE_END", 5_000)

    async def program(_ports: Host) -> None:
        with trio.CancelScope(shield=True):
            while True:
                await trio.lowlevel.checkpoint()

    async def story(world: World) -> None:
        world.start("stubborn", program)
        await trio.sleep(1)

    assert failure_of(story)[0] == "time goes on"


def test_a_story_that_is_shielded_for_ever_fails() -> None:
    async def story(_world: World) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    assert failure_of(story) == ("what is cancelled ends", "tasks of the story go on")


def test_the_failure_of_a_story_counts_more_than_what_does_not_end() -> None:
    async def story(world: World) -> None:
        world.start("stubborn", sleeps_shielded)
        await trio.sleep(1)
        world.require(False, "all is well", "it is not")

    assert failure_of(story) == ("all is well", "it is not")


def test_a_life_that_ends_before_it_begins_runs_nothing() -> None:
    begun: list[None] = []

    async def program(_ports: Host) -> None:
        begun.append(None)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    async def story(world: World) -> None:
        machine = world.start("slow", program)
        await trio.sleep(1)
        machine.crash()
        machine.restart()
        await trio.sleep(1)
        machine.crash()
        machine.restart()
        await trio.sleep(5)
        world.require(machine.lives == 3, "three lives")

    assert play(story)[0].failure is None
    assert len(begun) == 2


def test_a_program_that_exits_has_failed() -> None:
    async def story(_world: World) -> None:
        raise SystemExit(3)

    assert failure_of(story)[0] == "unexpected SystemExit"


# Programs that leave the simulation


def test_a_touch_of_the_real_world_is_told_though_it_is_swallowed() -> None:
    async def program(_ports: Host) -> None:
        with suppress(Exception):
            await trio.to_thread.run_sync(threading.get_ident)

    async def story(world: World) -> None:
        world.start("sly", program)
        await trio.sleep(1)

    assert failure_of(story) == (
        "unexpected RealWorldTouched",
        "a simulated program started a thread",
    )

    async def honest(_world: World) -> None:
        await trio.sleep(1)

    assert play(honest)[0].failure is None  # nothing of it is left


def test_an_idle_thread_of_trio_is_refused_too() -> None:
    async def story(_world: World) -> None:
        await trio.to_thread.run_sync(threading.get_ident)

    trio.run(trio.to_thread.run_sync, threading.get_ident)  # leaves one
    assert failure_of(story)[0] == "unexpected RealWorldTouched"
    trio.run(trio.to_thread.run_sync, threading.get_ident)


def test_other_threads_may_start_threads() -> None:
    go, over, errors = threading.Event(), threading.Event(), []

    def other() -> None:
        go.wait()
        try:
            threading.Thread(target=int).start()
        except Exception as error:  # noqa: BLE001 - whatever it is
            errors.append(error)
        over.set()

    async def story(_world: World) -> None:
        go.set()
        over.wait()

    threading.Thread(target=other).start()
    assert play(story)[0].failure is None
    assert errors == []


def send_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", ("127.0.0.1", 9))


@pytest.mark.parametrize(
    ("touch", "what"),
    [
        (send_datagram, "a real datagram"),
        (lambda: socket.getaddrinfo("127.0.0.1", 9), "a real lookup of a name"),
        (lambda: os.system("true"), "a process"),  # noqa: S605 - refused
    ],
)
def test_more_of_the_real_world_is_out_of_reach(touch: Callable[[], object], what: str) -> None:
    async def story(_world: World) -> None:
        touch()

    invariant, detail = failure_of(story)
    assert invariant == "unexpected RealWorldTouched"
    assert detail.startswith(f"a simulated program started {what} (")


# Invariants that are none


def test_an_invariant_that_fails_as_pytest_does_is_seen() -> None:
    async def story(world: World) -> None:
        world.check(lambda: pytest.fail("it does not hold"))
        await trio.sleep(1)

    invariant, detail = failure_of(story)
    assert invariant == "unexpected Failed"
    assert detail.startswith("it does not hold (")


def test_an_invariant_that_uses_dead_ports_is_seen() -> None:
    async def story(world: World) -> None:
        machine = world.start("machine", sleeps_forever)
        clock = machine.ports.clock

        def look() -> None:
            clock.now()

        world.check(look)
        await trio.sleep(1)
        machine.crash()
        await trio.sleep(1)

    async def sleeps_forever(_ports: Host) -> None:
        await trio.sleep_forever()

    invariant, detail = failure_of(story)
    assert invariant == "unexpected PowerCut"
    assert detail.startswith("ports were used whose machine has lost power (")


def test_an_invariant_that_returns_its_answer_is_refused() -> None:
    async def story(world: World) -> None:
        world.check(lambda: False)  # type: ignore[arg-type]
        await trio.sleep(1)

    assert failure_of(story)[0] == "unexpected SimulationError"


def test_an_async_invariant_is_refused() -> None:
    async def look() -> None:
        raise AssertionError

    async def story(world: World) -> None:
        world.check(look)  # type: ignore[arg-type]

    assert failure_of(story)[0] == "unexpected InvalidParameter"


# Worlds that cannot be made, and texts


@pytest.mark.parametrize("names", [("a", "a"), ("a", ""), ("*",)])
def test_hosts_have_names_of_their_own(names: tuple[str, ...]) -> None:
    async def story(_world: World) -> None:
        pass

    with pytest.raises(InvalidParameter, match="hosts must be unique names"):
        simulate(story, Setup("test", 0), hosts=[HostTraits(name) for name in names])


def test_a_machine_is_not_replaced_by_another_of_its_name() -> None:
    async def story(world: World) -> None:
        machine = world.add_machine("twin")
        with pytest.raises(InvalidParameter, match="name must be a new name"):
            world.add_machine("twin")
        assert world.machines["twin"] is machine

    assert play(story)[0].failure is None


def test_an_unknown_order_is_refused() -> None:
    async def story(_world: World) -> None:
        pass

    with pytest.raises(InvalidParameter, match="order must be one of random, pct"):
        simulate(story, Setup("test", 0, order="slow"))  # type: ignore[arg-type]


def test_the_address_of_an_object_is_not_part_of_a_failure() -> None:
    async def story(_world: World) -> None:
        raise ValueError(object())

    assert failure_of(story)[1].startswith("<object object> (story, line ")


def test_a_note_may_hold_what_is_no_text() -> None:
    async def story(world: World) -> None:
        world.note("a \udcff name")

    outcome, trace = play(story)
    assert outcome.failure is None
    assert [event.text for event in trace] == [r"a \udcff name"]


def test_a_machine_that_crashed_in_a_pause_stands_still_no_more() -> None:
    async def story(world: World) -> None:
        machine = world.start("machine", sleeps)
        machine.pause(10 * SECOND)
        assert machine.is_paused
        machine.crash()
        assert not machine.is_paused

    async def sleeps(_ports: Host) -> None:
        await trio.sleep_forever()

    assert play(story)[0].failure is None


def test_an_operation_can_be_noted_by_a_story() -> None:
    async def story(world: World) -> None:
        begun = world.note("get x", kind="invoke")
        world.note("7", kind="return", cause=begun)

    first, second = play(story)[1]
    assert (second.kind, second.cause) == ("return", first.number)


# Who switches machines on, and worlds beside worlds


def test_a_plan_switches_on_only_what_it_has_switched_off() -> None:
    async def idle(_ports: Host) -> None:
        await trio.sleep_forever()

    async def story(world: World) -> None:
        stopped, running = world.start("stopped", idle), world.start("running", idle)
        await stopped.stop()
        await world.healed()
        world.require(not stopped.is_up, "what was stopped stays so", f"{stopped.lives} lives")
        world.require(running.is_up, "what has crashed is up again")
        lives.append(running.lives)

    lives: list[int] = []
    hosts = [HostTraits(name, may_crash=True) for name in ("stopped", "running")]
    for seed in range(10):
        setup = Setup("test", seed, profile="blackouts")
        outcome, _ = simulate(story, setup, hosts=hosts, duration=20 * SECOND)
        assert outcome.failure is None
    assert max(lives) > 1


def test_a_world_within_a_world_fails_and_leaves_the_guard_in_place() -> None:
    async def story(_world: World) -> None:
        async def inner(_world: World) -> None:
            pass

        with suppress(RuntimeError):
            simulate(inner, Setup("test", 0))
        send_datagram()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the inner world's task never runs
        assert failure_of(story)[0] == "unexpected RealWorldTouched"


def test_worlds_in_several_threads_do_not_mix() -> None:
    async def story(world: World) -> None:
        async def tick(name: int) -> None:
            for number in range(30):
                world.note(f"{name} {number}")
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for name in range(5):
                nursery.start_soon(tick, name)

    alone = play(story)[0].digest
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(play(story)[0].digest)) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [alone, alone]
