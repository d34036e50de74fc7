"""Who plays in a world of the miner: the miners and their vices, the clients' wishes. Pure."""

import random
from typing import Final

import attrs

from trio440.mining.ranges import NonceRange
from trio440.sim.faults import CLEAR, FaultPlan
from trio440.sim.systems.miner_watch import SPAN

__all__ = [
    "CLIENTS",
    "MINERS",
    "SECOND",
    "SERVER",
    "TEXTS",
    "Crew",
    "Wish",
    "draw_crew",
    "draw_nonces",
    "draw_wishes",
    "is_calm",
]

SECOND: Final = 1_000_000
"""In microseconds of virtual time."""
SERVER: Final = "server"
MINERS: Final = ("miner1", "miner2", "miner3", "miner4")
CLIENTS: Final = ("client1", "client2", "client3")
RELIABLE: Final = 2
"""So many miners are always honest and fast."""
MILLI: Final = 1_000
LAST_ASKED: Final = 11 * SECOND
"""Before the last fault is over nobody asks for anything after this moment."""
TEXTS: Final = 9
"""Each client asks about so many texts in turn, each over nonces from one base."""


@attrs.frozen
class Crew:
    """How fast each miner is, and what is wrong with it."""

    speeds: dict[str, int]
    """Nonces per second."""
    vices: dict[str, str]
    """``hang``, ``late``, ``nonsense``, or nothing."""
    tempers: dict[str, int]
    """After how many chunks the vice shows, once."""

    @property
    def speed(self) -> int:
        """Nonces per second of all."""
        return sum(self.speeds.values())


@attrs.frozen
class Wish:
    """What a client will ask for."""

    when: int
    """Microseconds from the start."""
    size: int
    """How many nonces."""


def is_calm(plan: FaultPlan) -> bool:
    """Whether nothing goes wrong in a world."""
    return not plan.happening and plan.base == CLEAR


def draw_crew(rng: random.Random, *, calm: bool) -> Crew:
    """Draw miners; in a calm world all are honest."""
    speeds = {name: rng.randint(10, 60) for name in MINERS}
    speeds |= {name: rng.randint(40, 60) for name in MINERS[:RELIABLE]}
    vices = dict.fromkeys(MINERS, "")
    for name in MINERS[RELIABLE:]:
        vices[name] = rng.choice(("", "hang", "hang", "late", "nonsense"))
    tempers = {name: rng.randrange(1, 8) for name in MINERS}
    return Crew(speeds, dict.fromkeys(MINERS, "") if calm else vices, tempers)


def draw_wishes(rng: random.Random, speed: int, *, calm: bool) -> dict[str, list[Wish]]:
    """Draw who asks for how much and when: a mixture, a stream of small jobs, or a small job."""
    first, *others = CLIENTS
    wishes: dict[str, list[Wish]] = {name: [] for name in CLIENTS}
    match rng.choice((0, 1, 1, 2)):
        case 0:
            for name in CLIENTS:
                for _ in range(rng.randint(2, 6)):
                    wishes[name].append(Wish(rng.randrange(LAST_ASKED), rng.randint(1, 80)))
                wishes[name].sort(key=lambda wish: wish.when)
        case 1:  # small ones all the time, more than can be done, and something larger
            wishes[first].append(Wish(rng.randrange(500 * MILLI, SECOND), 3 * speed // 2))
            step = 600 * MILLI
            size = max(speed * step * 3 // 2 // SECOND // len(others), 2)
            for name in others:
                start = rng.randrange(step)
                wishes[name] += [Wish(when, size) for when in range(start, LAST_ASKED, step)]
        case _:  # a small one after a huge one
            huge = 9 * speed if calm else 3 * speed
            wishes[first].append(Wish(rng.randrange(500 * MILLI), min(huge, SPAN)))
            when = rng.randrange(SECOND, 3 * SECOND // 2)
            for name in others:
                wishes[name].append(Wish(when, rng.randint(1, 10)))
                when += 3 * SECOND
    return wishes


def draw_nonces(rng: random.Random, size: int, base: int) -> NonceRange:
    """Draw where the nonces of a job lie, up from ``base``."""
    lower = base + rng.randrange(SPAN - size + 1)
    return NonceRange(lower, lower + size - 1)
