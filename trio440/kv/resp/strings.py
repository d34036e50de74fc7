"""The commands of values, as operations. Pure.

A command that changes several keys, or asks and changes, is one transaction on an atomic engine. On
the eventual one it is several operations, where that keeps its meaning for whoever is alone;
otherwise it is refused.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from trio440.kv.operations import (
    Append,
    Changed,
    Committed,
    Condition,
    Delete,
    Get,
    Increment,
    Put,
    Result,
    SimpleOperation,
    Transaction,
)
from trio440.kv.resp.calls import (
    SYNTAX_ERROR,
    Call,
    Client,
    CommandError,
    expect,
    parts,
    to_integer,
    together,
    too_long,
    value_of,
)
from trio440.kv.resp.parser import INT64_MAX, Request
from trio440.kv.resp.replies import OK, array, integer

__all__ = [
    "append",
    "get",
    "getdel",
    "getset",
    "increment",
    "mget",
    "mset",
    "set_",
    "setex",
    "setnx",
    "strlen",
]


def _name(request: Request) -> str:
    return request[0].decode(errors="replace").upper()


def get(request: Request, client: Client) -> Call:
    """GET key."""
    optional = client.encoding.optional
    return Call(lambda results: optional(value_of(results[0])), (Get(request[1]),))


def mget(request: Request, client: Client) -> Call:
    """MGET key..."""
    optional, limits = client.encoding.optional, client.server.limits

    def answer(results: Sequence[Result]) -> bytes:
        values = [value_of(result) for result in results]
        if sum(len(value) for value in values if value is not None) > limits.answer_bytes:
            raise too_long(limits)
        return array([optional(value) for value in values])

    return Call(answer, tuple(map(Get, request[1:])))


def strlen(request: Request, _: Client) -> Call:
    """STRLEN key."""
    return Call(
        lambda results: integer(len(value_of(results[0]) or b"")),
        (Get(request[1]),),
    )


@attrs.define
class _SetOptions:
    """What stands behind the value of a SET."""

    ttl_ms: int | None = None
    keep_ttl: bool = False
    must_exist: bool | None = None
    """Only where the key is there, or is not; None: either way."""
    get: bool = False
    over: bool = False
    """The time to live is over already."""


UNITS: Final = {b"EX": (1000, False), b"PX": (1, False), b"EXAT": (1000, True), b"PXAT": (1, True)}
"""Options of times: the unit in milliseconds, and whether it is a time of day."""


def set_(request: Request, client: Client) -> Call:
    """SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]."""
    options = _set_options(request, client)
    key, value = request[1], request[2]
    write: SimpleOperation = Put(key, value, options.ttl_ms, options.keep_ttl)
    if options.over:
        write = Delete(key)
    if options.must_exist is None and not options.get:
        return Call(_ok, (write,))
    client.require_atomic("SET with NX, XX or GET")
    return _conditional_set(key, write, options, client)


def _set_options(request: Request, client: Client) -> _SetOptions:
    options = _SetOptions()
    words = iter(request[3:])
    time: tuple[bytes, bytes] | None = None
    for word in words:
        name = word.upper()
        if name in UNITS and (time is None or time[0] == name) and not options.keep_ttl:
            argument = next(words, None)
            if argument is None:
                raise CommandError(SYNTAX_ERROR)
            time = name, argument
        elif name in (b"NX", b"XX") and options.must_exist in (None, name == b"XX"):
            options.must_exist = name == b"XX"
        elif name == b"KEEPTTL" and time is None:
            options.keep_ttl = True
        elif name == b"GET":
            options.get = True
        else:
            raise CommandError(SYNTAX_ERROR)
    if time is not None:
        unit, absolute = UNITS[time[0]]
        options.ttl_ms = _time_to_live(time[1], unit, absolute, "set", client)
        options.over = options.ttl_ms < 1
    return options


def _time_to_live(text: bytes, unit: int, absolute: bool, name: str, client: Client) -> int:
    """Return the milliseconds that a positive time means; below 1 for a time of day gone by."""
    amount = to_integer(text)
    now = client.server.wall_ms()
    milliseconds = amount * unit
    if amount <= 0 or milliseconds + (0 if absolute else now) > INT64_MAX:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    return min(milliseconds - now if absolute else milliseconds, client.server.longest_ms)


def _ok(results: Sequence[Result]) -> bytes:
    for result in parts(results):
        expect(result, Changed)
    return OK


def _conditional_set(
    key: bytes, write: SimpleOperation, options: _SetOptions, client: Client
) -> Call:
    conditions: tuple[Condition, ...] = ()
    if options.must_exist is not None:
        conditions = (Condition(key, exists=options.must_exist),)
    before = (Get(key),) if options.get else ()
    encoding = client.encoding

    def answer(results: Sequence[Result]) -> bytes:
        committed = expect(results[0], Committed)
        if committed.succeeded:
            expect(committed.results[-1], Changed)
        if options.get:
            return encoding.optional(value_of(committed.results[0]))
        return OK if committed.succeeded else encoding.null

    return Call(answer, (Transaction(conditions, (*before, write), before),))


def setnx(request: Request, client: Client) -> Call:
    """SETNX key value."""
    client.require_atomic(_name(request))
    key, value = request[1:]

    def answer(results: Sequence[Result]) -> bytes:
        committed = expect(results[0], Committed)
        if committed.succeeded:
            expect(committed.results[0], Changed)
        return integer(committed.succeeded)

    return Call(answer, (Transaction((Condition(key, exists=False),), (Put(key, value),)),))


def setex(request: Request, client: Client) -> Call:
    """SETEX key seconds value, PSETEX key milliseconds value."""
    name = request[0].lower().decode()
    unit = 1 if name == "psetex" else 1000
    milliseconds = _time_to_live(request[2], unit, False, name, client)
    return Call(_ok, (Put(request[1], request[3], milliseconds),))


def getset(request: Request, client: Client) -> Call:
    """GETSET key value."""
    client.require_atomic(_name(request))
    key, value = request[1:]
    return _conditional_set(key, Put(key, value), _SetOptions(get=True), client)


def getdel(request: Request, client: Client) -> Call:
    """GETDEL key."""
    client.require_atomic(_name(request))
    key = request[1]
    return _conditional_set(key, Delete(key), _SetOptions(get=True), client)


def mset(request: Request, client: Client) -> Call:
    """MSET key value [key value...]."""
    if len(request) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'mset' command")
    puts = map(Put, request[1::2], request[2::2])
    return Call(_ok, together(client, *puts))


def append(request: Request, client: Client) -> Call:
    """APPEND key value."""
    client.require_atomic(_name(request))
    return Call(_number, (Append(request[1], request[2]),))


def _number(results: Sequence[Result]) -> bytes:
    return integer(expect(results[0], Changed).number)


def increment(request: Request, client: Client) -> Call:
    """INCR key, DECR key, INCRBY key by, DECRBY key by."""
    client.require_atomic(_name(request))
    by = to_integer(request[2]) if len(request) > 2 else 1  # noqa: PLR2004 - the shape
    if request[0][:1] in b"Dd":
        by = -by
        if by > INT64_MAX:
            raise CommandError("ERR decrement would overflow")
    return Call(_number, (Increment(request[1], by),))
