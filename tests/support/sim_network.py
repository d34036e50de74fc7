"""The simulated network for tests of single programs: no world, no plan of faults, no profile.

Several machines share one :class:`SimNetwork`; each is known by its address and used through
the ports of :mod:`trio440.core.host`::

    async with open_sim_network(seed=1) as network:
        server = network.host("10.0.0.1", seed=2)
        client = network.host("10.0.0.2", seed=3)
        network.weather(loss=0.2, delay=10_000, jitter=90_000)

Everything travels in no time until :meth:`SimNetwork.weather` says otherwise. Time is trio's, so
that ``autojump_clock`` drives everything; chance comes from the seed.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import attrs
import trio

from trio440.core.host import Address, Host
from trio440.core.lifetimes import open_service_nursery
from trio440.sim.blocking import SimBlocking
from trio440.sim.clock import SimClock, SimWallClock
from trio440.sim.disk import SimDisk
from trio440.sim.fabric import Fabric
from trio440.sim.faults import Weather, WeatherFault
from trio440.sim.net import Network, SimNet
from trio440.sim.trace import Trace

__all__ = ["SimNetwork", "WireRecord", "open_sim_network"]

STILL: Final = Weather(delay=0, jitter=0)
FOR_EVER: Final = 1 << 62


class WireRecord(NamedTuple):
    """One datagram as its sender handed it over, before loss and filters."""

    time: float
    """Seconds on trio's clock."""
    source: Address
    destination: Address
    data: bytes


class SimNetwork(Network):
    """A simulated network with machines by address, a record of the wire and changing weather.

    Attributes:
        wire: every datagram sent, in order, while ``recording`` is True.
    """

    def __init__(self, seed: int, *, grain: int = 1) -> None:
        began = trio.current_time()
        self.wire: list[WireRecord] = []
        self.recording = True
        self._links = 0
        super().__init__(
            Fabric(seed, STILL, grain=grain),
            Trace(),
            lambda: round((trio.current_time() - began) * 1e6),
            seed=seed,
        )
        self.loopback_delay = 0
        self.on_send = self._record

    def at(self, *addresses: str) -> SimNet:
        """Add a machine with these addresses; it is called by the first."""
        return self.attach(addresses[0], addresses)

    def host(self, address: str, seed: int) -> Host:
        """Add a machine whose disk never fails and whose blocking work takes no time."""
        net, rng = self.at(address), random.Random(seed)
        clock = SimClock(net.check_power)
        return Host(
            clock=clock,
            wall=SimWallClock(clock),
            net=net,
            disk=SimDisk(random.Random(seed)).tree,
            blocking=SimBlocking(lambda: 0.0, clock),
            rng=rng,
        )

    def weather(self, **changes: Any) -> None:
        """Change fields of the :class:`Weather` that every link has which has none of its own."""
        self.fabric.base = attrs.evolve(self.fabric.base, **changes)

    def link(self, source: str, destination: str, weather: Weather) -> None:
        """Give one direction between two machines weather of its own."""
        self._links += 1
        fault = WeatherFault(
            start=0, end=FOR_EVER, source=source, destination=destination, weather=weather
        )
        self.fabric.begin(self._links, fault)

    def _record(self, source: Address, destination: Address, data: bytes) -> None:
        if self.recording:
            self.wire.append(WireRecord(trio.current_time(), source, destination, data))


@asynccontextmanager
async def open_sim_network(seed: int, *, grain: int = 1) -> AsyncIterator[SimNetwork]:
    """Open a network; what is still on its way at the end is dropped.

    With a ``grain``, what travels arrives at the next multiple of so many microseconds.
    """
    network = SimNetwork(seed, grain=grain)
    async with open_service_nursery() as nursery:
        nursery.start_soon(network.carry)
        yield network
