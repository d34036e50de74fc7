"""Operations and results as bytes, many in little room; the log and the wire of one engine. Pure.

::

    message    [code, [field, field, ...]]      MessagePack; the fields in the order of the class
    batch      [time in ms, [message, message, ...]]
    answer     [message, message, ...]

The codes are below: one that is in a log somewhere means its class for ever.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias, get_type_hints

import attrs
import msgspec

from trio440.errors import BadMessage, InvalidParameter
from trio440.kv.operations import (
    Append,
    Changed,
    Committed,
    CompareAndSet,
    Condition,
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    GrantLease,
    Increment,
    List,
    Operation,
    Page,
    Put,
    Refused,
    RenewLease,
    Result,
    RevokeLease,
    Transaction,
)

__all__ = [
    "decode_answer",
    "decode_batch",
    "encode_answer",
    "encode_batch",
    "pack",
]

Message: TypeAlias = Operation | Result
Packed: TypeAlias = tuple[int, Sequence[Any]]

_ENCODER: Final = msgspec.msgpack.Encoder()


# How the fields of each class are written and read


@attrs.frozen
class _Form:
    code: int
    fields: Callable[[Any], Sequence[Any]]
    read: Callable[[msgspec.Raw], Any]


def _plain(cls: type, code: int) -> _Form:
    """Describe a class whose fields MessagePack has as they are."""
    names = [field.name for field in attrs.fields(cls)]
    hints = get_type_hints(cls)
    decode = msgspec.msgpack.Decoder(tuple[tuple(hints[name] for name in names)]).decode  # type: ignore[misc]
    if len(names) == 1:
        get = attrgetter(names[0])
        return _Form(code, lambda message: (get(message),), lambda raw: cls(*decode(raw)))
    return _Form(code, attrgetter(*names), lambda raw: cls(*decode(raw)))


EntryFields: TypeAlias = tuple[bytes, bytes, int, int | None]
ConditionFields: TypeAlias = tuple[bytes, int | None, bytes | None, bool | None]
Parts: TypeAlias = list[tuple[int, msgspec.Raw]]

_entry_fields: Final[Callable[[Entry], EntryFields]] = attrgetter(
    "key", "value", "version", "ttl_ms"
)
_condition_fields: Final[Callable[[Condition], ConditionFields]] = attrgetter(
    "key", "version", "value", "exists"
)
_FOUND: Final = msgspec.msgpack.Decoder(tuple[EntryFields | None])
_PAGE: Final = msgspec.msgpack.Decoder(tuple[list[EntryFields], bool])
_COMMITTED: Final = msgspec.msgpack.Decoder(tuple[int, bool, Parts])
_TRANSACTION: Final = msgspec.msgpack.Decoder(tuple[list[ConditionFields], Parts, Parts])


def _found_fields(found: Found) -> Sequence[Any]:
    return (None if found.entry is None else _entry_fields(found.entry),)


def _read_found(raw: msgspec.Raw) -> Found:
    (entry,) = _FOUND.decode(raw)
    return Found(None if entry is None else Entry(*entry))


def _page_fields(page: Page) -> Sequence[Any]:
    return [_entry_fields(entry) for entry in page.entries], page.more


def _read_page(raw: msgspec.Raw) -> Page:
    entries, more = _PAGE.decode(raw)
    return Page(tuple(Entry(*entry) for entry in entries), more)


def _committed_fields(committed: Committed) -> Sequence[Any]:
    return committed.version, committed.succeeded, [_packed(part) for part in committed.results]


def _read_committed(raw: msgspec.Raw) -> Committed:
    version, succeeded, parts = _COMMITTED.decode(raw)
    results = tuple(_read(part, _SIMPLE_RESULTS) for part in parts)
    return Committed(version, succeeded, results)


def _transaction_fields(transaction: Transaction) -> Sequence[Any]:
    return (
        [_condition_fields(condition) for condition in transaction.conditions],
        [_packed(part) for part in transaction.then],
        [_packed(part) for part in transaction.otherwise],
    )


def _read_transaction(raw: msgspec.Raw) -> Transaction:
    conditions, then, otherwise = _TRANSACTION.decode(raw)
    return Transaction(
        tuple(Condition(*condition) for condition in conditions),
        tuple(_read(part, _SIMPLE) for part in then),
        tuple(_read(part, _SIMPLE) for part in otherwise),
    )


_FORMS: Final[dict[type, _Form]] = {
    Get: _plain(Get, 1),
    Put: _plain(Put, 2),
    Delete: _plain(Delete, 3),
    Expire: _plain(Expire, 4),
    List: _plain(List, 5),
    Count: _plain(Count, 6),
    Increment: _plain(Increment, 7),
    Append: _plain(Append, 8),
    CompareAndSet: _plain(CompareAndSet, 9),
    Transaction: _Form(10, _transaction_fields, _read_transaction),
    GrantLease: _plain(GrantLease, 11),
    RenewLease: _plain(RenewLease, 12),
    RevokeLease: _plain(RevokeLease, 13),
    Found: _Form(32, _found_fields, _read_found),
    Changed: _plain(Changed, 33),
    Page: _Form(34, _page_fields, _read_page),
    Counted: _plain(Counted, 35),
    Committed: _Form(36, _committed_fields, _read_committed),
    Refused: _plain(Refused, 37),
}


def _readers(*classes: type) -> dict[int, Callable[[msgspec.Raw], Any]]:
    return {_FORMS[cls].code: _FORMS[cls].read for cls in classes}


_SIMPLE: Final = _readers(Get, Put, Delete, Expire, List, Count, Increment, Append)
_OPERATIONS: Final = _SIMPLE | _readers(
    CompareAndSet, Transaction, GrantLease, RenewLease, RevokeLease
)
_SIMPLE_RESULTS: Final = _readers(Found, Changed, Page, Counted, Refused)
_RESULTS: Final = _SIMPLE_RESULTS | _readers(Committed)


def _packed(message: Message) -> Packed:
    form = _FORMS[type(message)]
    return form.code, form.fields(message)


def _read(part: tuple[int, msgspec.Raw], readers: dict[int, Callable[[msgspec.Raw], Any]]) -> Any:
    code, raw = part
    read = readers.get(code)
    if read is None:
        raise BadMessage(f"no message here has the code {code}")
    return read(raw)


# Bytes


def pack(message: Message) -> bytes:
    """Return the bytes of one message.

    Raises:
        InvalidParameter: it is none, or a field has no wire form.
    """
    try:
        return _ENCODER.encode(_packed(message))
    except (KeyError, TypeError, AttributeError, OverflowError, ValueError):
        raise InvalidParameter("message", message, "an operation or a result") from None


_BATCH: Final = msgspec.msgpack.Decoder(tuple[int, list[msgspec.Raw]])
_PART: Final = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_PARTS: Final = msgspec.msgpack.Decoder(Parts)


def encode_batch(now_ms: int, operations: Iterable[bytes]) -> bytes:
    """Return the bytes of operations that were packed, with the time at which they are asked."""
    return _ENCODER.encode((now_ms, list(map(msgspec.Raw, operations))))


def decode_batch(data: bytes) -> tuple[int, list[Operation | Refused]]:
    """Read a batch: its time, and its operations, with a refusal in the place of what is none.

    Raises:
        BadMessage: it is none.
    """
    try:
        now_ms, raws = _BATCH.decode(data)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"this is no batch of operations: {error}") from None
    return now_ms, [_read_operation(raw) for raw in raws]


def _read_operation(raw: msgspec.Raw) -> Operation | Refused:
    try:
        operation: Operation = _read(_PART.decode(raw), _OPERATIONS)
    except (msgspec.MsgspecError, BadMessage) as error:
        return Refused(f"this is no operation: {error}", "malformed")
    return operation


def encode_answer(results: Iterable[bytes]) -> bytes:
    """Return the bytes of results that were packed."""
    return _ENCODER.encode(list(map(msgspec.Raw, results)))


def decode_answer(data: bytes) -> list[Result]:
    """Read results.

    Raises:
        BadMessage: it is no answer.
    """
    try:
        return [_read(part, _RESULTS) for part in _PARTS.decode(data)]
    except msgspec.MsgspecError as error:
        raise BadMessage(f"this is no answer to operations: {error}") from None
