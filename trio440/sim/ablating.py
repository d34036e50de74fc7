"""Ablations: deliberate bugs, each a patch applied at run time, that a checker has to find.

A checker that no bug can trip is itself a bug. Each ablation names the bug, the world to look
for it in, and within how many seeds it is found.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

import attrs

from trio440.errors import InvalidParameter
from trio440.sim.outcome import LEVELS, ORDERS, Failure, Level, Order, Setup

__all__ = ["WITHIN", "Ablation", "by_name", "is_misfit"]

WITHIN: Final = 200
"""Seeds within which a bug is to be found where nothing else is said."""


@attrs.frozen(kw_only=True)
class Ablation:
    """One deliberate bug."""

    name: str
    """A few words with hyphens, unique."""
    system: str
    level: Level = attrs.field(default="A", validator=attrs.validators.in_(LEVELS))
    profile: str = "hostile"
    order: Order = attrs.field(default="random", validator=attrs.validators.in_(ORDERS))
    description: str
    """What is wrong with the system while it is applied, in one line."""
    apply: Callable[[], AbstractContextManager[object]]
    """Patches the system while the context lasts, and leaves it as it was."""
    within: int = attrs.field(default=WITHIN, validator=attrs.validators.ge(1))
    """Seeds within which it is found."""
    first: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """The first of these: for a bug that few worlds show, one shortly before a world that does."""

    def setup(self, seed: int) -> Setup:
        """Return the history of one seed; the bug itself is not part of it."""
        return Setup(
            system=self.system,
            seed=seed,
            level=self.level,
            profile=self.profile,
            order=self.order,
        )


def by_name(ablations: Iterable[Ablation]) -> dict[str, Ablation]:
    """Return the ablations by their names, in order.

    Raises:
        InvalidParameter: two have one name.
    """
    found: dict[str, Ablation] = {}
    for ablation in ablations:
        if ablation.name in found:
            raise InvalidParameter("ablations", ablation.name, "of different names")
        found[ablation.name] = ablation
    return found


_MISFITS: Final = {
    f"unexpected {error.__name__}" for error in (AttributeError, ImportError, NameError, TypeError)
}


def is_misfit(failure: Failure) -> bool:
    """Whether a patch does not fit the code that it breaks, so that no promise was tried."""
    return failure.invariant in _MISFITS
