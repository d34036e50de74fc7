"""Frames on a byte stream: four bytes of length, big end first, then so many bytes. Pure.

The reader is fed whatever arrives and gives the frames that are whole. It keeps the beginning of
one frame at most, hence never more than the limit and what was fed last.
"""

from typing import Final

from trio440.errors import BadMessage, InvalidParameter

__all__ = ["HEADER_BYTES", "MAX_FRAME_BYTES", "FrameReader", "frame"]

HEADER_BYTES: Final = 4
MAX_FRAME_BYTES: Final = (1 << 32) - 1
"""The longest frame that the header can announce; limits lie below it."""


def frame(payload: bytes, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Return the payload as a frame.

    Raises:
        InvalidParameter: it is longer than ``limit`` bytes.
    """
    size = len(payload)
    if size > limit:
        raise InvalidParameter("payload", f"{size} bytes", f"at most {limit} bytes")
    return size.to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts what arrives on one stream into frames."""

    __slots__ = ("_begun", "_limit", "_missing", "_spoilt")

    def __init__(self, limit: int) -> None:
        """Refuse frames of more than ``limit`` bytes, at least 1; the header does not count."""
        self._begun = bytearray()
        self._missing = 0
        self._spoilt = ""
        self.limit = limit

    @property
    def limit(self) -> int:
        """The longest frame in bytes; a change counts for headers that are read from then on."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if not 1 <= limit <= MAX_FRAME_BYTES:
            raise InvalidParameter("limit", limit, f"1 to {MAX_FRAME_BYTES}")
        self._limit = limit

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are kept; not 0 at the end: it was cut off."""
        return len(self._begun)

    def feed_untrusted(self, data: bytes | bytearray) -> list[bytes]:
        """Take the next bytes of the stream and return the frames that they complete.

        Raises:
            BadMessage: a frame is announced that passes the limit; the stream has lost its
                meaning, and every later call raises it too. Frames before it are lost.
        """
        if self._spoilt:
            raise BadMessage(self._spoilt)
        if self._begun:
            self._begun += data
            if len(self._begun) < self._missing:
                return []
            data = bytes(self._begun)
            self._begun.clear()
        return self._cut(data)

    def _cut(self, data: bytes | bytearray) -> list[bytes]:
        frames: list[bytes] = []
        start, end, limit = 0, len(data), self._limit
        read_size = int.from_bytes
        while (body := start + HEADER_BYTES) <= end:
            size = read_size(data[start:body], "big")
            if size > limit:
                self._spoilt = f"a frame of {size} bytes was announced, the limit is {limit}"
                raise BadMessage(self._spoilt)
            if (after := body + size) > end:
                self._missing = HEADER_BYTES + size
                break
            frames.append(bytes(data[body:after]))
            start = after
        else:
            self._missing = HEADER_BYTES
        if start < end:
            self._begun += data[start:]
        return frames
