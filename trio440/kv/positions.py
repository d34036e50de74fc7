"""Positions of the atomic engines: revisions as the opaque bytes that watches go on from. Pure."""

from typing import Final

from trio440.errors import InvalidParameter

__all__ = ["decode_position", "encode_position"]

BYTES: Final = 8


def encode_position(revision: int) -> bytes:
    """Return the position behind the change of a revision; positions are in the order of these."""
    return revision.to_bytes(BYTES, "big")


def decode_position(position: bytes) -> int:
    """Return the revision of a position.

    Raises:
        InvalidParameter: it is none of an atomic engine.
    """
    if len(position) != BYTES or position[0] >= 0x80:  # noqa: PLR2004 - more than an int64
        raise InvalidParameter("after", position, "the position of a change of this namespace")
    return int.from_bytes(position, "big")
