"""The deterministic world: whole systems on simulated machines, one history for one seed."""

from trio440.sim.marking import simulated

__all__ = ["simulated"]
