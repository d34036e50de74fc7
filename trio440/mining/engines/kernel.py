"""SHA-256 of many nonces at once, compiled by numba.

Importing this module imports numba, which takes its time;
:mod:`trio440.mining.engines.numba_engine` does so on a thread, when it is asked to.

The nonces of a *group* differ in their last digits only (three, where there are so many), so of
the words that SHA-256 works on at most two differ from lane to lane. What the varying digits add
to these words stands in a table; all other words are the same for all lanes. A block that holds
no varying digit is hashed once for the group when it stands in front of them, and has its
message schedule made once when it stands behind.

One lane is straight-line code, and the compiler turns the loop over lanes into vector
instructions. Every step is cut to 32 bits by hand, for numba would widen it to 64.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "LANES", "Bytes", "Digits", "Span", "Words", "absorb", "search_groups"]

U32 = np.uint32
Word: TypeAlias = np.uint32
Words: TypeAlias = npt.NDArray[np.uint32]
Eight: TypeAlias = tuple[Word, Word, Word, Word, Word, Word, Word, Word]
Sixteen: TypeAlias = tuple[Word, ...]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Compiled = TypeVar("Compiled", bound=Callable[..., Any])

LANES: Final = 1008
"""The lanes of the largest group, 1000, rounded up to whole vectors of 16."""

BLOCK: Final = 64
"""Bytes of SHA-256's blocks."""

MAX_HASH: Final = np.uint64(2**64 - 1)
ZERO, NINE = ord("0"), ord("9")


class Digits(NamedTuple):
    """Where the digits that vary within a group stand, and what they add to the words."""

    first: int
    """The place in the text of the first of them; the leading digits end before it."""
    last: int
    """The place of the last of them."""
    masks: Words
    """2 blocks by 2 by 16 words: all ones where the first and the second varying word is."""
    varying: Words
    """2 by LANES words: what each lane's digits add to these two words."""


class Span(NamedTuple):
    """The groups to search, which follow one another and have equally many digits."""

    groups: int
    """How many, at least 1."""
    lanes: int
    """How many lanes of a group are nonces."""
    first_lane: int
    """The first lane that counts in the first group."""
    last_lane: int
    """The last lane that counts in the last group."""


_ROUND_CONSTANTS: Final = (
    "428a2f98 71374491 b5c0fbcf e9b5dba5 3956c25b 59f111f1 923f82a4 ab1c5ed5 "
    "d807aa98 12835b01 243185be 550c7dc3 72be5d74 80deb1fe 9bdc06a7 c19bf174 "
    "e49b69c1 efbe4786 0fc19dc6 240ca1cc 2de92c6f 4a7484aa 5cb0a9dc 76f988da "
    "983e5152 a831c66d b00327c8 bf597fc7 c6e00bf3 d5a79147 06ca6351 14292967 "
    "27b70a85 2e1b2138 4d2c6dfc 53380d13 650a7354 766a0abb 81c2c92e 92722c85 "
    "a2bfe8a1 a81a664b c24b8b70 c76c51a3 d192e819 d6990624 f40e3585 106aa070 "
    "19a4c116 1e376c08 2748774c 34b0bcb5 391c0cb3 4ed8aa4a 5b9cca4f 682e6ff3 "
    "748f82ee 78a5636f 84c87814 8cc70208 90befffa a4506ceb bef9a3f7 c67178f2"
)
_K: Final = tuple(U32(int(digits, 16)) for digits in _ROUND_CONSTANTS.split())
_K0, _K1, _K2, _K3 = _K[:16], _K[16:32], _K[32:48], _K[48:]


def _compiled(function: Compiled) -> Compiled:
    """Compile an entry point; the machine code is kept on disk."""
    return cast("Compiled", numba.njit(nogil=True, cache=True)(function))


def _part(function: Compiled) -> Compiled:
    """Compile a part of an entry point, kept on disk with it."""
    return cast("Compiled", numba.njit(nogil=True)(function))


def _inlined(function: Compiled) -> Compiled:
    """Compile a step, always as a part of its caller: only so is the caller vectorised."""
    return cast("Compiled", numba.njit(nogil=True, forceinline=True)(function))


@_inlined
def _rotate(x: Word, n: int) -> Word:
    return U32(U32(x >> U32(n)) | U32(x << U32(32 - n)))


@_inlined
def _round(state: Eight, word: Word) -> tuple[Word, Word]:
    """One round; returns what becomes of ``d`` and ``h``, the others only change places."""
    a, b, c, d, e, f, g, h = state
    sigma = U32(_rotate(e, 6) ^ _rotate(e, 11) ^ _rotate(e, 25))
    first = U32(h + sigma + U32(g ^ (e & (f ^ g))) + word)
    sigma = U32(_rotate(a, 2) ^ _rotate(a, 13) ^ _rotate(a, 22))
    return U32(d + first), U32(first + sigma + U32((a & b) | (c & (a | b))))


@_inlined
def _rounds(state: Eight, w: Sixteen, k: Sixteen) -> Eight:
    """Sixteen rounds."""
    a, b, c, d, e, f, g, h = state
    d, h = _round((a, b, c, d, e, f, g, h), U32(w[0] + k[0]))
    c, g = _round((h, a, b, c, d, e, f, g), U32(w[1] + k[1]))
    b, f = _round((g, h, a, b, c, d, e, f), U32(w[2] + k[2]))
    a, e = _round((f, g, h, a, b, c, d, e), U32(w[3] + k[3]))
    h, d = _round((e, f, g, h, a, b, c, d), U32(w[4] + k[4]))
    g, c = _round((d, e, f, g, h, a, b, c), U32(w[5] + k[5]))
    f, b = _round((c, d, e, f, g, h, a, b), U32(w[6] + k[6]))
    e, a = _round((b, c, d, e, f, g, h, a), U32(w[7] + k[7]))
    d, h = _round((a, b, c, d, e, f, g, h), U32(w[8] + k[8]))
    c, g = _round((h, a, b, c, d, e, f, g), U32(w[9] + k[9]))
    b, f = _round((g, h, a, b, c, d, e, f), U32(w[10] + k[10]))
    a, e = _round((f, g, h, a, b, c, d, e), U32(w[11] + k[11]))
    h, d = _round((e, f, g, h, a, b, c, d), U32(w[12] + k[12]))
    g, c = _round((d, e, f, g, h, a, b, c), U32(w[13] + k[13]))
    f, b = _round((c, d, e, f, g, h, a, b), U32(w[14] + k[14]))
    e, a = _round((b, c, d, e, f, g, h, a), U32(w[15] + k[15]))
    return (a, b, c, d, e, f, g, h)


@_inlined
def _next_word(w0: Word, w1: Word, w9: Word, w14: Word) -> Word:
    low = U32(_rotate(w1, 7) ^ _rotate(w1, 18) ^ U32(w1 >> U32(3)))
    high = U32(_rotate(w14, 17) ^ _rotate(w14, 19) ^ U32(w14 >> U32(10)))
    return U32(w0 + low + w9 + high)


@_inlined
def _next_words(w: Sixteen) -> Sixteen:
    """The sixteen words of the message schedule that follow sixteen others."""
    n0 = _next_word(w[0], w[1], w[9], w[14])
    n1 = _next_word(w[1], w[2], w[10], w[15])
    n2 = _next_word(w[2], w[3], w[11], n0)
    n3 = _next_word(w[3], w[4], w[12], n1)
    n4 = _next_word(w[4], w[5], w[13], n2)
    n5 = _next_word(w[5], w[6], w[14], n3)
    n6 = _next_word(w[6], w[7], w[15], n4)
    n7 = _next_word(w[7], w[8], n0, n5)
    n8 = _next_word(w[8], w[9], n1, n6)
    n9 = _next_word(w[9], w[10], n2, n7)
    n10 = _next_word(w[10], w[11], n3, n8)
    n11 = _next_word(w[11], w[12], n4, n9)
    n12 = _next_word(w[12], w[13], n5, n10)
    n13 = _next_word(w[13], w[14], n6, n11)
    n14 = _next_word(w[14], w[15], n7, n12)
    n15 = _next_word(w[15], n0, n8, n13)
    return (n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, n12, n13, n14, n15)


@_inlined
def _eight(x: Words) -> Eight:
    return (x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7])


@_inlined
def _sixteen(x: Words, i: int) -> Sixteen:
    """The sixteen words of ``x`` from the ``i``-th on."""
    return (
        *(x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]),
        *(x[i + 8], x[i + 9], x[i + 10], x[i + 11], x[i + 12], x[i + 13], x[i + 14], x[i + 15]),
    )


@_inlined
def _lane_words(fixed: Sixteen, in_first: Sixteen, in_second: Sixteen, v: Word, w: Word) -> Sixteen:
    """The words of a block in one lane, whose varying digits add ``v`` and ``w``."""
    return (
        U32(fixed[0] | (in_first[0] & v) | (in_second[0] & w)),
        U32(fixed[1] | (in_first[1] & v) | (in_second[1] & w)),
        U32(fixed[2] | (in_first[2] & v) | (in_second[2] & w)),
        U32(fixed[3] | (in_first[3] & v) | (in_second[3] & w)),
        U32(fixed[4] | (in_first[4] & v) | (in_second[4] & w)),
        U32(fixed[5] | (in_first[5] & v) | (in_second[5] & w)),
        U32(fixed[6] | (in_first[6] & v) | (in_second[6] & w)),
        U32(fixed[7] | (in_first[7] & v) | (in_second[7] & w)),
        U32(fixed[8] | (in_first[8] & v) | (in_second[8] & w)),
        U32(fixed[9] | (in_first[9] & v) | (in_second[9] & w)),
        U32(fixed[10] | (in_first[10] & v) | (in_second[10] & w)),
        U32(fixed[11] | (in_first[11] & v) | (in_second[11] & w)),
        U32(fixed[12] | (in_first[12] & v) | (in_second[12] & w)),
        U32(fixed[13] | (in_first[13] & v) | (in_second[13] & w)),
        U32(fixed[14] | (in_first[14] & v) | (in_second[14] & w)),
        U32(fixed[15] | (in_first[15] & v) | (in_second[15] & w)),
    )


@_inlined
def _plus(x: Eight, y: Eight) -> Eight:
    return (
        *(U32(x[0] + y[0]), U32(x[1] + y[1]), U32(x[2] + y[2]), U32(x[3] + y[3])),
        *(U32(x[4] + y[4]), U32(x[5] + y[5]), U32(x[6] + y[6]), U32(x[7] + y[7])),
    )


@_inlined
def _compress(state: Eight, w: Sixteen) -> Eight:
    """SHA-256's compression of one block."""
    mixed = _rounds(state, w, _K0)
    w = _next_words(w)
    mixed = _rounds(mixed, w, _K1)
    w = _next_words(w)
    mixed = _rounds(mixed, w, _K2)
    w = _next_words(w)
    return _plus(state, _rounds(mixed, w, _K3))


@_compiled
def absorb(state: Words, block: Words) -> None:
    """Compress one block of 16 words into the 8 words of ``state``."""
    result = _compress(_eight(state), _sixteen(block, 0))
    for i in range(8):
        state[i] = result[i]


@_inlined
def _lane(states: Words, lane: int) -> Eight:
    return (
        *(states[0, lane], states[1, lane], states[2, lane], states[3, lane]),
        *(states[4, lane], states[5, lane], states[6, lane], states[7, lane]),
    )


@_inlined
def _set_lane(states: Words, lane: int, state: Eight) -> None:
    states[0, lane] = state[0]
    states[1, lane] = state[1]
    states[2, lane] = state[2]
    states[3, lane] = state[3]
    states[4, lane] = state[4]
    states[5, lane] = state[5]
    states[6, lane] = state[6]
    states[7, lane] = state[7]


@_part
def _compress_lanes(states: Words, words: Words, masks: Words, varying: Words, out: Words) -> None:
    """Compress a block with varying digits, in each lane on top of its state."""
    fixed, in_first, in_second = _sixteen(words, 0), _sixteen(masks[0], 0), _sixteen(masks[1], 0)
    for lane in range(LANES):
        v, w = varying[0, lane], varying[1, lane]
        block = _lane_words(fixed, in_first, in_second, v, w)
        _set_lane(out, lane, _compress(_lane(states, lane), block))


@_part
def _compress_fixed(states: Words, words: Words) -> None:
    """Compress a block without them, in place; its schedule is made outside of the loop."""
    w0 = _sixteen(words, 0)
    w1 = _next_words(w0)
    w2 = _next_words(w1)
    w3 = _next_words(w2)
    for lane in range(LANES):
        state = _lane(states, lane)
        mixed = _rounds(_rounds(state, w0, _K0), w1, _K1)
        mixed = _rounds(_rounds(mixed, w2, _K2), w3, _K3)
        _set_lane(states, lane, _plus(state, mixed))


@_inlined
def _fill(states: Words, state: Words) -> None:
    """Put every lane into one state."""
    for i in range(8):
        states[i, :] = state[i]


@_inlined
def _hash_of_lane(states: Words, lane: int) -> np.uint64:
    high, low = np.uint64(states[0, lane]), np.uint64(states[1, lane])
    return np.uint64((high << np.uint64(32)) | low)


@_inlined
def _count_up(text: Bytes, last: int) -> None:
    """Add one to the decimal number that ends at ``last``; it has room for that."""
    while text[last] == NINE:
        text[last] = ZERO
        last -= 1
    text[last] += np.uint8(1)


@_inlined
def _load_words(text: Bytes, words: Words) -> None:
    for i in range(len(text) // 4):
        words[i] = (
            (U32(text[4 * i]) << U32(24))
            | (U32(text[4 * i + 1]) << U32(16))
            | (U32(text[4 * i + 2]) << U32(8))
            | U32(text[4 * i + 3])
        )


@_inlined
def _hash_group(start: Words, text: Bytes, digits: Digits, states: Words) -> int:
    """Hash every lane of a group, and return in which of ``states`` the hashes are."""
    words = np.empty(32, np.uint32)
    _load_words(text, words)
    if digits.first >= BLOCK:
        state = start.copy()
        absorb(state, words)
        _fill(states[0], state)
        _compress_lanes(states[0], words[16:], digits.masks[1], digits.varying, states[1])
        return 1
    _compress_lanes(states[0], words, digits.masks[0], digits.varying, states[1])
    if len(text) == BLOCK:
        return 1
    if digits.last < BLOCK:
        _compress_fixed(states[1], words[16:])
        return 1
    _compress_lanes(states[1], words[16:], digits.masks[1], digits.varying, states[2])
    return 2


@_compiled
def search_groups(
    start: Words, text: Bytes, digits: Digits, span: Span, states: Words
) -> tuple[np.uint64, int, int]:
    """Find the least hash of some groups.

    Args:
        start: the 8 words of the state behind what precedes ``text``.
        text: the last one or two blocks of the message, whole, with the digits of the first
            group's nonces but zero bytes for those that vary; it is counted up in place.
        digits: the place of the varying digits, and what they add.
        span: which groups and lanes there are.
        states: 3 by 8 by :data:`LANES` words to work in.

    Returns:
        The least hash, and the first group and lane that have it.
    """
    best, best_group, best_lane = MAX_HASH, 0, -1
    _fill(states[0], start)
    for group in range(span.groups):
        if group > 0:
            _count_up(text, digits.first - 1)
        hashes = states[_hash_group(start, text, digits, states)]
        first = span.first_lane if group == 0 else 0
        last = span.last_lane if group == span.groups - 1 else span.lanes - 1
        least = MAX_HASH
        for lane in range(first, last + 1):
            least = min(least, _hash_of_lane(hashes, lane))
        if least < best or best_lane < 0:
            best, best_group, best_lane = least, group, first
            while _hash_of_lane(hashes, best_lane) != least:
                best_lane += 1
    return best, best_group, best_lane
