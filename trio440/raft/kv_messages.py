"""What is said to the key-value map of :mod:`trio440.raft.kv`, and what it answers. Pure."""

from typing import Final, Literal, TypeAlias

import attrs

from trio440.wire.codec import Codec

__all__ = [
    "Change",
    "Changed",
    "Changes",
    "Command",
    "Compacted",
    "CompareAndSet",
    "Condition",
    "Delete",
    "Ended",
    "Found",
    "Get",
    "Item",
    "List",
    "Operation",
    "Put",
    "Refused",
    "Result",
    "Since",
    "Transaction",
    "decode_command",
    "decode_result",
    "encode",
    "prefix_end",
]


# Commands


@attrs.frozen
class Get:
    """Ask for one key."""

    key: bytes


@attrs.frozen
class List:
    """Ask for the keys from ``start`` to before ``end``, in their order."""

    start: bytes = b""
    end: bytes | None = None
    """None: to the last key. See :func:`prefix_end` for all keys with a prefix."""
    limit: int = 1000
    """The most items, at least 1; the machine has a limit of its own."""
    reverse: bool = False
    """From the last key to the first."""


@attrs.frozen
class Since:
    """Ask for the changes behind a revision, in their order; part of no transaction."""

    after: int
    """At least 0; one that the map has not reached yet is waited for, or has no changes."""
    start: bytes = b""
    """Only those of keys from ``start`` to before ``end``."""
    end: bytes | None = None
    limit: int = 1000
    """The most changes, at least 1; those of one revision are never parted, though. The machine
    has limits of its own."""


@attrs.frozen
class Put:
    """Give a key a value."""

    key: bytes
    value: bytes


@attrs.frozen
class Delete:
    """Remove a key; one that is not there is no change."""

    key: bytes


@attrs.frozen
class CompareAndSet:
    """Give a key a value if it has the expected one."""

    key: bytes
    expected: bytes | None
    """None: it must not be there."""
    value: bytes | None
    """None: remove it."""


@attrs.frozen
class Condition:
    """What must hold of a key; one that is not there has only zeros and no value."""

    key: bytes
    what: Literal["value", "created", "modified", "version"]
    relation: Literal["=", "!=", "<", ">"]
    value: bytes = b""
    """To compare a value with; a key that is not there only satisfies ``!=``."""
    number: int = 0
    """To compare anything else with."""


@attrs.frozen
class Transaction:
    """Do one thing or another, at once; each operation sees those before it."""

    conditions: tuple[Condition, ...] = ()
    then: tuple[Get | List | Put | Delete, ...] = ()
    """Where all conditions hold; no key is changed twice."""
    otherwise: tuple[Get | List | Put | Delete, ...] = ()
    """Where not; the same."""


Operation: TypeAlias = Get | List | Put | Delete
Command: TypeAlias = Get | List | Since | Put | Delete | CompareAndSet | Transaction


# Results


@attrs.frozen
class Item:
    """A key and what is known of it."""

    key: bytes
    value: bytes
    created: int
    """The revision at which it came to be."""
    modified: int
    """The revision of its last change."""
    version: int
    """How many changes it has had since then, the first included."""


@attrs.frozen
class Found:
    """The answer to Get and List."""

    revision: int
    """Of the map."""
    items: tuple[Item, ...]
    more: bool = False
    """Whether a limit kept some out."""


@attrs.frozen
class Change:
    """What has become of a key at a revision."""

    revision: int
    """Several changes have the same one where they were made by one transaction."""
    key: bytes
    value: bytes | None
    """None: it was removed."""
    created: int = 0
    """The revision at which it came to be; 0 where it was removed."""
    version: int = 0
    """How many changes it has had since then; 0 where it was removed."""


@attrs.frozen
class Changes:
    """The answer to Since."""

    revision: int
    """Everything up to here was given: ask on from here."""
    changes: tuple[Change, ...]


@attrs.frozen
class Compacted:
    """The answer to Since where the history does not reach back so far."""

    revision: int
    """The changes behind this one are there."""


@attrs.frozen
class Changed:
    """The answer to Put, Delete and CompareAndSet."""

    revision: int
    """Of the map, afterwards."""
    done: bool
    """False: there was nothing to delete, or another value than the expected one."""
    before: Item | None
    """What the key was."""


@attrs.frozen
class Ended:
    """The answer to Transaction."""

    revision: int
    """Of the map, afterwards."""
    succeeded: bool
    """Whether all conditions held."""
    results: tuple[Found | Changed, ...]
    """Of the operations that were done."""


@attrs.frozen
class Refused:
    """Nothing was done."""

    problem: str


Result: TypeAlias = Found | Changes | Compacted | Changed | Ended | Refused

_COMMANDS: Final = Codec[Command](Get, List, Since, Put, Delete, CompareAndSet, Transaction)
_RESULTS: Final = Codec[Result](Found, Changes, Compacted, Changed, Ended, Refused)


def encode(message: Command | Result) -> bytes:
    """Return the bytes of a command or a result.

    Raises:
        InvalidParameter: it is neither.
    """
    if isinstance(message, Result):
        return _RESULTS.encode(message)
    return _COMMANDS.encode(message)


def decode_command(data: bytes) -> Command:
    """Read a command.

    Raises:
        BadMessage: it is none.
    """
    return _COMMANDS.decode_untrusted(data)


def decode_result(data: bytes) -> Result:
    """Read a result.

    Raises:
        BadMessage: it is none.
    """
    return _RESULTS.decode_untrusted(data)


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the ``end`` of a List of all keys with a prefix; None: there is no key behind."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
