"""What a command comes to: operations for the namespace, and an answer made of their results. Pure.

A *call* is one command of one client, ready to be carried out. Whatever a command needs to know of
its client or server is in :class:`Client`.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs

from trio440.kv.operations import (
    Committed,
    Entry,
    Found,
    Operation,
    Refused,
    Result,
    SimpleOperation,
    Transaction,
)
from trio440.kv.replica import MOST_TTL_MS
from trio440.kv.resp.limits import Counters, Limits
from trio440.kv.resp.parser import parse_integer
from trio440.kv.resp.replies import RESP2, Encoding, error
from trio440.kv.table_limits import MOST_MS

__all__ = [
    "SYNTAX_ERROR",
    "WRONG_NUMBER",
    "Call",
    "Client",
    "CommandError",
    "Cursors",
    "Facts",
    "check_pattern",
    "constant",
    "entry_of",
    "expect",
    "parts",
    "shown",
    "to_integer",
    "together",
    "too_long",
    "value_of",
    "words",
]

SYNTAX_ERROR = "ERR syntax error"
WRONG_NUMBER = "ERR value is not an integer or out of range"

TOGETHER: Final = 100
"""A command of more keys is no transaction: engines bound these."""

R = TypeVar("R")


class CommandError(Exception):
    """A command is answered with an error; its text is the whole line behind the ``-``."""


def words(refused: Refused) -> str:
    """Say in Redis' words why an operation was not carried out, in the engine's for the rest."""
    match refused.kind:
        case "not_a_number":
            return WRONG_NUMBER
        case "overflow":
            return "ERR increment or decrement would overflow"
        case _:
            return f"ERR {refused.reason}"


def shown(text: bytes, most: int = 128) -> str:
    """Return what an error repeats of an argument: up to a zero byte, and so much, as in Redis."""
    return text.partition(b"\0")[0][:most].decode(errors="surrogateescape")


def expect(result: Result, kind: type[R]) -> R:
    """Return a result that is of a kind.

    Raises:
        CommandError: the operation was refused.
    """
    if isinstance(result, kind):
        return result
    if isinstance(result, Refused):
        raise CommandError(words(result))
    raise AssertionError(f"{result} is no {kind.__name__}")


def check_pattern(pattern: bytes, limits: Limits) -> None:
    """Refuse a pattern that is too long.

    Raises:
        CommandError: it is.
    """
    if len(pattern) > limits.pattern_bytes:
        raise CommandError(f"ERR a pattern is too long, the limit is {limits.pattern_bytes} bytes")


def too_long(limits: Limits) -> CommandError:
    """Return the error of an answer that passes ``answer_bytes``."""
    return CommandError(f"ERR the answer is longer than {limits.answer_bytes} bytes")


@attrs.frozen
class Call:
    """A command that is ready: the answer is made of one result for each operation."""

    answer: Callable[[Sequence[Result]], bytes]
    operations: tuple[Operation, ...] = ()

    def reply(self, results: Sequence[Result]) -> bytes:
        """Return the answer; an operation that was refused is an error."""
        try:
            return self.answer(results)
        except CommandError as problem:
            return error(str(problem))


def to_integer(text: bytes) -> int:
    """Return an argument that is to be an int64.

    Raises:
        CommandError: it is none.
    """
    value = parse_integer(text)
    if value is None:
        raise CommandError(WRONG_NUMBER)
    return value


def entry_of(result: Result) -> Entry | None:
    """Return what a Get has found."""
    return expect(result, Found).entry


def value_of(result: Result) -> bytes | None:
    """Return the value that a Get has found."""
    entry = expect(result, Found).entry
    return None if entry is None else entry.value


def constant(reply: bytes) -> Call:
    """Return a call that asks nothing of the namespace."""
    return Call(lambda _: reply)


class Cursors:
    """Where the SCANs of a server have come to, by number: the last key that each has seen.

    A number stands for a place and not for a client, so that any connection may go on with it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last = 0
        self._places: OrderedDict[int, bytes] = OrderedDict()

    def place(self, cursor: int) -> bytes | None:
        """Return the key behind which a SCAN goes on; None for the beginning, cursor 0.

        Raises:
            CommandError: there is no such cursor, or it is forgotten.
        """
        if cursor == 0:
            return None
        found = self._places.get(cursor)
        if found is None:
            raise CommandError("ERR invalid cursor")
        self._places.move_to_end(cursor)
        return found

    def keep(self, key: bytes) -> int:
        """Return a cursor for the place behind a key."""
        self._last += 1
        self._places[self._last] = key
        if len(self._places) > self._limit:
            self._places.popitem(last=False)
        return self._last


@attrs.frozen
class Facts:
    """A server as its commands see it."""

    limits: Limits
    counters: Counters
    cursors: Cursors
    engine: str
    atomic: bool
    """Whether the namespace has an atomic engine."""
    port: int
    wall_ms: Callable[[], int]
    """Milliseconds since the Unix epoch."""
    uptime_seconds: Callable[[], int]

    @property
    def longest_ms(self) -> int:
        """The longest time to live that the engine knows."""
        return MOST_MS if self.atomic else MOST_TTL_MS


@attrs.define
class Client:
    """What a connection has said of itself, and what it has asked to be kept for it."""

    server: Facts
    number: int
    """From 1, one sequence for a server."""
    encoding: Encoding = RESP2
    name: bytes = b""

    def require_atomic(self, what: str) -> None:
        """Refuse what needs an atomic engine where there is none.

        Raises:
            CommandError: the namespace has another engine.
        """
        if not self.server.atomic:
            raise CommandError(f"ERR {what} needs a linearizable namespace")

    def reset(self) -> None:
        """Be as a new connection is."""
        self.encoding, self.name = RESP2, b""


def together(client: Client, *operations: SimpleOperation) -> tuple[Operation, ...]:
    """Return operations as one, where the engine can and they are not too many for it."""
    if client.server.atomic and len(operations) <= TOGETHER:
        return (Transaction(then=operations),)
    return operations


def parts(results: Sequence[Result]) -> Sequence[Result]:
    """Return the results of what :func:`together` made one of, or left apart."""
    if len(results) == 1 and isinstance(results[0], Committed):
        return results[0].results
    return results
