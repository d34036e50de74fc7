"""The commands of keys and values, as operations. Pure.

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
    Count,
    Counted,
    Delete,
    Entry,
    Expire,
    Found,
    Get,
    Increment,
    List,
    Operation,
    Page,
    Put,
    Result,
    SimpleOperation,
    Transaction,
)
from trio440.kv.resp.calls import (
    SYNTAX_ERROR,
    WRONG_NUMBER,
    Call,
    Client,
    CommandError,
    check_pattern,
    expect,
    too_long,
)
from trio440.kv.resp.globs import literal_prefix, matcher
from trio440.kv.resp.parser import INT64_MAX, Request, parse_integer
from trio440.kv.resp.replies import OK, array, bulk, integer

__all__ = [
    "append",
    "dbsize",
    "delete",
    "exists",
    "expire",
    "get",
    "getdel",
    "getset",
    "increment",
    "keys",
    "mget",
    "mset",
    "persist",
    "pttl",
    "scan",
    "set_",
    "setex",
    "setnx",
    "strlen",
    "ttl",
    "type_of",
]

MAX_PAGE: Final = 1000
"""The most entries that one SCAN asks for."""
TOGETHER: Final = 100
"""A command of more keys is no transaction: engines bound these."""


def _to_integer(text: bytes) -> int:
    """Return an argument that is to be an int64.

    Raises:
        CommandError: it is none.
    """
    value = parse_integer(text)
    if value is None:
        raise CommandError(WRONG_NUMBER)
    return value


def _name(request: Request) -> str:
    return request[0].decode(errors="replace").upper()


def _together(client: Client, *operations: SimpleOperation) -> tuple[Operation, ...]:
    """Return operations as one, where the engine can and they are not too many for it."""
    if client.server.atomic and len(operations) <= TOGETHER:
        return (Transaction(then=operations),)
    return operations


def _parts(results: Sequence[Result]) -> Sequence[Result]:
    """Return the results of what :func:`_together` made one of, or left apart."""
    if len(results) == 1 and isinstance(results[0], Committed):
        return results[0].results
    return results


def _entry_of(result: Result) -> Entry | None:
    """Return what a Get has found."""
    return expect(result, Found).entry


def _value_of(result: Result) -> bytes | None:
    """Return the value that a Get has found."""
    entry = expect(result, Found).entry
    return None if entry is None else entry.value


# Reading


def get(request: Request, client: Client) -> Call:
    """GET key."""
    optional = client.encoding.optional
    return Call(lambda results: optional(_value_of(results[0])), (Get(request[1]),))


def mget(request: Request, client: Client) -> Call:
    """MGET key..."""
    optional, limits = client.encoding.optional, client.server.limits

    def answer(results: Sequence[Result]) -> bytes:
        values = [_value_of(result) for result in results]
        if sum(len(value) for value in values if value is not None) > limits.answer_bytes:
            raise too_long(limits)
        return array([optional(value) for value in values])

    return Call(answer, tuple(map(Get, request[1:])))


def exists(request: Request, _: Client) -> Call:
    """EXISTS key..., a key counts as often as it is named."""
    return Call(
        lambda results: integer(sum(_entry_of(result) is not None for result in results)),
        tuple(map(Get, request[1:])),
    )


def strlen(request: Request, _: Client) -> Call:
    """STRLEN key."""
    return Call(
        lambda results: integer(len(_value_of(results[0]) or b"")),
        (Get(request[1]),),
    )


def type_of(request: Request, _: Client) -> Call:
    """TYPE key."""
    return Call(
        lambda results: b"+none\r\n" if _entry_of(results[0]) is None else b"+string\r\n",
        (Get(request[1]),),
    )


def pttl(request: Request, _: Client) -> Call:
    """PTTL key: milliseconds, -1 for ever, -2 not there."""

    def answer(results: Sequence[Result]) -> bytes:
        entry = _entry_of(results[0])
        if entry is None:
            return integer(-2)
        return integer(-1 if entry.ttl_ms is None else entry.ttl_ms)

    return Call(answer, (Get(request[1]),))


def ttl(request: Request, _: Client) -> Call:
    """TTL key: seconds, rounded."""

    def answer(results: Sequence[Result]) -> bytes:
        entry = _entry_of(results[0])
        if entry is None:
            return integer(-2)
        return integer(-1 if entry.ttl_ms is None else (entry.ttl_ms + 500) // 1000)

    return Call(answer, (Get(request[1]),))


def dbsize(_: Request, __: Client) -> Call:
    """DBSIZE."""
    return Call(lambda results: integer(expect(results[0], Counted).number), (Count(),))


def keys(request: Request, client: Client) -> Call:
    """KEYS pattern, of as many as the engine lists at once: within a transaction."""
    limits = client.server.limits
    check_pattern(request[1], limits)
    matches = matcher(request[1])

    def answer(results: Sequence[Result]) -> bytes:
        page = expect(results[0], Page)
        if page.more:
            raise CommandError("ERR too many keys for KEYS within a transaction, use SCAN")
        found = [bulk(entry.key) for entry in page.entries if matches(entry.key)]
        if sum(map(len, found)) > limits.answer_bytes:
            raise too_long(limits)
        return array(found)

    return Call(answer, (List(literal_prefix(request[1])),))


def scan(request: Request, client: Client) -> Call:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]: in the order of the keys."""
    cursor = request[1]
    if not cursor.isdigit() or len(cursor) > len(str(INT64_MAX)) + 1:
        raise CommandError("ERR invalid cursor")
    after = client.server.cursors.place(int(cursor))
    pattern, count, strings = b"*", 10, True
    options = iter(request[2:])
    for option in options:
        argument = next(options, None)
        if argument is None:
            raise CommandError(SYNTAX_ERROR)
        match option.upper():
            case b"COUNT":
                count = _to_integer(argument)
                if count < 1:
                    raise CommandError(SYNTAX_ERROR)
            case b"MATCH":
                pattern = argument
            case b"TYPE":
                strings = argument.lower() == b"string"
            case _:
                raise CommandError(SYNTAX_ERROR)
    check_pattern(pattern, client.server.limits)
    matches = matcher(pattern)

    def answer(results: Sequence[Result]) -> bytes:
        page = expect(results[0], Page)
        found = [bulk(entry.key) for entry in page.entries if strings and matches(entry.key)]
        following = 0
        if page.more and page.entries:
            following = client.server.cursors.keep(page.entries[-1].key)
        return array([bulk(b"%d" % following), array(found)])

    return Call(answer, (List(literal_prefix(pattern), after, min(count, MAX_PAGE)),))


# Writing


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
        if name in UNITS and time is None and not options.keep_ttl:
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
    amount = _to_integer(text)
    now = client.server.wall_ms()
    milliseconds = amount * unit
    if amount <= 0 or milliseconds + (0 if absolute else now) > INT64_MAX:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    return milliseconds - now if absolute else milliseconds


def _ok(results: Sequence[Result]) -> bytes:
    for result in _parts(results):
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
            return encoding.optional(_value_of(committed.results[0]))
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
    return Call(_ok, _together(client, *puts))


def delete(request: Request, client: Client) -> Call:
    """DEL key..., UNLINK key...: how many were there."""
    deletes = _together(client, *map(Delete, request[1:]))
    return Call(
        lambda results: integer(sum(expect(result, Changed).existed for result in _parts(results))),
        deletes,
    )


def append(request: Request, client: Client) -> Call:
    """APPEND key value."""
    client.require_atomic(_name(request))
    return Call(_number, (Append(request[1], request[2]),))


def _number(results: Sequence[Result]) -> bytes:
    return integer(expect(results[0], Changed).number)


def increment(request: Request, client: Client) -> Call:
    """INCR key, DECR key, INCRBY key by, DECRBY key by."""
    client.require_atomic(_name(request))
    by = _to_integer(request[2]) if len(request) > 2 else 1  # noqa: PLR2004 - the shape
    if request[0][:1] in b"Dd":
        by = -by
        if by > INT64_MAX:
            raise CommandError("ERR decrement would overflow")
    return Call(_number, (Increment(request[1], by),))


def expire(request: Request, client: Client) -> Call:
    """EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT key time: whether the key was there."""
    name = request[0].lower().decode()
    unit = 1 if name.startswith("p") else 1000
    amount = _to_integer(request[2])
    if len(request) > 3:  # noqa: PLR2004 - the shape
        option = request[3].decode(errors="replace")
        raise CommandError(f"ERR Unsupported option {option}")
    now = client.server.wall_ms()
    milliseconds = amount * unit
    moment = milliseconds + (0 if name.endswith("at") else now)
    if not -INT64_MAX <= milliseconds <= INT64_MAX or moment > INT64_MAX:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    return Call(
        lambda results: integer(expect(results[0], Changed).existed),
        (Expire(request[1], moment - now),),
    )


def persist(request: Request, client: Client) -> Call:
    """PERSIST key: whether it had a time to live."""
    key = request[1]

    def answer(results: Sequence[Result]) -> bytes:
        found, changed = _parts(results)
        entry = _entry_of(found)
        expect(changed, Changed)
        return integer(entry is not None and entry.ttl_ms is not None)

    return Call(answer, _together(client, Get(key), Expire(key, None)))
