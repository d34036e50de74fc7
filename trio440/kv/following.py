"""How the changes of one replica are followed, by whatever way its query actor is asked."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias, final

import trio

from trio440.core.host import parse_address
from trio440.errors import HistoryCompacted, InvalidParameter, OperationRefused
from trio440.kv.operations import Change
from trio440.kv.service import Follow, Followed

__all__ = ["FOLLOW_MS", "Ask", "Begin", "follow_replica"]

FOLLOW_MS: Final = 20_000
"""A question for changes is answered after so long where there are none."""
NO_POSITION: Final = "the position of a change of this namespace"
MOST_DIGITS: Final = 18
"""Of a number that is an int64 for sure."""

Ask: TypeAlias = Callable[[str, Follow], Awaitable[Followed]]
"""Asks the query actor that answers clients at an address."""
Begin: TypeAlias = Callable[[Follow], Awaitable[tuple[str, Followed]]]
"""Asks any query actor, and returns its address, too."""


@asynccontextmanager
async def follow_replica(
    ask: Ask, begin: Begin, prefix: bytes, after: bytes | None
) -> AsyncIterator[AsyncIterator[Change]]:
    """Hear of the changes of one replica, as :meth:`Namespace.watch` says.

    Its positions are those of one life of the replica, and name the address of its query actor.

    Args:
        ask: asks for changes; what it raises comes from entering, or from the iterator.
        begin: asks for the number of now, where there is no ``after``.
        prefix: of the keys.
        after: the position of a change, or None.

    Raises:
        HistoryCompacted: the replica has forgotten changes, or has begun anew.
        OperationRefused: as many wait there as may.
        InvalidParameter: ``after`` is no position of this engine.
    """
    if after is None:
        address, first = await begin(Follow(prefix, "", 0, 0))
        _check_taken(first)
        life, number = first.life, first.number
    else:
        address, life, number = _read_position(after)
        _check(await _ask(ask, address, Follow(prefix, life, number, 0)), life, number)
    yield _Changes(ask, address, prefix, life, number)


@final
class _Changes(AsyncIterator[Change]):
    """The changes behind one number of one replica."""

    def __init__(self, ask: Ask, address: str, prefix: bytes, life: str, number: int) -> None:
        self._ask = ask
        self._address = address
        self._prefix = prefix
        self._life = life
        self._number = number
        self._changes: deque[Change] = deque()

    async def __anext__(self) -> Change:
        if self._changes:
            await trio.lowlevel.checkpoint()
        while not self._changes:
            request = Follow(self._prefix, self._life, self._number, FOLLOW_MS)
            answer = await _ask(self._ask, self._address, request)
            _check(answer, self._life, self._number)
            for key, value, version, number in answer.changes:
                position = f"{self._address} {self._life} {number}".encode()
                self._changes.append(Change(key, value, version, position))
            self._number = answer.number
        return self._changes.popleft()


async def _ask(ask: Ask, address: str, request: Follow) -> Followed:
    answer = await ask(address, request)
    _check_taken(answer)
    return answer


def _check_taken(answer: Followed) -> None:
    if answer.is_refused:
        raise OperationRefused("as many watches wait at this replica as may")


def _check(answer: Followed, life: str, number: int) -> None:
    """Refuse an answer that leaves changes out.

    Raises:
        HistoryCompacted: it does.
    """
    if answer.life != life or number < answer.forgotten:
        raise HistoryCompacted(number, answer.forgotten)


def _read_position(position: bytes) -> tuple[str, str, int]:
    with suppress(ValueError, InvalidParameter):
        address, life, number = position.decode().split(" ")
        parse_address(address)
        if life and number.isdigit() and len(number) <= MOST_DIGITS:
            return address, life, int(number)
    raise InvalidParameter("after", position[:200], NO_POSITION)
