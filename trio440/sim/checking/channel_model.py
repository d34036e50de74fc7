"""A deliberately dumb model of Go's channels, and small programs to run against it.

A program is a few channels and a few tasks, each a list of operations. The model keeps what Go's
runtime keeps (a buffer and two queues of waiting tasks for each channel) in plain tuples and
explores every way a program can go: which task acts next, unless a schedule says so, and which
of several ready cases a select takes. States are told apart by hash, so what they are made of
keeps its own.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import attrs

__all__ = [
    "CANCELLED",
    "CLOSED",
    "DONE",
    "NOTHING",
    "WAITS",
    "WOULD_BLOCK",
    "Cancel",
    "ChannelState",
    "Close",
    "Ended",
    "Expire",
    "Got",
    "Operation",
    "Outcome",
    "Program",
    "Receive",
    "Result",
    "Select",
    "Send",
    "Sent",
    "Told",
    "World",
    "cancel",
    "cases_of",
    "close",
    "communicate",
    "expire",
    "park",
    "reachable",
    "receive_now",
    "send_now",
    "step",
]


@attrs.frozen(cache_hash=True)
class Send:
    """``send``, or ``send_nowait`` if it does not wait."""

    channel: int
    value: int
    waits: bool = True


@attrs.frozen(cache_hash=True)
class Receive:
    """``receive``, or ``receive_nowait`` if it does not wait."""

    channel: int
    waits: bool = True


@attrs.frozen(cache_hash=True)
class Close:
    """``close``."""

    channel: int


@attrs.frozen(cache_hash=True)
class Select:
    """``select`` or ``select_nowait``; ``expires`` means that it has a timeout."""

    cases: tuple[Send | Receive | None, ...]
    waits: bool = True
    expires: bool = False


@attrs.frozen(cache_hash=True)
class Cancel:
    """Cancel a task: it ends at the operation in which it waits, or at its next one."""

    task: int


@attrs.frozen(cache_hash=True)
class Expire:
    """Let the timeout of a task pass, if it waits in a select that has one."""

    task: int


Operation: TypeAlias = Send | Receive | Close | Select | Cancel | Expire


@attrs.frozen(cache_hash=True)
class Program:
    """Capacities of the channels, and what each task does."""

    capacities: tuple[int, ...]
    tasks: tuple[tuple[Operation, ...], ...]


@attrs.frozen(cache_hash=True)
class Sent:
    """A value was sent, by case ``case`` of a select or by a plain operation (0)."""

    case: int = 0


@attrs.frozen(cache_hash=True)
class Got:
    """A value was received."""

    value: int
    case: int = 0


@attrs.frozen(cache_hash=True)
class Ended:
    """There was no value to receive, and there will be none."""

    case: int = 0


@attrs.frozen(cache_hash=True)
class Told:
    """An operation ended with one of the words below."""

    word: str


CLOSED: Final = Told("ClosedResourceError")
WOULD_BLOCK: Final = Told("WouldBlock")
NOTHING: Final = Told("no case happened")
CANCELLED: Final = Told("Cancelled")
DONE: Final = Told("done")
WAITS: Final = Told("waits for ever")

Result: TypeAlias = Sent | Got | Ended | Told


@attrs.frozen(cache_hash=True)
class ChannelState:
    """One channel: its buffer, whether it is closed, and the tasks in its two queues."""

    capacity: int
    buffer: tuple[int, ...] = ()
    closed: bool = False
    receivers: tuple[int, ...] = ()
    senders: tuple[int, ...] = ()


@attrs.frozen
class Outcome:
    """All that can be seen of a program when nothing more can happen in it."""

    results: tuple[tuple[Result, ...], ...]
    channels: tuple[ChannelState, ...]


@attrs.frozen
class World:
    """One state of a running program. A task is at the operation after its last result."""

    program: Program
    results: tuple[tuple[Result, ...], ...]
    channels: tuple[ChannelState, ...]
    cancelled: frozenset[int] = frozenset()

    @classmethod
    def start(cls, program: Program) -> "World":
        """Return the state before the first operation."""
        channels = tuple(ChannelState(capacity) for capacity in program.capacities)
        return cls(program, tuple(() for _ in program.tasks), channels)

    def with_operation(self, task: int, operation: Operation) -> "World":
        """Let a task have nothing but this operation before it, and forget what it has done."""
        tasks = self.program.tasks
        tasks = (*tasks[:task], (operation,), *tasks[task + 1 :])
        results = (*self.results[:task], (), *self.results[task + 1 :])
        return World(
            Program(self.program.capacities, tasks), results, self.channels, self.cancelled - {task}
        )

    def operation(self, task: int) -> Operation | None:
        """Return what a task is about to do or waits in; None when it has ended."""
        done = self.results[task]
        if len(done) == len(self.program.tasks[task]) or CANCELLED in done:
            return None
        return self.program.tasks[task][len(done)]

    def is_waiting(self, task: int) -> bool:
        """Whether a task stands in a queue, or waits for a case that can never happen."""
        return WAITS in self.results[task]

    def runnable(self) -> list[int]:
        """Return the tasks that can act."""
        return [
            task
            for task in range(len(self.results))
            if not self.is_waiting(task) and self.operation(task) is not None
        ]

    def with_result(self, task: int, result: Result) -> "World":
        """Let the operation of a task end; it leaves all queues."""
        done = tuple(r for r in self.results[task] if r != WAITS)
        results = (*self.results[:task], (*done, result), *self.results[task + 1 :])
        channels = tuple(
            attrs.evolve(
                channel,
                receivers=tuple(t for t in channel.receivers if t != task),
                senders=tuple(t for t in channel.senders if t != task),
            )
            if task in channel.receivers or task in channel.senders
            else channel
            for channel in self.channels
        )
        return attrs.evolve(self, results=results, channels=channels)

    def with_channel(self, index: int, channel: ChannelState) -> "World":
        """Replace one channel."""
        channels = (*self.channels[:index], channel, *self.channels[index + 1 :])
        return attrs.evolve(self, channels=channels)

    def waiting_operation(self, task: int) -> Operation:
        """Return the operation in which a task waits."""
        return self.program.tasks[task][len(self.results[task]) - 1]


def cases_of(operation: Operation) -> list[tuple[int, Send | Receive]]:
    """Return the cases of a select with their numbers; a plain operation is its only case."""
    if isinstance(operation, Send | Receive):
        return [(0, operation)]
    assert isinstance(operation, Select)  # noqa: S101 - nothing else has cases
    return [(number, case) for number, case in enumerate(operation.cases) if case is not None]


def send_now(world: World, task: int, number: int, case: Send) -> Iterator[World]:
    """Let a send happen, in each way it can; no way if it cannot happen now."""
    channel = world.channels[case.channel]
    if channel.closed:
        yield world.with_result(task, CLOSED)
    elif channel.receivers:
        first = channel.receivers[0]
        for index, waiting in cases_of(world.waiting_operation(first)):
            if isinstance(waiting, Receive) and waiting.channel == case.channel:
                served = world.with_result(first, Got(case.value, index))
                yield served.with_result(task, Sent(number))
    elif len(channel.buffer) < channel.capacity:
        grown = attrs.evolve(channel, buffer=(*channel.buffer, case.value))
        yield world.with_channel(case.channel, grown).with_result(task, Sent(number))


def receive_now(world: World, task: int, number: int, case: Receive) -> Iterator[World]:
    """Let a receive happen, in each way it can; no way if it cannot happen now."""
    channel = world.channels[case.channel]
    if channel.senders:
        first = channel.senders[0]
        for index, waiting in cases_of(world.waiting_operation(first)):
            if isinstance(waiting, Send) and waiting.channel == case.channel:
                buffer = (*channel.buffer, waiting.value)
                shrunk = attrs.evolve(channel, buffer=buffer[1:])
                after = world.with_channel(case.channel, shrunk).with_result(first, Sent(index))
                yield after.with_result(task, Got(buffer[0], number))
    elif channel.buffer:
        shrunk = attrs.evolve(channel, buffer=channel.buffer[1:])
        after = world.with_channel(case.channel, shrunk)
        yield after.with_result(task, Got(channel.buffer[0], number))
    elif channel.closed:
        yield world.with_result(task, Ended(number))


def park(world: World, task: int, operation: Operation) -> World:
    """Let a task wait in the queues of all its cases."""
    results = (
        *world.results[:task],
        (*world.results[task], WAITS),
        *world.results[task + 1 :],
    )
    world = attrs.evolve(world, results=results)
    for _, case in cases_of(operation):
        channel = world.channels[case.channel]
        if isinstance(case, Send) and task not in channel.senders:
            channel = attrs.evolve(channel, senders=(*channel.senders, task))
        elif isinstance(case, Receive) and task not in channel.receivers:
            channel = attrs.evolve(channel, receivers=(*channel.receivers, task))
        world = world.with_channel(case.channel, channel)
    return world


def close(world: World, task: int, index: int) -> Iterator[World]:
    """Close a channel: its receivers end, then its senders fail."""
    channel = world.channels[index]
    worlds = [world.with_channel(index, attrs.evolve(channel, closed=True))]
    for receiver in channel.receivers:
        worlds = [
            each.with_result(receiver, Ended(number))
            for each in worlds
            for number, case in cases_of(world.waiting_operation(receiver))
            if isinstance(case, Receive) and case.channel == index
        ]
    for each in worlds:
        after = each
        for sender in each.channels[index].senders:
            after = after.with_result(sender, CLOSED)
        yield after.with_result(task, DONE)


def cancel(world: World, task: int) -> World:
    """Cancel a task; one that does not wait learns of it at its next operation."""
    world = attrs.evolve(world, cancelled=world.cancelled | {task})
    return world.with_result(task, CANCELLED) if world.is_waiting(task) else world


def expire(world: World, task: int) -> World:
    """Let the timeout of a task pass; nothing happens unless it waits with one."""
    if world.is_waiting(task):
        waiting = world.waiting_operation(task)
        if isinstance(waiting, Select) and waiting.expires:
            return world.with_result(task, NOTHING)
    return world


def communicate(world: World, task: int, operation: Send | Receive | Select) -> Iterator[World]:
    """Let one case happen, or else wait, or else say that none could."""
    if operation.waits and task in world.cancelled:
        yield world.with_result(task, CANCELLED)
        return
    possible: list[World] = []
    for number, case in cases_of(operation):
        if isinstance(case, Send):
            possible.extend(send_now(world, task, number, case))
        else:
            possible.extend(receive_now(world, task, number, case))
    if possible:
        yield from possible
    elif operation.waits:
        yield park(world, task, operation)
    else:
        yield world.with_result(task, NOTHING if isinstance(operation, Select) else WOULD_BLOCK)


def step(world: World, task: int) -> Iterator[World]:
    """Let a task do its next operation, in each way it can go."""
    operation = world.operation(task)
    assert operation is not None  # noqa: S101 - whoever calls has looked
    if isinstance(operation, Close):
        yield from close(world, task, operation.channel)
    elif isinstance(operation, Cancel):
        yield cancel(world, operation.task).with_result(task, DONE)
    elif isinstance(operation, Expire):
        yield expire(world, operation.task).with_result(task, DONE)
    else:
        yield from communicate(world, task, operation)


def reachable(program: Program, schedule: Sequence[int] | None = None) -> set[Outcome]:
    """Return every outcome that a program can have.

    Args:
        program: what is run.
        schedule: which task did each operation, in order; None: any task that can act does.
    """
    outcomes: set[Outcome] = set()
    seen: set[tuple[int, World]] = set()
    stack = [(0, World.start(program))]
    while stack:
        place, world = stack.pop()
        if (place, world) in seen:
            continue
        seen.add((place, world))
        runnable = world.runnable()
        if not runnable:
            if schedule is None or place == len(schedule):
                outcomes.add(Outcome(world.results, world.channels))
        elif schedule is None:
            stack.extend((0, after) for task in runnable for after in step(world, task))
        elif place < len(schedule) and schedule[place] in runnable:
            stack.extend((place + 1, after) for after in step(world, schedule[place]))
    return outcomes
