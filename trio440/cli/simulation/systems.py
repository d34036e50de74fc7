"""What can be simulated, loaded only when a command asks for it."""

from functools import cache

from trio440.sim.systems import System, load_system

__all__ = ["find_system", "profiles"]


@cache
def find_system(name: str) -> System:
    """Return the system of this name.

    Raises:
        InvalidParameter: there is none; names what there is.
        ImportError: its module is there and cannot be imported.
    """
    return load_system(name)


def profiles() -> list[str]:
    """Return the names of the fault profiles."""
    from trio440.sim.profiles import PROFILES  # noqa: PLC0415 - not for every command

    return [*PROFILES]
