"""Where each system lives, and how one is found by its name."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from trio440.errors import InvalidParameter
from trio440.sim.systems.base import System

__all__ = ["SYSTEMS", "load_system"]

SYSTEMS: Final = {
    "actors": "trio440.sim.systems.actors:SYSTEM",
    "core": "trio440.sim.systems.core:SYSTEM",
    "kv": "trio440.sim.systems.kv:SYSTEM",
    "linekv": "trio440.sim.systems.linekv:SYSTEM",
    "lsp": "trio440.sim.systems.lsp:SYSTEM",
    "miner": "trio440.sim.systems.miner:SYSTEM",
    "raft": "trio440.sim.systems.raft:SYSTEM",
}
"""The systems of this package; ``MODULE:NAME`` names the :class:`System` itself."""


def load_system(name: str) -> System:
    """Return the system of this name.

    Args:
        name: one of :data:`SYSTEMS`, or ``MODULE:NAME`` for a system of your own.

    Raises:
        InvalidParameter: there is none; names what there is.
        ImportError: its module is there and cannot be imported.
    """
    module, colon, attribute = SYSTEMS.get(name, name).partition(":")
    if not colon or not _exists(module):
        raise _unknown(name)
    system = getattr(import_module(module), attribute, None)
    if not isinstance(system, System):
        raise _unknown(name)
    return system


def _exists(module: str) -> bool:
    try:
        return module in sys.modules or find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _unknown(name: str) -> InvalidParameter:
    return InvalidParameter("system", name, f"one of {', '.join(SYSTEMS)}, or MODULE:NAME")
