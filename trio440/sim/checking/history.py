"""What clients did to a system and what they were told: the input of a checker.

A history is a sequence of events: an operation is invoked, and later it ends, or never does.
The order of the events is the order in which the recorder was told of them; their times, in
microseconds, are for the reader only, so that events at one virtual time have an order, too.

How an operation ends:

- ``ok``: it happened, once, between its invocation and its return, and this is its result;
- ``fail``: it is known not to have happened, and never will;
- ``unknown``: nobody knows (a timeout, a broken connection, a client that crashed). It may have
  happened at any time after its invocation, may still happen, or never.

As JSON lines a history is one event a line::

    {"event": "invoke", "op": 0, "at": 120, "client": "c1", "call": "put", "key": "x", "args": [1]}
    {"event": "ok", "op": 0, "at": 340, "result": null}
    {"event": "fail", "op": 1, "at": 560}

An operation without an end is ``unknown``. Bytes are written ``{"bytes": "one character each"}``.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

import attrs

from trio440.errors import BadHistory, InvalidParameter

__all__ = ["Call", "Ending", "History", "Invocation", "Operation", "Value"]

Value: TypeAlias = bool | int | float | str | bytes | tuple["Value", ...] | None
"""What keys, arguments and results are made of. Values are compared by ``==``, so that 1, 1.0 and
True are one value; there is no infinity and no NaN."""

Ending: TypeAlias = Literal["ok", "fail", "unknown"]
"""How an operation ended; see the module."""

PLAIN: Final = "None, a bool, a finite number, a str, bytes or a tuple of these"
BYTES: Final = "bytes"


@attrs.frozen
class Call:
    """What is asked of an object: a name that its model knows, and arguments."""

    name: str
    args: tuple[Value, ...] = ()
    key: Value = None
    """Which object of several; None where there is only one."""


@attrs.frozen
class Operation:
    """A call by a client, and what came of it."""

    number: int
    """From 0, in the order of invocation."""
    client: str
    call: Call
    invoked: int
    """When, in microseconds."""
    begin: int
    """The position of its invocation among the events of the history."""
    ending: Ending = "unknown"
    returned: int | None = None
    """When, in microseconds; None for one whose ending is ``unknown``."""
    end: int | None = None
    """The position of its end among the events of the history, likewise."""
    result: Value = None
    """What the client was told, if the ending is ``ok``."""


class Invocation:
    """An operation that has begun; end it at most once."""

    __slots__ = ("_ended", "_history", "number")

    def __init__(self, history: "History", number: int) -> None:
        self.number = number
        """The operation's number."""
        self._history = history
        self._ended: Ending | None = None

    def ok(self, result: Value = None) -> None:
        """Say that it happened, with this result.

        Raises:
            InvalidParameter: the result is no :data:`Value`, or the operation has ended already.
        """
        _check_value("result", result)
        self._end("ok", result)

    def fail(self) -> None:
        """Say that it did not happen and never will.

        Raises:
            InvalidParameter: the operation has ended already.
        """
        self._end("fail", None)

    def unknown(self) -> None:
        """Say that nobody will know; the same as never saying anything.

        Raises:
            InvalidParameter: the operation has ended already.
        """
        self._end("unknown", None)

    def _end(self, ending: Ending, result: Value) -> None:
        if self._ended is not None:
            raise InvalidParameter("ending", ending, "the first of its operation")
        self._ended = ending
        if ending != "unknown":
            self._history._add_end(self.number, ending, result)  # noqa: SLF001 - its other half


class History:
    """Records operations as they happen.

    Operations of one client may overlap: a client that gave up on one may begin the next.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """Start an empty history.

        Args:
            clock: gives the time in microseconds; the same clock for all clients.
        """
        self._clock = clock
        self._operations: list[Operation] = []
        self._events: list[tuple[Ending | None, int]] = []

    def __len__(self) -> int:
        """Return how many operations have been invoked."""
        return len(self._operations)

    def __iter__(self) -> Iterator[Operation]:
        """Iterate over the operations in the order of their invocation."""
        return iter(self._operations)

    def __getitem__(self, number: int) -> Operation:
        """Return one operation as it is now."""
        return self._operations[number]

    def invoke(self, client: str, call: Call) -> Invocation:
        """Record that ``client`` begins a call, and return the handle to end it with.

        Call this before the request can have any effect.

        Raises:
            InvalidParameter: the key or an argument is no :data:`Value`.
        """
        _check_value("key", call.key)
        _check_value("args", call.args)
        number = len(self._operations)
        operation = Operation(number, client, call, self._clock(), begin=len(self._events))
        self._operations.append(operation)
        self._events.append((None, number))
        return Invocation(self, number)

    def to_lines(self) -> Iterator[str]:
        """Write the history as JSON lines, without their line ends."""
        for ending, number in self._events:
            operation = self._operations[number]
            fields: dict[str, object] = {"event": ending or "invoke", "op": number}
            if ending is None:
                call = operation.call
                fields |= {"at": operation.invoked, "client": operation.client, "call": call.name}
                fields |= {"key": _to_json(call.key), "args": _to_json(call.args)}
            else:
                fields["at"] = operation.returned
                if ending == "ok":
                    fields["result"] = _to_json(operation.result)
            yield json.dumps(fields)

    @classmethod
    def from_lines(cls, lines: str | Iterable[str]) -> "History":
        """Read what :meth:`to_lines` wrote, or another program.

        Operations are numbered anew, in the order of their invocation; empty lines are skipped.
        What is invoked on the history afterwards has the time of its last event.

        Args:
            lines: the lines, with or without their line ends, or all of them as one text.

        Raises:
            BadHistory: a line is not an event of the form shown at the top of this module; the
                text says which line and what is wrong with it.
        """
        now = 0
        history = cls(lambda: now)
        open_operations: dict[int, Invocation | None] = {}
        for number, line in enumerate(lines.split("\n") if isinstance(lines, str) else lines, 1):
            if not line.strip():
                continue
            try:
                event = _Fields(line)
                now = event.integer("at")
                history._read_event(event, open_operations)
            except ValueError as error:
                raise BadHistory(number, str(error)) from None
        return history

    def _read_event(
        self, event: "_Fields", open_operations: "dict[int, Invocation | None]"
    ) -> None:
        kind, name = event.text("event"), event.integer("op")
        if kind == "invoke":
            if name in open_operations:
                raise ValueError(f"operation {name} was invoked before")
            args = event.value("args")
            if not isinstance(args, tuple):
                raise ValueError("args is not a list")
            call = Call(event.text("call"), args, event.value("key"))
            open_operations[name] = self.invoke(event.text("client"), call)
        elif kind in {"ok", "fail"}:
            if name not in open_operations:
                raise ValueError(f"operation {name} was never invoked")
            invocation = open_operations[name]
            if invocation is None:
                raise ValueError(f"operation {name} has ended before")
            if kind == "ok":
                invocation.ok(event.value("result"))
            else:
                invocation.fail()
            open_operations[name] = None
        else:
            raise ValueError(f"event is none of invoke, ok and fail: {kind!r}")

    def _add_end(self, number: int, ending: Ending, result: Value) -> None:
        self._operations[number] = attrs.evolve(
            self._operations[number],
            ending=ending,
            returned=self._clock(),
            end=len(self._events),
            result=result,
        )
        self._events.append((ending, number))


class _Fields:
    """One line, read as a JSON object; every method raises ValueError that says what is wrong."""

    def __init__(self, line: str) -> None:
        try:
            fields = json.loads(line)
        except RecursionError:
            raise ValueError("not JSON: nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - the line's fault, not a caller's
        self._fields: dict[str, Any] = fields

    def _field(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise ValueError(f"{name} is missing") from None

    def text(self, name: str) -> str:
        field = self._field(name)
        if not isinstance(field, str):
            raise ValueError(f"{name} is not a string")  # noqa: TRY004 - as above
        return field

    def integer(self, name: str) -> int:
        field = self._field(name)
        if type(field) is not int:
            raise ValueError(f"{name} is not an integer")
        return field

    def value(self, name: str) -> Value:
        field = self._field(name)
        try:
            return _from_json(field)
        except (ValueError, RecursionError):
            raise ValueError(f"{name} is not made of {PLAIN}") from None


def _check_value(name: str, value: object) -> None:
    if not _is_value(value):
        raise InvalidParameter(name, value, PLAIN)


def _is_value(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, tuple):
        return all(map(_is_value, value))
    return value is None or isinstance(value, int | str | bytes)


def _to_json(value: Value) -> object:
    if isinstance(value, bytes):
        return {BYTES: value.decode("latin-1")}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(field: Any) -> Value:
    if isinstance(field, list):
        return tuple(map(_from_json, field))
    if isinstance(field, dict):
        text = field.get(BYTES)
        if len(field) != 1 or not isinstance(text, str):
            raise ValueError(field)
        return text.encode("latin-1")
    if not _is_value(field):
        raise ValueError(field)
    value: Value = field
    return value
