"""What a program meets when its simulated machine has lost power, and what it does not."""

__all__ = ["PowerCut", "is_interrupt"]


class PowerCut(BaseException):
    """Raised by every port of a machine that has crashed; nobody but the simulator catches it.

    Not an ``Exception``, so that no ``except`` of a program can go on after the machine is dead.
    """

    def __str__(self) -> str:
        """Say what it means where a living program meets it: it kept the ports of another life."""
        return "ports were used whose machine has lost power"


def is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is somewhere in it."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_interrupt(one) for one in error.exceptions)
    return isinstance(error, KeyboardInterrupt)
