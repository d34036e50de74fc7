"""Lifeguard's two measures: how well this member does itself, and how long a suspicion lasts. Pure.

Dadgar, Phillips, Currey: "Lifeguard: Local Health Awareness for More Accurate Failure Detection"
(2017), IV-A (LHA Probe) and IV-B (LHA Suspicion).
"""

import math

import attrs

from trio440.actors.cluster.config import Config

__all__ = ["LocalHealth", "Suspicion", "suspicion_limits"]


@attrs.define
class LocalHealth:
    """Counts a member's own troubles: signs that it hears or answers too late (IV-A)."""

    most: int
    count: int = 0

    def add(self, change: int) -> None:
        """Count up or down, within 0 and the limit."""
        self.count = max(0, min(self.most, self.count + change))

    @property
    def multiplier(self) -> int:
        """What the times of probes are multiplied by."""
        return self.count + 1


def suspicion_limits(config: Config, live: int) -> tuple[int, int]:
    """Return the least and the greatest duration of a suspicion among so many live members.

    Microseconds; the least is alpha log10(n) probe intervals, the greatest beta times that.
    """
    scale = max(1.0, math.log10(max(1, live)))
    least = int(config.suspicion_alpha * scale * config.probe_interval_us)
    return least, config.suspicion_beta * least


@attrs.define
class Suspicion:
    """One suspicion of one member, which shortens with each independent accuser (IV-B)."""

    started: int
    least: int
    greatest: int
    wanted: int
    """Confirmations after which it lasts no longer than ``least``; 0 is that from the start."""
    accusers: set[str]
    """Those who suspect the member on their own, the first one included."""

    def confirm(self, accuser: str) -> bool:
        """Count an accuser; False if that changes nothing."""
        if accuser in self.accusers or len(self.accusers) > self.wanted:
            return False
        self.accusers.add(accuser)
        return True

    @property
    def deadline(self) -> int:
        """When the member is lost unless it has refuted by then."""
        if self.wanted == 0:
            return self.started + self.least
        confirmations = len(self.accusers) - 1
        part = math.log(confirmations + 1) / math.log(self.wanted + 1)
        shrunk = self.greatest - int((self.greatest - self.least) * part)
        return self.started + max(self.least, shrunk)
