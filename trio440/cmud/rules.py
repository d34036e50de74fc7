"""The rules of the game: who owns what, what a command makes of it, and what chance decides. Pure.

A student mines coins with hardware, buys more of it, and works on the problem of a level, which
all students of that level share. Nothing here knows of a store or a terminal: a rule takes what
is, and a source of chance where it needs one, and returns what becomes of it.
"""

import random
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs

from trio440.errors import InvalidParameter

__all__ = [
    "MAX_DIGS",
    "AllGone",
    "Attempt",
    "Blow",
    "Chipped",
    "Dig",
    "Hardware",
    "Kind",
    "Level",
    "Purchase",
    "Solved",
    "Stuck",
    "Student",
    "attempt",
    "buy",
    "dig",
    "enrolled",
]

MAX_DIGS: Final = 100
"""The most that one command mines."""
DIGS_IN_TEN: Final = 9
"""How many of ten digs find something."""
DICE: Final = 20
"""An attempt at a problem draws a whole number below this."""
LAST_LOSS: Final = 2
"""Up to this, hardware is lost."""
LEFT_BY_LOSS: Final = 4
"""What there was of its kind is divided by this."""


class Kind(Enum):
    """A kind of hardware: its name, its price in coins, and its power."""

    CPU = ("cpu", 1, 1)
    GPU = ("gpu", 5, 10)
    ASIC = ("asic", 25, 100)
    QUANTUM = ("quantum", 125, 1_000)
    DARK_MATTER = ("dark_matter", 625, 10_000)

    def __init__(self, title: str, price: int, power: int) -> None:
        self.title = title
        self.price = price
        self.power = power


class Level(Enum):
    """A level: its name, and the size of its problem, None where there is none."""

    UNDERGRADUATE = ("Undergraduate", 100)
    MASTERS = ("Masters", 1_000)
    PHD = ("PhD", 10_000)
    POSTDOC = ("PostDoc", 500_000)
    PROFESSOR = ("Professor", 10_000_000)
    RETIRED = ("Retired", None)

    def __init__(self, title: str, problem: int | None) -> None:
        self.title = title
        self.problem = problem

    @property
    def after(self) -> "Level":
        """The next one; the last stays."""
        levels: list[Level] = [*Level]
        return levels[min(levels.index(self) + 1, len(levels) - 1)]


Hardware: TypeAlias = Mapping[Kind, int]
"""How many there are of each kind, at least 0; a kind that is not named has 0."""


def _fixed(counts: Hardware) -> Hardware:
    """Keep a copy that nobody changes."""
    return MappingProxyType(dict(counts))


@attrs.frozen
class Student:
    """All that the world knows of one student.

    Raises:
        InvalidParameter: there is less than nothing of something.
    """

    level: Level
    place: str
    """The name of one of :data:`~trio440.cmud.places.PLACES`."""
    coins: int
    hardware: Hardware = attrs.field(converter=_fixed)

    def __attrs_post_init__(self) -> None:
        if self.coins < 0:
            raise InvalidParameter("coins", self.coins, "at least 0")
        for kind, count in self.hardware.items():
            if count < 0:
                raise InvalidParameter(kind.title, count, "at least 0")

    @property
    def power(self) -> int:
        """That of all hardware together."""
        return sum(count * kind.power for kind, count in self.hardware.items())

    def count(self, kind: Kind) -> int:
        """How many there are of one kind."""
        return self.hardware.get(kind, 0)

    def with_count(self, kind: Kind, count: int) -> "Student":
        """The same student with another number of one kind."""
        return attrs.evolve(self, hardware={**self.hardware, kind: count})


def enrolled(place: str) -> Student:
    """Return one who begins: no coins, one cpu."""
    return Student(Level.UNDERGRADUATE, place, 0, {Kind.CPU: 1})


# Mining and buying


@attrs.frozen
class Dig:
    """What one dig has brought."""

    student: Student
    coins: int
    """0: nothing."""


def dig(student: Student, rng: random.Random) -> Dig:
    """Mine once: nine times in ten there are 1 to the total power of coins."""
    found = rng.randrange(10) < DIGS_IN_TEN
    coins = rng.randint(1, max(1, student.power)) if found else 0
    return Dig(attrs.evolve(student, coins=student.coins + coins), coins)


@attrs.frozen
class Purchase:
    """What was bought."""

    student: Student
    count: int
    """0: not one could be paid."""


def buy(student: Student, kind: Kind) -> Purchase:
    """Buy as many of a kind as the coins allow."""
    count = student.coins // kind.price
    paid = attrs.evolve(student, coins=student.coins - count * kind.price)
    return Purchase(paid.with_count(kind, student.count(kind) + count), count)


# Working on the problem


@attrs.frozen
class Blow:
    """Some hardware is lost."""

    student: Student
    kind: Kind
    lost: int


@attrs.frozen
class AllGone:
    """All hardware is lost: the student is out of the fight, with one cpu."""

    student: Student
    kind: Kind
    """What went last."""


@attrs.frozen
class Stuck:
    """Nothing happened."""

    student: Student


@attrs.frozen
class Chipped:
    """The problem has shrunk."""

    student: Student
    left: int
    """At least 1."""


@attrs.frozen
class Solved:
    """The problem is solved; it stands there anew, and the student has the next level."""

    student: Student


Attempt: TypeAlias = Blow | AllGone | Stuck | Chipped | Solved


def attempt(student: Student, left: int, rng: random.Random) -> Attempt:
    """Work on the problem once.

    Args:
        student: whose level has a problem.
        left: what is left of it, at least 1.
        rng: decides.

    Raises:
        InvalidParameter: there is nothing to work on.
    """
    if student.level.problem is None:
        raise InvalidParameter("level", student.level.title, "one that has a problem")
    if left < 1:
        raise InvalidParameter("left", left, "at least 1")
    draw = rng.randrange(DICE)
    if draw <= LAST_LOSS:
        return _loss(student, rng)
    if draw == DICE - 1:
        return Stuck(student)
    if left > student.power:
        return Chipped(student, left - student.power)
    return Solved(attrs.evolve(student, level=student.level.after))


def _loss(student: Student, rng: random.Random) -> Blow | AllGone:
    """Divide what there is of one kind by four."""
    kind = rng.choice([kind for kind in Kind if student.count(kind)] or [Kind.CPU])
    before = student.count(kind)
    after = student.with_count(kind, before // LEFT_BY_LOSS)
    if after.power:
        return Blow(after, kind, before - after.count(kind))
    return AllGone(after.with_count(Kind.CPU, 1), kind)
