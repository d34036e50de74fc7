"""How fast a miner is, measured from its answers. Pure."""

from typing import Final

import attrs

__all__ = ["GUESSED_SPEED", "SLOWEST", "Speed"]

GUESSED_SPEED: Final = 100_000.0
"""Nonces per second to expect of a miner until it has answered once."""

SLOWEST: Final = 1.0
"""No estimate falls below one nonce a second, so that every expectation is finite."""

_MICROS: Final = 1_000_000


@attrs.define
class Speed:
    """An estimate of a miner's nonces per second.

    Samples that are faster than the estimate count at least half, since an answer can be late
    for many reasons but early for one only. Slower ones count by how long they lasted, so that
    a short chunk, which is mostly travel, hardly lowers the estimate.
    """

    nonces_per_second: float = 0.0
    """0 until the first answer."""

    @property
    def known(self) -> bool:
        """Whether there was an answer yet."""
        return self.nonces_per_second > 0

    def sample(self, nonces: int, micros: int) -> None:
        """Take in that ``nonces`` (at least 1) took ``micros`` microseconds."""
        seconds = max(micros, 1) / _MICROS
        measured = max(nonces / seconds, SLOWEST)
        if not self.known:
            self.nonces_per_second = measured
            return
        weight = seconds / (seconds + 1)
        if measured > self.nonces_per_second:
            weight = max(weight, 0.5)
        self.nonces_per_second += (measured - self.nonces_per_second) * weight

    def nonces_in(self, micros: int) -> int:
        """Return how many nonces the miner hashes in that time; 0 while unknown."""
        return int(self.nonces_per_second * micros / _MICROS)

    def micros_for(self, nonces: int) -> int:
        """Return the microseconds that ``nonces`` take, by a guess while unknown."""
        return int(nonces * _MICROS / (self.nonces_per_second or GUESSED_SPEED))
