"""The store behind the line protocol: keys with lists of values, and two limits.

Memory is counted as the bytes of keys and values plus :data:`OVERHEAD_BYTES` for each of them,
so that empty ones are not free. A request that would pass a limit changes nothing.
"""

from typing import Final, assert_never
from weakref import WeakValueDictionary

import attrs

from trio440.errors import InvalidParameter
from trio440.linekv.protocol import Delete, Get, Put, Request, Update

__all__ = ["OVERHEAD_BYTES", "Answer", "Refused", "Store", "Values"]

OVERHEAD_BYTES: Final = 64
"""What a key or a value costs beside its bytes, about: an object and its place in a container."""


@attrs.frozen
class Values:
    """The answer to a ``Get``: the key's values as they were at that moment.

    As long as somebody has it and the key does not change, the next ``Get`` gives the same one.
    """

    key: bytes
    values: tuple[bytes, ...]


@attrs.frozen
class Refused:
    """The request was not carried out."""

    problem: str


Answer = Values | Refused | None
"""What the store says to a request; None when it was done and there is nothing to say."""


class Store:
    """Keys with lists of values. One task owns it."""

    def __init__(self, *, max_keys: int, max_bytes: int) -> None:
        """Make an empty store.

        Args:
            max_keys: the most keys, at least 1.
            max_bytes: the most memory, as counted by this module, at least 1.

        Raises:
            InvalidParameter: a limit is below 1.
        """
        for name, limit in (("max_keys", max_keys), ("max_bytes", max_bytes)):
            if limit < 1:
                raise InvalidParameter(name, limit, "at least 1")
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._values: dict[bytes, list[bytes]] = {}
        self._answers: WeakValueDictionary[bytes, Values] = WeakValueDictionary()
        self._bytes = 0

    @property
    def key_count(self) -> int:
        """How many keys there are."""
        return len(self._values)

    @property
    def byte_count(self) -> int:
        """How much memory is counted."""
        return self._bytes

    def contents(self) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Return every key with its values as they are now."""
        return [(key, tuple(values)) for key, values in self._values.items()]

    def apply(self, request: Request) -> Answer:
        """Carry out one request.

        A key without values is gone: ``Delete`` removes it, and nothing else takes the last
        value without putting another.
        """
        match request:
            case Get(key):
                answer = self._answers.get(key)
                if answer is None:
                    answer = self._answers[key] = Values(key, tuple(self._values.get(key, ())))
                return answer
            case Put(key, value):
                return self._append(key, value, None)
            case Update(key, old, new):
                return self._append(key, new, old)
            case Delete(key):
                self._answers.pop(key, None)
                values = self._values.pop(key, None)
                if values is not None:
                    self._bytes -= _cost(key) + sum(map(_cost, values))
                return None
            case _:
                assert_never(request)

    def _append(self, key: bytes, value: bytes, replaced: bytes | None) -> Refused | None:
        values = self._values.get(key)
        if values is None:
            if len(self._values) >= self._max_keys:
                return Refused(f"the store is full, its limit is {self._max_keys} keys")
            place, growth = None, _cost(key) + _cost(value)
        else:
            place = None if replaced is None or replaced not in values else values.index(replaced)
            growth = _cost(value) - (0 if place is None else _cost(values[place]))
        if self._bytes + growth > self._max_bytes:
            return Refused(f"the store is full, its limit is {self._max_bytes} bytes")
        self._answers.pop(key, None)
        values = self._values.setdefault(key, [])
        if place is not None:
            del values[place]
        values.append(value)
        self._bytes += growth
        return None


def _cost(data: bytes) -> int:
    return len(data) + OVERHEAD_BYTES
