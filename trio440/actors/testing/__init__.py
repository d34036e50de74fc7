"""A kit for tests of actors: probes, a recorder of what is spawned, a clock to be moved by hand."""

from trio440.actors.testing.clock import ManualClock, host_with_clock
from trio440.actors.testing.probe import Probe, Received, open_probe
from trio440.actors.testing.recorder import SpawnRecorder

__all__ = [
    "ManualClock",
    "Probe",
    "Received",
    "SpawnRecorder",
    "host_with_clock",
    "open_probe",
]
