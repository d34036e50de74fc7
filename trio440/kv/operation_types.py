"""What the fields of operations hold. Pure.

Engines in the process get operations as they were made. One with a text for a key would be taken,
and fail at a later operation that compares keys, so it is refused before anything is done.
"""

from collections.abc import Iterable, Sequence
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from trio440.errors import InvalidParameter
from trio440.kv.operations import (
    Append,
    CompareAndSet,
    Condition,
    Count,
    Delete,
    Expire,
    Get,
    GetSiblings,
    GrantLease,
    Increment,
    List,
    Packable,
    Put,
    PutSibling,
    RenewLease,
    RevokeLease,
    Transaction,
)

__all__ = ["check_types"]

CLASSES: Final[tuple[type[Packable], ...]] = (
    *(Append, CompareAndSet, Condition, Count, Delete, Expire, Get, GetSiblings, GrantLease),
    *(Increment, List, Put, PutSibling, RenewLease, RevokeLease),
)
WORDS: Final = {bytes: "bytes", int: "a whole number", bool: "true or false", NoneType: "None"}
MOST_SHOWN: Final = 50


def _types_of(cls: type[Packable]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    hints = get_type_hints(cls)
    names = cls.__struct_fields__
    return tuple((name, get_args(hints[name]) or (hints[name],)) for name in names)


_TYPES: Final[dict[type, Any]] = {cls: _types_of(cls) for cls in CLASSES}


def check_types(operations: Iterable[Any]) -> None:
    """Refuse operations whose fields hold what their class does not say.

    What is no operation at all is left to the engine, which refuses it.

    Raises:
        InvalidParameter: one does.
    """
    for operation in operations:
        kind = type(operation)
        if kind is Get:  # what is common is checked in less time
            if type(operation.key) is bytes:
                continue
        elif kind is Put and operation.ttl_ms is None and not operation.lease:
            if type(operation.key) is type(operation.value) is bytes:
                continue
        elif kind is Transaction:
            _check_parts(operation)
            continue
        _check(operation)


def _check_parts(transaction: Transaction) -> None:
    for part in (transaction.conditions, transaction.then, transaction.otherwise):
        if not isinstance(part, Sequence):
            raise InvalidParameter("a part of a transaction", part, "a sequence")
        check_types(part)


def _check(operation: object) -> None:
    for name, types in _TYPES.get(type(operation), ()):
        if not isinstance(value := getattr(operation, name), types):
            allowed = " or ".join(WORDS[each] for each in types)
            shown = value[:MOST_SHOWN] if isinstance(value, str) else value
            raise InvalidParameter(f"{name} of {type(operation).__name__}", shown, allowed)
