"""The trace: what happened in a simulated world, event by event, and a hash of all of it."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

__all__ = ["KEPT_EVENTS", "WORLD", "Event", "Record", "Trace"]

Record: TypeAlias = Callable[[bytes], object]
"""Takes a line of what a system says of itself in a form of its own, beside the trace."""

WORLD: Final = ""
"""The host of an event that belongs to no host."""
KEPT_EVENTS: Final = 200_000
"""Events that a trace keeps; later ones still count in its hash."""


class Event(NamedTuple):
    """One thing that happened.

    ``kind`` is one of: ``start``, ``stop``, ``crash``, ``pause``, ``resume`` (of a host);
    ``send``, ``arrive``, ``drop`` (of a datagram or a segment); ``open``, ``close`` (of a socket
    or connection); ``disk`` (a write, a sync, a name); ``fault``, ``heal`` (of the weather);
    ``invoke``, ``return`` (of a client's operation); ``state`` (a host changed its role);
    ``note`` (anything that a program says).
    """

    number: int
    """From 0, in order."""
    at: int
    """Virtual time in microseconds."""
    host: str
    """The host's name, or :data:`WORLD`."""
    kind: str
    text: str
    """One line, equal in every run of the same seed: no id, no address of an object."""
    cause: int | None
    """The number of the ``send`` that an ``arrive`` or ``drop`` ends, of the ``invoke`` that a
    ``return`` ends."""

    def __str__(self) -> str:
        """Write the event as one line."""
        cause = "" if self.cause is None else f" <- {self.cause}"
        return f"{self.at / 1e6:12.6f} {self.host or '-':10} {self.kind:7} {self.text}{cause}"


class Trace:
    """Collects events in order."""

    def __init__(self, *, keep: bool = False) -> None:
        """Start an empty trace.

        Args:
            keep: hold on to the events themselves (the first :data:`KEPT_EVENTS`), not only to
                their number and hash.
        """
        self._keep = keep
        self._events: list[Event] = []
        self._count = 0
        self._hash = hashlib.sha256()

    def __len__(self) -> int:
        """Return how many events there were, kept or not."""
        return self._count

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events that were kept."""
        return iter(self._events)

    def add(self, at: int, host: str, kind: str, text: str, cause: int | None = None) -> int:
        """Add an event and return its number; see :class:`Event`."""
        try:
            line = f"{at} {host} {kind} {cause} {text}\n".encode()
        except UnicodeEncodeError:  # lone surrogates, as in file names
            text = text.encode(errors="backslashreplace").decode()
            line = f"{at} {host} {kind} {cause} {text}\n".encode(errors="backslashreplace")
        number = self._count
        self._count = number + 1
        self._hash.update(line)
        if self._keep and number < KEPT_EVENTS:
            self._events.append(Event(number, at, host, kind, text, cause))
        return number

    def digest(self) -> str:
        """Return the hash of all events so far, in hexadecimal."""
        return self._hash.hexdigest()
