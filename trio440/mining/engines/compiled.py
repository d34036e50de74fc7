"""Nonces laid out for the kernel. Importing this module imports numba.

The message of a nonce is cut in three: whole blocks of the prefix, hashed once and remembered;
the leading digits, equal for all nonces of a group; and the last digits, which vary.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from trio440.mining.engines.kernel import (
    BLOCK,
    LANES,
    ZERO,
    Bytes,
    Digits,
    Span,
    Words,
    absorb,
    search_groups,
)
from trio440.mining.hashing import Found
from trio440.mining.ranges import NonceRange

__all__ = ["CompiledSearch"]

_INITIAL_STATE: Final = (
    *(0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A),
    *(0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19),
)
_VARYING_DIGITS: Final = 3
_LENGTH_BYTES: Final = 8
_WORD: Final = 4
_BLOCK_WORDS: Final = BLOCK // _WORD


class CompiledSearch:
    """Searches ranges with the kernel, on one thread at a time."""

    def __init__(self) -> None:
        self._states: Words = np.empty((3, 8, LANES), np.uint32)
        self._prefix = b""
        self._start: Words = np.array(_INITIAL_STATE, np.uint32)
        self._varying: dict[tuple[int, int], Words] = {}

    def search(self, prefix: bytes, nonces: NonceRange) -> Found:
        """Return the least hash of ``prefix`` and a nonce's digits; holds no GIL meanwhile."""
        if prefix != self._prefix:
            self._start = _absorb_whole_blocks(prefix)
            self._prefix = prefix
        return min(self._search_equally_long(part) for part in _by_digits(nonces))

    def _search_equally_long(self, nonces: NonceRange) -> Found:
        """Search nonces with the same number of digits."""
        digits = str(nonces.lower)
        count = min(len(digits), _VARYING_DIGITS)
        lanes = 10**count
        first_group, first_lane = divmod(nonces.lower, lanes)
        last_group, last_lane = divmod(nonces.upper, lanes)
        leading = self._prefix[len(self._prefix) // BLOCK * BLOCK :] + digits[:-count].encode()
        text = _padded(leading + bytes(count), len(self._prefix) + len(digits))
        found, group, lane = search_groups(
            self._start,
            text,
            self._digits(len(leading), count),
            Span(last_group - first_group + 1, lanes, first_lane, last_lane),
            self._states,
        )
        return Found(int(found), (first_group + int(group)) * lanes + int(lane))

    def _digits(self, first: int, count: int) -> Digits:
        """Describe ``count`` varying digits that begin at ``first``."""
        last = first + count - 1
        masks: Words = np.zeros((2, 2, _BLOCK_WORDS), np.uint32)
        masks[first // BLOCK, 0, first // _WORD % _BLOCK_WORDS] = 0xFFFFFFFF
        if last // _WORD > first // _WORD:
            masks[last // BLOCK, 1, last // _WORD % _BLOCK_WORDS] = 0xFFFFFFFF
        key = (first % _WORD, count)
        if key not in self._varying:
            self._varying[key] = _varying_words(*key)
        return Digits(first, last, masks, self._varying[key])


def _by_digits(nonces: NonceRange) -> Iterator[NonceRange]:
    """Cut a range into ranges of nonces with equally many digits."""
    lower = nonces.lower
    while lower <= nonces.upper:
        upper = min(nonces.upper, 10 ** len(str(lower)) - 1)
        yield NonceRange(lower, upper)
        lower = upper + 1


def _padded(text: bytes, length: int) -> Bytes:
    """Fill up the end of a message of ``length`` bytes as SHA-256 wants it."""
    text += b"\x80"
    text += bytes(-(len(text) + _LENGTH_BYTES) % BLOCK)
    text += (8 * length).to_bytes(_LENGTH_BYTES, "big")
    return np.frombuffer(bytearray(text), np.uint8)


def _absorb_whole_blocks(prefix: bytes) -> Words:
    """Return SHA-256's state behind the whole blocks of a prefix."""
    state: Words = np.array(_INITIAL_STATE, np.uint32)
    blocks = np.frombuffer(prefix, ">u4", len(prefix) // BLOCK * _BLOCK_WORDS)
    for block in blocks.astype(np.uint32).reshape(-1, _BLOCK_WORDS):
        absorb(state, block)
    return state


def _varying_words(offset: int, count: int) -> Words:
    """Return what ``count`` digits add to two words, lane by lane, from a byte offset on."""
    numbers = np.arange(LANES, dtype=np.uint32)
    words: Words = np.zeros((2, LANES), np.uint32)
    for digit in range(count):
        place = offset + digit
        character = numbers // np.uint32(10 ** (count - 1 - digit)) % np.uint32(10) + np.uint32(
            ZERO
        )
        words[place // _WORD] |= character << np.uint32(24 - 8 * (place % _WORD))
    return words
