"""Siblings: values of one key that were written without knowing of each other. Pure.

Who wants them writes with :class:`~trio440.kv.operations.PutSibling`, and says by a *context* which
values the new one replaces: those that were read. The write is the last one to the key, as any
other, and beside it there is a record of its own, under a *hidden key* that is made of the key and
the *dot* of the write: its stamp and its writer. A hidden key gets a value once, and loses it to
whoever has read it. So replicas only have to merge records, and a value stays until somebody has
replaced it who knew of it.

An observed-remove set, as in Shapiro, Preguiça, Baquero, Zawirski, *A comprehensive study of
Convergent and Commutative Replicated Data Types* (2011), section 3.3.5. The dots are those of
Preguiça, Baquero and others, *Dotted Version Vectors* (2010).
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from trio440.actors.ref import Ref

__all__ = [
    "DOT_BYTES",
    "HIDDEN",
    "HIDDEN_BYTES",
    "Dot",
    "dot_of",
    "dots_of_context",
    "hidden_dot",
    "hidden_key",
    "hidden_prefix",
    "is_hidden_record",
    "latest_stamp",
    "write_context",
]

Dot: TypeAlias = bytes
"""8 bytes of the stamp, big-endian, and 8 of a hash of the writer's reference."""

HIDDEN: Final = b"\x00trio440.siblings\x00"
"""What every hidden key begins with."""
DOT_BYTES: Final = 16
STAMP_BYTES: Final = 8
LENGTH_BYTES: Final = 4
HIDDEN_BYTES: Final = len(HIDDEN) + LENGTH_BYTES + DOT_BYTES
"""By which a hidden key is longer than its key."""


def dot_of(stamp: int, writer: Ref[Any]) -> Dot:
    """Return the dot of a write, the same on every machine."""
    name = f"{writer.address}/{writer.counter}/{writer.incarnation}".encode()
    return stamp.to_bytes(STAMP_BYTES, "big") + blake2b(name, digest_size=8).digest()


def hidden_prefix(key: bytes) -> bytes:
    """Return what the hidden keys of one key begin with, and no others."""
    return HIDDEN + len(key).to_bytes(LENGTH_BYTES, "big") + key


def hidden_key(key: bytes, dot: Dot) -> bytes:
    """Return the hidden key of one write."""
    return hidden_prefix(key) + dot


def hidden_dot(hidden: bytes) -> Dot:
    """Return the dot of a hidden key."""
    return hidden[-DOT_BYTES:]


def is_hidden_record(hidden: bytes, value: bytes | None, stamp: int, writer: Ref[Any]) -> bool:
    """Whether a record is one that some replica has made.

    Args:
        hidden: its key, which begins with ``HIDDEN``.
        value: of a sibling; None: it was replaced.
        stamp: of the write.
        writer: who took it.
    """
    start = len(HIDDEN) + LENGTH_BYTES
    length = int.from_bytes(hidden[len(HIDDEN) : start], "big")
    if not length or len(hidden) != start + length + DOT_BYTES:
        return False
    dot = hidden_dot(hidden)
    return latest_stamp([dot]) <= stamp if value is None else dot == dot_of(stamp, writer)


def write_context(dots: Iterable[Dot]) -> bytes:
    """Return the context of who has read the values that these writes gave."""
    return b"".join(dots)


def dots_of_context(context: bytes) -> list[Dot] | None:
    """Return the dots of a context; None: it is none."""
    if len(context) % DOT_BYTES:
        return None
    return [context[start : start + DOT_BYTES] for start in range(0, len(context), DOT_BYTES)]


def latest_stamp(dots: Iterable[Dot]) -> int:
    """Return the greatest stamp of some dots; 0: there are none."""
    return max((int.from_bytes(dot[:STAMP_BYTES], "big") for dot in dots), default=0)
