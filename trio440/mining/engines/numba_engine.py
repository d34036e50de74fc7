"""The compiled engine: numba, one thread per lane, without the interpreter's lock.

Needs the extra ``fast``. What numba compiles is kept on disk, beside the package or, where that
is not writable, in the user's cache (``NUMBA_CACHE_DIR`` chooses another place). The first start
takes seconds for it, in a process of its own, so that this one stays responsive and Ctrl-C ends
it at once; ``python -m trio440.mining.engines.warm`` does it beforehand.
"""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias

import trio

from trio440.core.host import Host, Worker
from trio440.errors import EngineUnavailable
from trio440.mining.engines.sliced import SlicedEngine
from trio440.mining.hashing import Found
from trio440.mining.ranges import NonceRange

__all__ = ["is_numba_installed", "open_numba_engine", "warm_up"]

SLICE_SECONDS: Final = 0.015
"""Threads cannot be interrupted, so this is what a cancelled search may still take."""

_PACKAGE: Final = "trio440.mining.engines"

Search: TypeAlias = Callable[[bytes, NonceRange], Found]


class _Thread:
    """A lane: one thread, with a searcher of its own."""

    def __init__(self, worker: Worker, search: Search) -> None:
        self._worker = worker
        self._search = search

    async def search(self, prefix: bytes, nonces: NonceRange) -> Found:
        return await self._worker.run(self._search, prefix, nonces)


def is_numba_installed() -> bool:
    """Whether the packages of the extra ``fast`` can be imported; imports none of them."""
    return all(importlib.util.find_spec(name) for name in ("numba", "numpy"))


@asynccontextmanager
async def open_numba_engine(lanes: int, *, ports: Host) -> AsyncIterator[SlicedEngine]:
    """Start the engine; leaving the context waits for the slices under way.

    Raises:
        EngineUnavailable: numba is not installed, or not usable here.
    """
    _require_numba()
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(ports.blocking.open_worker(f"hash-{lane}"))
            for lane in range(lanes)
        ]
        if not await workers[0].run(_is_compiled):
            await trio.run_process(
                [sys.executable, "-m", f"{_PACKAGE}.warm"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,  # what it could not keep is compiled here
            )
        threads = [_Thread(worker, await worker.run(_load_search)) for worker in workers]
        yield SlicedEngine("numba", threads, slice_seconds=SLICE_SECONDS, clock=ports.clock)


def warm_up() -> None:
    """Compile the kernel unless that was done, and keep it on disk. Blocking, for seconds.

    Raises:
        EngineUnavailable: numba is not installed, or not usable here.
    """
    _require_numba()
    _load_search()


def _require_numba() -> None:
    if not is_numba_installed():
        raise EngineUnavailable("the engine numba needs the package numba: install trio440[fast]")


def _import_part(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    except ImportError as error:
        raise EngineUnavailable(f"the engine numba is not usable here: {error}") from None


def _is_compiled() -> bool:
    """Whether the compiled kernel is on disk."""
    kernel = _import_part("kernel")
    entry = kernel.search_groups
    place = Path(entry._cache.cache_path)  # noqa: SLF001 - numba has no public way to ask
    kept = place.glob(f"kernel.{entry.__name__}-*.nbi")
    newest = max((path.stat().st_mtime for path in kept), default=0)
    return newest >= Path(str(kernel.__file__)).stat().st_mtime


def _load_search() -> Search:
    """Load the kernel, compiling it if need be, and return a searcher for one thread."""
    search: Search = _import_part("compiled").CompiledSearch().search
    search(b" ", NonceRange(0, 0))
    return search
