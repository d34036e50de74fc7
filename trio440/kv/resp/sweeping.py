"""KEYS and FLUSHALL: commands that go through all keys, a page at a time."""

from typing import Final

import trio

from trio440.kv.operations import Changed, Delete, List, Page
from trio440.kv.resp.batch import Asking
from trio440.kv.resp.calls import SYNTAX_ERROR, CommandError, check_pattern, expect, too_long
from trio440.kv.resp.globs import MATCH_STEPS, literal_prefix, match_steps, matcher
from trio440.kv.resp.limits import Limits
from trio440.kv.resp.parser import Request
from trio440.kv.resp.replies import OK, array, bulk

__all__ = ["list_keys", "remove_all"]

PAGE: Final = 1000
"""The most entries that are asked for at once."""
DELETES: Final = 100
"""The most keys that are removed at once."""


async def _next_page(asking: Asking, prefix: bytes, before: Page | None, size: int) -> Page | None:
    """Return the page behind another, None behind the last; others have their turn between two."""
    after = None
    if before is not None:
        if not before.more or not before.entries:
            return None
        after = before.entries[-1].key
        await trio.lowlevel.checkpoint()
    (result,) = await asking.ask([List(prefix, after, size)])
    return expect(result, Page)


async def list_keys(asking: Asking, pattern: bytes, limits: Limits) -> bytes:
    """Answer KEYS; it is no moment's picture where there are more keys than a page has."""
    check_pattern(pattern, limits)
    matches = matcher(pattern)
    found: list[bytes] = []
    size = steps = 0
    page = None
    while (page := await _next_page(asking, literal_prefix(pattern), page, PAGE)) is not None:
        for entry in page.entries:
            steps += match_steps(pattern, entry.key)
            if steps > MATCH_STEPS:
                steps = 0
                await trio.lowlevel.checkpoint()
            if matches(entry.key):
                found.append(bulk(entry.key))
                size += len(found[-1])
        if size > limits.answer_bytes:
            raise too_long(limits)
    return array(found)


async def remove_all(asking: Asking, request: Request) -> bytes:
    """Answer FLUSHDB and FLUSHALL: every key that is there when they begin is removed."""
    if [word.upper() for word in request[1:]] not in ([], [b"ASYNC"], [b"SYNC"]):
        raise CommandError(SYNTAX_ERROR)
    page = None
    while (page := await _next_page(asking, b"", page, DELETES)) is not None:
        for changed in await asking.ask([Delete(entry.key) for entry in page.entries]):
            expect(changed, Changed)
    return OK
