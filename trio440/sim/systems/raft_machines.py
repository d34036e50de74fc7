"""State machines of Raft's peers at level B, which check what they are fed, and what is answered.

Every command of a client has a value of its own, so a command that is carried out twice shows.
"""

from collections.abc import Callable
from typing import TypeAlias

from trio440.raft.dedupe import Sessions
from trio440.raft.kv import KeyValueMap

__all__ = ["Ledger", "Machine"]

Require: TypeAlias = Callable[[object, str, str], None]


class Ledger:
    """What the peers of one cluster have applied, and with which results."""

    def __init__(self, require: Require) -> None:
        """Start with nothing; ``require`` raises where its condition does not hold."""
        self.require = require
        self._entries: dict[int, bytes] = {}
        self._results: dict[int, bytes] = {}
        self._done: dict[bytes, int] = {}
        """The index at which each command of a client was carried out."""

    def applies(self, name: str, index: int, entry: bytes) -> None:
        """Check an entry that a peer applies."""
        other = self._entries.setdefault(index, entry)
        shown = f"{name} applies {entry!r} at {index}, elsewhere {other!r}"
        self.require(other == entry, "state machine safety", shown)

    def results_in(self, name: str, index: int, result: bytes) -> None:
        """Check what came of an entry."""
        other = self._results.setdefault(index, result)
        shown = f"{name} answers {result!r} at {index}, elsewhere {other!r}"
        self.require(other == result, "an entry has one result", shown)

    def carries_out(self, name: str, index: int, command: bytes) -> None:
        """Check a command that is new to a peer's map."""
        other = self._done.setdefault(command, index)
        shown = f"{name} carries out {command!r} at {index}, and it was at {other}"
        self.require(other == index, "a command is carried out once", shown)

    def answered(self, client: str, command: bytes) -> None:
        """Check a command whose result a client has."""
        shown = f"{client} has an answer to {command!r}"
        self.require(command in self._done, "a command is applied before it is answered", shown)


class Machine:
    """A map with sessions that checks what it is fed: the same everywhere, and in order."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        """Start empty, as the machine of a peer."""
        self._ledger = ledger
        self._name = name
        self._machine = Sessions(_Map(ledger, name))
        self._last = 0

    def apply(self, index: int, command: bytes) -> bytes:
        """Carry out a command."""
        ledger = self._ledger
        shown = f"{self._name} applies {index} after {self._last}"
        ledger.require(index > self._last, "each entry once and in order", shown)
        self._last = index
        ledger.applies(self._name, index, command)
        result = self._machine.apply(index, command)
        ledger.results_in(self._name, index, result)
        return result

    def query(self, request: bytes) -> bytes:
        """Answer a question."""
        return self._machine.query(request)

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of the state."""
        return self._machine.snapshot()

    def restore(self, data: bytes) -> None:
        """Replace the state."""
        self._machine.restore(data)


class _Map:
    """What is inside the sessions."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self._map = KeyValueMap()

    def apply(self, index: int, command: bytes) -> bytes:
        self._ledger.carries_out(self._name, index, command)
        return self._map.apply(index, command)

    def query(self, request: bytes) -> bytes:
        return self._map.query(request)

    def snapshot(self) -> Callable[[], bytes]:
        return self._map.snapshot()

    def restore(self, data: bytes) -> None:
        self._map.restore(data)
