"""The hash of the miner, the plain way to the least one, and what a hash engine is. Pure.

The hash of a text and a nonce is the first 8 bytes, big-endian, of the SHA-256 of the text's
UTF-8, one blank, and the nonce in decimal digits. A job asks for the least hash over a range of
nonces; of several nonces with that hash, the smallest.
"""

import hashlib
from typing import NamedTuple, Protocol

from trio440.mining.ranges import NonceRange
from trio440.wire.gojson import to_valid_text

__all__ = ["Found", "HashEngine", "hash_of", "least_hash", "prefix_of"]


class Found(NamedTuple):
    """A hash and its nonce; the lesser of two is the better answer."""

    hash: int
    nonce: int


def prefix_of(text: str) -> bytes:
    """Return the bytes that come before the nonce's digits: UTF-8 and a blank."""
    return to_valid_text(text).encode() + b" "


def hash_of(text: str, nonce: int) -> int:
    """Return the hash of one nonce, an unsigned 64-bit number."""
    digest = hashlib.sha256(prefix_of(text) + b"%d" % nonce).digest()
    return int.from_bytes(digest[:8], "big")


def least_hash(text: str, lower: int, upper: int) -> Found:
    """Return the least hash over ``lower`` to ``upper``, both included, one nonce at a time.

    This is the reference that engines are checked against: a few hundred thousand nonces a
    second in one thread, without a checkpoint.

    Raises:
        InvalidParameter: the range is empty or leaves 0 to 2⁶⁴-1.
    """
    nonces = NonceRange(lower, upper)
    return min(Found(hash_of(text, nonce), nonce) for nonce in range(lower, nonces.upper + 1))


class HashEngine(Protocol):
    """Something that searches ranges of nonces with all the cores it was given."""

    @property
    def name(self) -> str:
        """Which engine it is, e.g. ``"hashlib"``."""

    @property
    def lanes(self) -> int:
        """How many threads or processes work at once."""

    async def search(self, text: str, nonces: NonceRange) -> Found:
        """Return the least hash of ``text`` over ``nonces``; the event loop runs on meanwhile.

        Cancelled: no work goes on 100 ms later.

        Raises:
            trio.BusyResourceError: another search is under way.
        """
