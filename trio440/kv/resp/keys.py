"""The commands of keys, whatever they hold, as operations. Pure."""

from collections.abc import Sequence
from typing import Final

from trio440.kv.operations import (
    Changed,
    Count,
    Counted,
    Delete,
    Expire,
    Get,
    List,
    Page,
    Result,
)
from trio440.kv.resp.calls import (
    SYNTAX_ERROR,
    Call,
    Client,
    CommandError,
    check_pattern,
    entry_of,
    expect,
    parts,
    shown,
    to_integer,
    together,
    too_long,
)
from trio440.kv.resp.globs import MATCH_STEPS, literal_prefix, match_steps, matcher
from trio440.kv.resp.parser import INT64_MAX, Request
from trio440.kv.resp.replies import array, bulk, integer

__all__ = [
    "dbsize",
    "delete",
    "exists",
    "expire",
    "keys",
    "persist",
    "pttl",
    "scan",
    "ttl",
    "type_of",
]

MAX_PAGE: Final = 1000
"""The most entries that one SCAN asks for."""


def exists(request: Request, _: Client) -> Call:
    """EXISTS key..., a key counts as often as it is named."""
    return Call(
        lambda results: integer(sum(entry_of(result) is not None for result in results)),
        tuple(map(Get, request[1:])),
    )


def type_of(request: Request, _: Client) -> Call:
    """TYPE key."""
    return Call(
        lambda results: b"+none\r\n" if entry_of(results[0]) is None else b"+string\r\n",
        (Get(request[1]),),
    )


def pttl(request: Request, _: Client) -> Call:
    """PTTL key: milliseconds, -1 for ever, -2 not there."""

    def answer(results: Sequence[Result]) -> bytes:
        entry = entry_of(results[0])
        if entry is None:
            return integer(-2)
        return integer(-1 if entry.ttl_ms is None else entry.ttl_ms)

    return Call(answer, (Get(request[1]),))


def ttl(request: Request, _: Client) -> Call:
    """TTL key: seconds, rounded."""

    def answer(results: Sequence[Result]) -> bytes:
        entry = entry_of(results[0])
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
        steps = sum(match_steps(request[1], entry.key) for entry in page.entries)
        if page.more or steps > MATCH_STEPS:
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
    pattern, count, strings = _scan_options(request)
    check_pattern(pattern, client.server.limits)

    def answer(results: Sequence[Result]) -> bytes:
        found, last = _fitting(expect(results[0], Page), pattern)
        following = 0 if last is None else client.server.cursors.keep(last)
        return array([bulk(b"%d" % following), array(found if strings else [])])

    return Call(answer, (List(literal_prefix(pattern), after, min(count, MAX_PAGE)),))


def _scan_options(request: Request) -> tuple[bytes, int, bool]:
    """Return the pattern, the count, and whether strings are asked for."""
    pattern, count, strings = b"*", 10, True
    options = iter(request[2:])
    for option in options:
        argument = next(options, None)
        if argument is None:
            raise CommandError(SYNTAX_ERROR)
        match option.upper():
            case b"COUNT":
                count = to_integer(argument)
                if count < 1:
                    raise CommandError(SYNTAX_ERROR)
            case b"MATCH":
                pattern = argument
            case b"TYPE":
                strings = argument.lower() == b"string"
            case _:
                raise CommandError(SYNTAX_ERROR)
    return pattern, count, strings


def _fitting(page: Page, pattern: bytes) -> tuple[list[bytes], bytes | None]:
    """Return the keys that match, encoded, of as many as may be looked at at once.

    And the last that was looked at; None where there are none behind it.
    """
    matches = matcher(pattern)
    found: list[bytes] = []
    steps, last = 0, None
    for entry in page.entries:
        steps += match_steps(pattern, entry.key)
        if last is not None and steps > MATCH_STEPS:
            return found, last
        last = entry.key
        if matches(last):
            found.append(bulk(last))
    return found, last if page.more else None


def delete(request: Request, client: Client) -> Call:
    """DEL key..., UNLINK key...: how many were there."""
    deletes = together(client, *map(Delete, request[1:]))
    return Call(
        lambda results: integer(sum(expect(result, Changed).existed for result in parts(results))),
        deletes,
    )


def expire(request: Request, client: Client) -> Call:
    """EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT key time: whether the key was there."""
    name = request[0].lower().decode()
    unit = 1 if name.startswith("p") else 1000
    amount = to_integer(request[2])
    if len(request) > 3:  # noqa: PLR2004 - the shape
        raise CommandError(f"ERR Unsupported option {shown(request[3])}")
    now = client.server.wall_ms()
    milliseconds = amount * unit
    moment = milliseconds + (0 if name.endswith("at") else now)
    if not -INT64_MAX - 1 <= milliseconds <= INT64_MAX or moment > INT64_MAX:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    return Call(
        lambda results: integer(expect(results[0], Changed).existed),
        (Expire(request[1], max(0, min(moment - now, client.server.longest_ms))),),
    )


def persist(request: Request, client: Client) -> Call:
    """PERSIST key: whether it had a time to live."""
    key = request[1]

    def answer(results: Sequence[Result]) -> bytes:
        found, changed = parts(results)
        entry = entry_of(found)
        expect(changed, Changed)
        return integer(entry is not None and entry.ttl_ms is not None)

    return Call(answer, together(client, Get(key), Expire(key, None)))
