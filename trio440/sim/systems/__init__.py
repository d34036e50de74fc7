"""The systems that can be simulated, by name; each is imported when it is asked for."""

from trio440.sim.systems.base import System
from trio440.sim.systems.registry import SYSTEMS, load_system

__all__ = ["SYSTEMS", "System", "load_system"]
