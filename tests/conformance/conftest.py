"""The implementations that every suite of this folder runs against."""

import gc
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs
import pytest

from tests.support.sim_network import open_sim_network
from trio440.core.host import Disk, Host
from trio440.core.real import REAL_HOST
from trio440.sim.blocking import SimBlocking
from trio440.sim.disk import SimDisk


@asynccontextmanager
async def open_real() -> AsyncIterator[Host]:
    yield REAL_HOST


@asynccontextmanager
async def open_simulated() -> AsyncIterator[Host]:
    disk, latency = SimDisk(random.Random(1)), random.Random(2)
    async with open_sim_network(1) as network:
        host = network.host("10.0.0.1", seed=1)
        blocking = SimBlocking(lambda: latency.uniform(0, 0.001), host.clock)
        yield attrs.evolve(host, disk=disk.tree, blocking=blocking)
        assert network.open_endpoints == []


IMPLEMENTATIONS = [
    pytest.param(open_real, id="real", marks=pytest.mark.real),
    pytest.param(open_simulated, id="simulated"),
]


@pytest.fixture(params=IMPLEMENTATIONS)
async def ports(request: pytest.FixtureRequest, no_leaked_descriptor: None) -> AsyncIterator[Host]:
    """A machine; the suites know nothing else about it."""
    del no_leaked_descriptor
    opened: AbstractAsyncContextManager[Host] = request.param()
    async with opened as host:
        yield host


@pytest.fixture
def disk(ports: Host, tmp_path: Path) -> Disk:
    """An empty tree of that machine."""
    return ports.disk(str(tmp_path / "tree"))


@pytest.fixture
def no_leaked_descriptor() -> Iterator[None]:
    """Every socket and file that a test opened is closed by the test or by the port."""
    before = _open_descriptors()
    yield
    if len(_open_descriptors()) > len(before):
        gc.collect()  # what only a cycle keeps open is closed by its collection, with a warning
    after = _open_descriptors()
    assert len(after) <= len(before), sorted(after - before)


def _open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - Path.iterdir adds its own
