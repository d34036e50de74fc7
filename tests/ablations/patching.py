"""What deliberate bugs are made of: patches, alone or together."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from trio440.sim.ablating import Ablation
from trio440.sim.outcome import Level

__all__ = ["Bugs", "ablations_of", "replaced", "together"]

Bugs = dict[Callable[[], Any], tuple[str, str, int] | tuple[str, str, int, int]]
"""By what applies a bug: its description, the profile and the number of seeds, and the first one
where that is not 0."""


@contextmanager
def replaced(owner: object, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put ``make(what was there)`` in the place of an attribute."""
    with patch.object(owner, name, make(getattr(owner, name))):
        yield


@contextmanager
def together(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    """Apply several patches."""
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


def ablations_of(system: str, level: Level, bugs: Bugs) -> list[Ablation]:
    """Return a system's ablations, each with the name of the function that applies it."""
    return [
        Ablation(
            name=f"{system}-{bug.__name__.replace('_', '-')}",
            system=system,
            level=level,
            profile=profile,
            description=description,
            apply=bug,
            within=within,
            first=first[0] if first else 0,
        )
        for bug, (description, profile, within, *first) in bugs.items()
    ]
