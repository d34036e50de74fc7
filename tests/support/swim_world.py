"""A cluster of SWIM's cores on a network that loses, delays and cuts, under one seed."""

import heapq
import random
from collections import Counter
from collections.abc import Iterable

import attrs

from trio440.actors.cluster import (
    CODEC,
    Back,
    Cleared,
    Config,
    Event,
    Joined,
    Left,
    Lost,
    Message,
    Node,
    Superseded,
    Suspected,
    Swim,
)

SECOND = 1_000_000
ALLOWED: dict[str, tuple[type[Event], ...]] = {
    "unknown": (Joined,),
    "alive": (Suspected, Lost, Left),
    "suspect": (Cleared, Lost, Left),
    "gone": (Back, Joined),
}
AFTER: dict[type[Event], str] = {
    Joined: "alive",
    Suspected: "suspect",
    Cleared: "alive",
    Lost: "gone",
    Left: "gone",
    Back: "alive",
}


@attrs.define
class Machine:
    """One address: its present life, and what that has reported."""

    name: str
    swim: Swim
    is_up: bool = True
    held: list[tuple[Message, str]] | None = None
    """What arrived while it was paused; None when it is not."""
    keeps: bool = True
    log: list[tuple[int, Event]] = attrs.field(factory=list)
    states: dict[Node, str] = attrs.field(factory=dict)
    """Of each node, what the events so far make it."""


class World:
    """Machines, what is on its way between them, and faults."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        config: Config | None = None,
        loss: float = 0.0,
        delay_us: tuple[int, int] = (500, 5_000),
        by_wire: bool = False,
    ) -> None:
        self.config = Config() if config is None else config
        self.seed = seed
        self.rng = random.Random(f"network/{seed}")
        self.loss = loss
        self.delay_us = delay_us
        self.by_wire = by_wire
        self.now = 0
        self.sent: Counter[str] = Counter()
        self.groups: dict[str, int] = {}
        self.cut_links: set[frozenset[str]] = set()
        self.machines: dict[str, Machine] = {}
        self._number = 0
        self._lives = 0
        self._flying: list[tuple[int, int, str, str, Message]] = []
        self._wakes: list[tuple[int, int, str]] = []
        for i in range(count):
            self.start(f"n{i}", ["n0"])

    def __getitem__(self, name: str) -> Swim:
        return self.machines[name].swim

    @property
    def up(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.is_up]

    # What happens to machines

    def start(self, name: str, seeds: Iterable[str]) -> None:
        """Start a machine, or a later life of one that is down."""
        assert name not in self.machines or not self.machines[name].is_up
        self._lives += 1
        rng = random.Random(f"{self.seed}/{name}/{self._lives}")
        swim = Swim(Node(name, self._lives), self.config, rng)
        self.machines[name] = machine = Machine(name, swim)
        swim.join(seeds, self.now)
        self._pump(machine)

    def crash(self, *names: str) -> None:
        for name in names:
            self.machines[name].is_up = False

    def pause(self, name: str, *, keeps: bool = True) -> None:
        """Stop a machine; its buffers keep what arrives, or are full."""
        self.machines[name].held = []
        self.machines[name].keeps = keeps

    def resume(self, name: str) -> None:
        machine = self.machines[name]
        held, machine.held = machine.held, None
        for message, sender in held or []:
            machine.swim.receive(message, sender, self.now)
        machine.swim.advance(self.now)
        self._pump(machine)

    def leave(self, name: str) -> None:
        machine = self.machines[name]
        machine.swim.leave(self.now)
        self._pump(machine)

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut the network into groups; who is in none is in one with the others of none."""
        self.groups = {name: i for i, group in enumerate(groups, 1) for name in group}

    def heal(self) -> None:
        self.groups = {}
        self.cut_links = set()

    # Time

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + int(seconds * SECOND)
        while (at := self._next()) is not None and at <= end:
            self._step()
        self.now = end

    def run_until_converged(self, within: float) -> float:
        """Return the seconds until all see the same, looked at four times a second."""
        begun = self.now
        while not self.is_converged():
            assert self.now - begun <= within * SECOND, self.differences()
            self.run(0.25)
        return (self.now - begun) / SECOND

    def _next(self) -> int | None:
        heads = [heap[0][0] for heap in (self._flying, self._wakes) if heap]
        return min(heads, default=None)

    def _step(self) -> None:
        if self._flying and (not self._wakes or self._flying[0][0] <= self._wakes[0][0]):
            self.now, _, to, sender, message = heapq.heappop(self._flying)
            machine = self.machines.get(to)
            if machine is None or not machine.is_up or self._is_cut(sender, to):
                return
            if machine.held is not None:
                machine.held += [(message, sender)] if machine.keeps else []
                return
            machine.swim.receive(message, sender, self.now)
        else:
            self.now, _, name = heapq.heappop(self._wakes)
            machine = self.machines[name]
            deadline = machine.swim.next_deadline()
            is_stopped = not machine.is_up or machine.held is not None
            if is_stopped or deadline is None or deadline > self.now:
                return
            machine.swim.advance(self.now)
        self._pump(machine)

    def _pump(self, machine: Machine) -> None:
        for event in machine.swim.events():
            machine.log.append((self.now, event))
            self._check(machine, event)
        for to, message in machine.swim.messages_to_send():
            self._send(machine.name, to, message)
        if machine.swim.has_left:
            machine.is_up = False
        deadline = machine.swim.next_deadline()
        if deadline is not None:
            self._number += 1
            heapq.heappush(self._wakes, (max(deadline, self.now), self._number, machine.name))

    def _send(self, sender: str, to: str, message: Message) -> None:
        self.sent[type(message).__name__] += 1
        if self.by_wire:
            data = CODEC.encode(message)
            assert len(data) <= self.config.max_datagram_bytes
            message = CODEC.decode_untrusted(data)
        if self._is_cut(sender, to) or (self.loss and self.rng.random() < self.loss):
            return
        self._number += 1
        at = self.now + self.rng.randint(*self.delay_us)
        heapq.heappush(self._flying, (at, self._number, to, sender, message))

    def _is_cut(self, one: str, other: str) -> bool:
        are_apart = self.groups.get(one, 0) != self.groups.get(other, 0)
        return are_apart or frozenset((one, other)) in self.cut_links

    def _check(self, machine: Machine, event: Event) -> None:
        """Hold the events of a machine against their grammar."""
        if isinstance(event, Superseded):
            return
        state = machine.states.get(event.node, "unknown")
        assert isinstance(event, ALLOWED[state]), (machine.name, state, event)
        machine.states[event.node] = AFTER[type(event)]

    # What can be seen

    def is_converged(self) -> bool:
        """Whether everybody who is up sees exactly those who are up, and suspects nobody."""
        nodes = {machine.swim.node for machine in self.up}
        return all(
            self._sees(machine) == nodes and "suspect" not in machine.states.values()
            for machine in self.up
        )

    def _sees(self, machine: Machine) -> set[Node]:
        live = set(machine.swim.live())
        told = {node for node, state in machine.states.items() if state != "gone"}
        assert told == live - {machine.swim.node}, "events and view agree"
        return live

    def differences(self) -> str:
        nodes = {machine.swim.node for machine in self.up}
        wrong = {machine.name: sorted(nodes ^ self._sees(machine), key=str) for machine in self.up}
        suspects = {machine.name: machine.states for machine in self.up}
        return f"not agreed on: {wrong}; events: {suspects}"

    def count(self, kind: type[Event]) -> int:
        """Return how many events of a kind there were in the present lives."""
        return sum(isinstance(one, kind) for m in self.machines.values() for _, one in m.log)

    def first(self, observer: str, kind: type[Event], address: str) -> int | None:
        """Return when an observer first reported an event of an address."""
        for at, event in self.machines[observer].log:
            node = event.by if isinstance(event, Superseded) else event.node
            if isinstance(event, kind) and node.address == address:
                return at
        return None
