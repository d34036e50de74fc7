"""Which records ride on the next message, and how often each does. Pure.

SWIM, section 4.1: those sent least go first, and after lambda log n times a record is dropped; that
reaches everybody with high probability. One record for each address is kept, the last one, so
there are never more than members.
"""

import math

from trio440.actors.cluster.messages import Record, record_size

__all__ = ["Dissemination", "retransmission_limit"]


def retransmission_limit(factor: int, live: int) -> int:
    """Return how often a record is sent among so many live members: lambda ln(n + 1)."""
    return math.ceil(factor * math.log(live + 1))


class Dissemination:
    """Records in tiers: those of tier i have been sent i times."""

    def __init__(self) -> None:
        self._tiers: list[dict[str, Record]] = [{}]
        self._tier_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tier_of)

    def __contains__(self, address: str) -> bool:
        return address in self._tier_of

    def put(self, record: Record) -> None:
        """Tell this record as a new one, in place of any other of its address."""
        address = record.node.address
        self.drop(address)
        self._tiers[0][address] = record
        self._tier_of[address] = 0

    def drop(self, address: str) -> None:
        """Tell nothing more of an address."""
        tier = self._tier_of.pop(address, None)
        if tier is not None:
            del self._tiers[tier][address]

    def drop_all_but(self, address: str) -> None:
        """Tell nothing more of any other address."""
        for other in list(self._tier_of):
            if other != address:
                self.drop(other)

    def take(self, room: int, limit: int, without: str = "") -> list[Record]:
        """Choose records of up to ``room`` bytes together, and count them as sent once more.

        Args:
            room: bytes; a record that does not fit waits for a message with more room.
            limit: a record that has been sent so often is dropped.
            without: an address that the message speaks of anyway.
        """
        taken: list[Record] = []
        for tier in self._tiers:
            for address in reversed(tier):
                if address == without:
                    continue
                size = record_size(tier[address])
                if size > room:
                    break
                room -= size
                taken.append(tier[address])
            else:
                continue
            break
        for record in taken:
            self.count(record.node.address, limit)
        return taken

    def count(self, address: str, limit: int) -> None:
        """Count the record of an address, if there is one, as sent once more."""
        if address not in self._tier_of:
            return
        sent = self._tier_of[address] + 1
        record = self._tiers[sent - 1][address]
        self.drop(address)
        if sent < limit:
            while len(self._tiers) <= sent:
                self._tiers.append({})
            self._tiers[sent][address] = record
            self._tier_of[address] = sent
