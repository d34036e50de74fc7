"""A tree of digests over hash buckets of keys: two replicas find where they differ. Pure.

Each key belongs to one of 32 768 leaves by its hash. The digest of a leaf is the sum of the hashes
of its writes, and that of an inner node the sum of its 32 children, so a change costs four
additions, and replicas that hold the same writes have the same digests, in whatever order they
came. A digest is a number of 62 bits; that of nothing is 0.

Nodes are numbered as in a heap: the root is 0, the children of ``n`` are ``32 n + 1`` to
``32 n + 32``. Merkle, *A Digital Signature Based on a Conventional Encryption Function* (1987);
with sums in the place of hashes of hashes, since it is chance that is guarded against, and not an
attack.
"""

import struct
from array import array
from hashlib import blake2b
from typing import Final, final
from zlib import crc32

__all__ = [
    "FAN_OUT",
    "FIRST_LEAF",
    "LEAVES",
    "NODES",
    "ROOT",
    "DigestTree",
    "children",
    "hash_write",
    "leaf",
    "leaves_below",
]

FAN_OUT: Final = 32
ROOT: Final = 0
LEAVES: Final = FAN_OUT**3
FIRST_LEAF: Final = 1 + FAN_OUT + FAN_OUT**2
NODES: Final = FIRST_LEAF + LEAVES
MASK: Final = (1 << 62) - 1

_HEAD: Final = struct.Struct(">QH")


def leaf(key: bytes) -> int:
    """Return the node of a key's bucket."""
    return FIRST_LEAF + crc32(key) % LEAVES


def children(node: int) -> range:
    """Return the children of an inner node."""
    return range(node * FAN_OUT + 1, node * FAN_OUT + FAN_OUT + 1)


def leaves_below(node: int) -> range:
    """Return the leaves of a node, which is one itself or not."""
    first, last = node, node
    while first < FIRST_LEAF:
        first, last = first * FAN_OUT + 1, last * FAN_OUT + FAN_OUT
    return range(first, last + 1)


def hash_write(key: bytes, stamp: int, writer: bytes) -> int:
    """Return the hash of one write, the same on every machine.

    Args:
        key: of up to any length.
        stamp: of the write.
        writer: the reference of the actor that took it, in bytes; up to 65535.
    """
    data = _HEAD.pack(stamp, len(writer)) + writer + key
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") & MASK


@final
class DigestTree:
    """The digests of one replica, and how many writes are below each node."""

    __slots__ = ("_counts", "_digests")

    def __init__(self) -> None:
        """Start with no writes; takes 400 KB."""
        self._digests = array("Q", bytes(8 * NODES))
        self._counts = array("I", bytes(4 * NODES))

    def digest(self, node: int) -> int:
        """Return the digest of a node."""
        return self._digests[node]

    def count(self, node: int) -> int:
        """Return how many writes are below a node."""
        return self._counts[node]

    def of_children(self, node: int) -> tuple[int, ...]:
        """Return the digests of the children of an inner node."""
        below = children(node)
        return tuple(self._digests[below.start : below.stop])

    def add(self, node: int, change: int, count: int) -> None:
        """Change a leaf.

        Args:
            node: the leaf.
            change: the hash of a write that came, minus that of one that went.
            count: by how much the number of writes changes, -1 to 1.
        """
        digests, counts = self._digests, self._counts
        while True:
            digests[node] = (digests[node] + change) & MASK
            if count:
                counts[node] += count
            if not node:
                return
            node = (node - 1) // FAN_OUT
