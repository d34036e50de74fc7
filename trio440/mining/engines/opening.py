"""Which engine there is, how many lanes it gets, and how fast it turns out to be."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Literal, TypeAlias, get_args

from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.errors import EngineUnavailable, InvalidParameter
from trio440.mining.engines.hashlib_engine import open_hashlib_engine
from trio440.mining.engines.numba_engine import open_numba_engine
from trio440.mining.engines.sliced import SlicedEngine
from trio440.mining.hashing import HashEngine
from trio440.mining.ranges import NonceRange

__all__ = ["ENGINES", "EngineName", "cores", "measure_rate", "open_engine"]

EngineName: TypeAlias = Literal["auto", "hashlib", "numba"]

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)
"""The names of the engines; ``"auto"`` is numba where it is usable, else hashlib."""

MAX_LANES: Final = 256
"""More threads or processes than any machine here has cores."""

TEXT: Final = "how fast is this machine?"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@asynccontextmanager
async def open_engine(
    name: EngineName = "auto", *, lanes: int | None = None, ports: Host = REAL_HOST
) -> AsyncIterator[HashEngine]:
    """Start a hash engine; leaving the context ends its threads or processes.

    Args:
        name: one of :data:`ENGINES`.
        lanes: threads or processes, 1 to :data:`MAX_LANES`; None: one for each core.
        ports: the machine to run on; hashlib's processes are real on any.

    Raises:
        EngineUnavailable: numba was asked for and is not installed, or not usable here.
        EngineFailed: a process of hashlib's cannot be started.
        InvalidParameter: there is no such engine, or ``lanes`` is out of range.
    """
    if name not in ENGINES:
        raise InvalidParameter("engine", name, f"one of {', '.join(ENGINES)}")
    lanes = cores() if lanes is None else lanes
    if not 1 <= lanes <= MAX_LANES:
        raise InvalidParameter("lanes", lanes, f"from 1 to {MAX_LANES}")
    async with AsyncExitStack() as stack:
        yield await _start(stack, name, lanes, ports)


async def _start(stack: AsyncExitStack, name: EngineName, lanes: int, ports: Host) -> SlicedEngine:
    """Start the engine; ``"auto"`` falls back to hashlib where numba is absent or broken."""
    if name != "hashlib":
        try:
            return await stack.enter_async_context(open_numba_engine(lanes, ports=ports))
        except EngineUnavailable:
            if name == "numba":
                raise
    return await stack.enter_async_context(open_hashlib_engine(lanes, ports=ports))


async def measure_rate(
    engine: HashEngine, *, seconds: float = 0.2, ports: Host = REAL_HOST
) -> float:
    """Return the nonces per second of an engine, by hashing for about ``seconds``.

    Larger and larger ranges are searched until one takes half of the time; that one counts.
    """
    size = 10_000
    while True:
        began = ports.clock.now()
        await engine.search(TEXT, NonceRange(10**9, 10**9 + size - 1))
        taken = max(ports.clock.now() - began, 1e-6)
        if taken >= seconds / 2:
            return size / taken
        size = int(size * min(10.0, seconds / taken))
