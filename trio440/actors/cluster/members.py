"""The table of members and the rule by which a record replaces another. Pure.

A record holds if its rank is higher (:attr:`Record.rank`); so in whatever order, and however
often, members hear the same records, they end with the same table.
"""

import enum
from collections.abc import Iterator

import attrs

from trio440.actors.cluster.messages import Record, State

__all__ = ["GONE", "LIVE", "Change", "Members", "Verdict"]

LIVE = frozenset({State.ALIVE, State.SUSPECT})
GONE = frozenset({State.LOST, State.LEFT})


class Verdict(enum.Enum):
    """What became of a record."""

    NEWS = enum.auto()
    """It holds."""
    KNOWN = enum.auto()
    """It says what holds already."""
    STALE = enum.auto()
    """Something of higher rank is known."""
    IGNORED = enum.auto()
    """It speaks of the end of a member that was never known."""
    REFUSED = enum.auto()
    """The table is full of live members."""


@attrs.frozen
class Change:
    """What a record did to the table."""

    verdict: Verdict
    before: Record | None = None
    """What held of its address until then."""
    evicted: str | None = None
    """The address that made room."""


class Members:
    """What is known of each address but one's own."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: dict[str, Record] = {}
        self._gone_since: dict[str, int] = {}
        """When each lost member, or one that left, went; in that order."""

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def get(self, address: str) -> Record | None:
        """Return what holds of an address."""
        return self._records.get(address)

    def is_live(self, address: str) -> bool:
        """Whether an address belongs to a live member."""
        record = self._records.get(address)
        return record is not None and record.state in LIVE

    def lost(self) -> list[str]:
        """Return the addresses of the lost members, the earliest first."""
        return [one for one in self._gone_since if self._records[one].state is State.LOST]

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another member, not even an evicted one's."""
        return len(self._records) >= self._limit and not self._gone_since

    def merge(self, record: Record, now: int) -> Change:
        """Take a record in if it holds, and say what it changed."""
        address = record.node.address
        before = self._records.get(address)
        if before is None:
            return self._meet(record)
        if record.rank <= before.rank:
            same = record.rank == before.rank
            return Change(Verdict.KNOWN if same else Verdict.STALE, before)
        self._records[address] = record
        if record.state in LIVE:
            self._gone_since.pop(address, None)
        elif address not in self._gone_since:
            self._gone_since[address] = now
        return Change(Verdict.NEWS, before)

    def forget(self, since: int) -> list[str]:
        """Drop those that went at ``since`` or earlier, and return their addresses."""
        old = [address for address, at in self._gone_since.items() if at <= since]
        for address in old:
            self._drop(address)
        return old

    def _meet(self, record: Record) -> Change:
        # Were the ends of strangers kept, members would hand them to each other for ever.
        if record.state in GONE:
            return Change(Verdict.IGNORED)
        evicted = None
        if len(self._records) >= self._limit:
            evicted = next(iter(self._gone_since), None)
            if evicted is None:
                return Change(Verdict.REFUSED)
            self._drop(evicted)
        self._records[record.node.address] = record
        return Change(Verdict.NEWS, evicted=evicted)

    def _drop(self, address: str) -> None:
        del self._records[address]
        del self._gone_since[address]
