"""How long to wait before the next attempt: exponential, with jitter. Pure."""

import random

__all__ = ["Backoff"]


class Backoff:
    """The waits between attempts to connect, in seconds.

    The n-th wait after a success is drawn evenly from half of ``first * 2**n`` to the whole,
    which never passes ``longest``: the half keeps a client from hammering, the chance keeps a
    thousand clients of a restarted server from coming at the same moment.
    """

    def __init__(self, first: float, longest: float, rng: random.Random) -> None:
        self._first = first
        self._longest = longest
        self._rng = rng
        self._next = first

    def next_wait(self) -> float:
        """Return the seconds to wait now."""
        whole = min(self._next, self._longest)
        self._next = min(self._next * 2, self._longest)
        return whole * (0.5 + self._rng.random() / 2)

    def succeeded(self) -> None:
        """Begin again with the shortest wait."""
        self._next = self._first
