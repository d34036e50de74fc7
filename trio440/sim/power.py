"""What a program meets when its simulated machine has lost power."""

__all__ = ["PowerCut"]


class PowerCut(BaseException):
    """Raised by every port of a machine that has crashed; nobody but the simulator catches it.

    Not an ``Exception``, so that no ``except`` of a program can go on after the machine is dead.
    """
