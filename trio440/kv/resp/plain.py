"""Requests that are nothing but GETs, or nothing but SETs, as operations: the shorter way. Pure."""

from collections.abc import Sequence
from typing import Final

from trio440.kv.operations import Get, Operation, Put
from trio440.kv.resp.parser import LONE_BYTES, Request, parse_lone

__all__ = ["BATCH_OPERATIONS", "GETS", "SETS", "lone_operation", "plain_operations"]

BATCH_OPERATIONS: Final = 128
"""More are asked for in several batches, so that no client has others wait for long, or has many
answers made that it does not take."""
GETS: Final = (b"GET", b"get")
SETS: Final = (b"SET", b"set")


def lone_operation(data: bytes | bytearray) -> Operation | None:
    """Return the one short GET or SET that is all of the bytes; None for others."""
    if len(data) > LONE_BYTES or (request := parse_lone(data)) is None:
        return None
    key, value = request
    return Get(key) if value is None else Put(key, value)


def plain_operations(requests: Sequence[Request]) -> Sequence[Operation]:
    """Return the operations of nothing but GETs, or nothing but SETs; none for others."""
    number = len(requests)
    if not number or number > BATCH_OPERATIONS:
        return ()
    first = requests[0]
    size, name = len(first), first[0]
    is_get = size == 2 and name in GETS  # noqa: PLR2004 - the shape
    if not is_get and (size != 3 or name not in SETS):  # noqa: PLR2004 - the shape
        return ()
    try:
        names, *columns = zip(*requests, strict=True)
    except ValueError:  # they have not all the same shape
        return ()
    if names.count(name) != number:
        return ()
    return [*(map(Get, *columns) if is_get else map(Put, *columns))]
