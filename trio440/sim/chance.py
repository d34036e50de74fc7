"""Chance from one seed: a stream of its own for every purpose.

Streams are named, so that what one part of a world draws does not change what another part
draws: leaving out one fault, or adding a host, disturbs nothing else.
"""

import random
from typing import TypeAlias

__all__ = ["Seed", "stream"]

Seed: TypeAlias = int
"""What a whole history is made from; any integer."""


def stream(seed: Seed, *names: str | int) -> random.Random:
    """Return the generator that ``names`` mean under ``seed``.

    Equal arguments give equal streams in every process, whatever its hash seed.
    """
    return random.Random(repr((seed, *names)))
