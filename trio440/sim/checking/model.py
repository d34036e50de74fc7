"""What a model is: the rules by which an object does one operation after the other.

A checker asks whether the operations of a history, which overlapped, can be put in an order that
a model accepts. A model of one's own needs :meth:`Deterministic.initial` and
:meth:`Deterministic.apply`; an object that has a choice (a set that gives *any* of its members)
implements :class:`Model` itself.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from trio440.errors import InvalidParameter
from trio440.sim.checking.history import Call, Value

__all__ = [
    "IMPOSSIBLE",
    "UNKNOWN",
    "Deterministic",
    "Impossible",
    "Model",
    "Result",
    "Unknown",
    "no_such_call",
]


class Unknown(enum.Enum):
    """The type of :data:`UNKNOWN`."""

    UNKNOWN = "?"


class Impossible(enum.Enum):
    """The type of :data:`IMPOSSIBLE`."""

    IMPOSSIBLE = "impossible"


UNKNOWN: Final = Unknown.UNKNOWN
"""The result of an operation that nobody heard of again: any result will do."""
IMPOSSIBLE: Final = Impossible.IMPOSSIBLE
"""What a model returns for a call that cannot happen in this state, whatever its result."""

Result: TypeAlias = Value | Unknown
State = TypeVar("State", bound=Hashable)


class Model(Protocol[State]):
    """The rules of an object.

    States are hashable values that are never changed; equal states mean equal futures.
    """

    name: str
    """What kind of object it is, for people."""

    def initial(self) -> State:
        """Return the state before any operation."""

    def step(self, state: State, call: Call, result: Result) -> tuple[bool, State]:
        """Whether a call may have this result in this state, and the state after it.

        Where the first is False, the second is not looked at.

        Raises:
            InvalidParameter: there is no such call.
        """

    def partition(self, call: Call) -> Value:
        """Return which object the call is for; objects are checked each by itself."""

    def reads(self, call: Call, result: Result) -> bool:
        """Whether a call with this result leaves *every* state as it was.

        False is always right, True makes the search faster.
        """

    def show_call(self, call: Call, result: Result) -> str:
        """Write an operation in one line."""

    def show_state(self, state: State) -> str:
        """Write a state so that it can follow the words "the state is"."""

    def show_allowed(self, state: State, call: Call) -> str:
        """Say in one sentence, without its full stop, what the call may do in this state."""


class Deterministic(ABC, Generic[State]):
    """A model in which state and call settle result and new state."""

    name: str = "object"

    @abstractmethod
    def initial(self) -> State:
        """Return the state before any operation."""

    @abstractmethod
    def apply(self, state: State, call: Call) -> tuple[Value | Impossible, State]:
        """Return the result of a call and the state after it.

        Raises:
            InvalidParameter: there is no such call.
        """

    def step(self, state: State, call: Call, result: Result) -> tuple[bool, State]:
        """Compare the result with that of :meth:`apply`."""
        expected, after = self.apply(state, call)
        if result is UNKNOWN:
            return expected is not IMPOSSIBLE, after
        return expected == result, after

    def partition(self, call: Call) -> Value:
        """Return the call's key."""
        return call.key

    def reads(self, call: Call, result: Result) -> bool:  # noqa: ARG002 - for subclasses
        """Return False: who knows."""
        return False

    def show_call(self, call: Call, result: Result) -> str:
        """Write ``name(key, arguments) -> result``; a None that says nothing is left out."""
        if result is None and not self.reads(call, result):
            return _show(call)
        return f"{_show(call)} -> {'?' if result is UNKNOWN else repr(result)}"

    def show_state(self, state: State) -> str:
        """Write the state as Python does."""
        return repr(state)

    def show_allowed(self, state: State, call: Call) -> str:
        """Name the one result that there is."""
        expected, _ = self.apply(state, call)
        if expected is IMPOSSIBLE:
            return f"{_show(call)} is not possible"
        return f"{_show(call)} would return {expected!r}"


def _show(call: Call) -> str:
    args = call.args if call.key is None else (call.key, *call.args)
    return f"{call.name}({', '.join(map(repr, args))})"


def no_such_call(call: Call, allowed: str) -> InvalidParameter:
    """Return what a model raises for a call that it does not have.

    Args:
        call: that call.
        allowed: those that there are, in words.
    """
    return InvalidParameter("call", _show(call), allowed)
