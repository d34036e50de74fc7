r"""Requests of the Redis protocol, cut out of a stream of bytes. Pure.

A request is an array of bulk strings, ``*2 $3 GET $1 a`` with ``\r\n`` behind each part, or a
line of words, as one types it ("inline"). The same is not said in one way only, and the rules are
those of Redis: an array without elements and an empty line are nothing; the two bytes behind a
bulk string are passed over whatever they are; numbers have no sign ``+`` and no leading zeros.

What no request can be is a *problem*: the requests before it are still handed out, nothing
behind it is read, and the server answers ``-ERR Protocol error: ...`` and closes.
"""

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from trio440.kv.resp.limits import LINE_BYTES, Limits

__all__ = [
    "ARGUMENT_BYTES",
    "LONE_BYTES",
    "Request",
    "RequestParser",
    "parse_integer",
    "parse_lone",
    "split_inline",
]

Request: TypeAlias = Sequence[bytes]
"""The name of a command and its arguments; at least one."""

HEADS: Final = [b"$%d" % length for length in range(1024)]
"""What stands before a bulk string of each length."""
COUNTS: Final = {b"*%d" % count: count for count in range(1, 64)}
"""What stands before a request, for those that are short."""
LENGTHS: Final = {b"%d" % length: length for length in range(1024)}
ARGUMENT_BYTES: Final = 48
"""What an argument takes in memory beside its bytes."""
LONE_BYTES: Final = 512
"""What is longer is not looked at as one short request."""
LONE: Final = re.compile(
    rb"\*2\r\n\$3\r\n(?:GET|get)\r\n\$(\d+)\r\n(.*)\r\n"
    rb"|\*3\r\n\$3\r\n(?:SET|set)\r\n\$(\d+)\r\n(.*?)\r\n\$(\d+)\r\n(.*)\r\n",
    re.DOTALL,
).fullmatch
INT64_MAX: Final = (1 << 63) - 1
INT64_DIGITS: Final = 20


def parse_integer(text: bytes) -> int | None:
    """Return the int64 that a text is in its shortest form, as Redis wants it; None for others."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(text) > INT64_DIGITS or (digits[:1] == b"0" and text != b"0"):
        return None
    value = int(text)
    return value if -INT64_MAX - 1 <= value <= INT64_MAX else None


def parse_lone(data: bytes | bytearray) -> tuple[bytes, bytes | None] | None:
    """Return the key, and of a SET the value, where bytes are one short GET or SET and no more.

    The other way to the same, :meth:`RequestParser.feed`, takes twice the time.
    """
    match = LONE(data)
    if match is None:
        return None
    asked_size, asked, key_size, key, value_size, value = match.groups()
    if asked is not None:
        return (asked, None) if LENGTHS.get(asked_size) == len(asked) else None
    if LENGTHS.get(key_size) == len(key) and LENGTHS.get(value_size) == len(value):
        return key, value
    return None


class RequestParser:
    """Takes the bytes of one connection as they come."""

    def __init__(self, limits: Limits) -> None:
        self.problem: str | None = None
        """What is wrong with the stream; for good."""
        self.is_unfinished = False
        """Whether a request has arrived in part, or something that is none."""
        self._limits = limits
        self._buffer = bytearray()
        self._arguments: list[bytes] = []
        self._missing = 0
        """Arguments that the request under way still lacks."""
        self._length: int | None = None
        """Of the bulk string under way."""
        self._size = 0
        """Of the arguments of the request under way, the announced one included."""
        self._held = 0
        """The same, about, in memory, without the announced one."""

    @property
    def held_bytes(self) -> int:
        """Return the memory, about, of a request that has arrived in part."""
        return len(self._buffer) + self._held

    def feed(self, data: bytes | bytearray) -> Sequence[Request]:
        """Take the next bytes, and return the requests that are complete with them."""
        if self.problem is not None:
            return ()
        if not self.is_unfinished:
            found = _plain(data)
            if found is not None:
                return found
        self._buffer += data
        return self._step_by_step()

    def _step_by_step(self) -> list[Request]:
        found: list[Request] = []
        buffer, position = self._buffer, 0
        while self.problem is None and position < len(buffer):
            after: int | None
            if self._missing:
                after = self._take_argument(position, found)
            elif buffer[position] == ord("*"):
                after = self._take_count(position)
            else:
                after = self._take_inline(position, found)
            if after is None:
                break
            position = after
        del buffer[:position]
        if self.problem is not None:
            buffer.clear()
            self._arguments, self._held = [], 0
        self.is_unfinished = bool(buffer or self._missing or self.problem is not None)
        return found

    def _take_count(self, position: int) -> int | None:
        end = self._line_end(position, "too big mbulk count string")
        if end is None:
            return None
        count = parse_integer(bytes(self._buffer[position + 1 : end]))
        if count is None or count > self._limits.arguments:
            self.problem = "invalid multibulk length"
            return None
        self._missing = max(count, 0)
        self._arguments, self._size = [], 0
        return end + 2

    def _take_argument(self, position: int, found: list[Request]) -> int | None:
        if self._length is None:
            return self._take_length(position)
        end = position + self._length
        if len(self._buffer) < end + 2:
            return None
        self._arguments.append(bytes(self._buffer[position:end]))
        self._held += self._length + ARGUMENT_BYTES
        self._length = None
        self._missing -= 1
        if not self._missing:
            found.append(self._arguments)
            self._arguments, self._held = [], 0
        return end + 2

    def _take_length(self, position: int) -> int | None:
        buffer, limit = self._buffer, self._limits.request_bytes
        end = self._line_end(position, "too big bulk count string")
        if end is None:
            return None
        if buffer[position] != ord("$"):
            self.problem = f"expected '$', got '{chr(buffer[position])}'"
            return None
        length = parse_integer(bytes(buffer[position + 1 : end]))
        if length is None or length < 0 or length > limit:
            self.problem = "invalid bulk length"
            return None
        self._length = length
        self._size += length
        if self._size > limit:
            self.problem = f"too big request, the limit is {limit} bytes"
            return None
        return end + 2

    def _take_inline(self, position: int, found: list[Request]) -> int | None:
        end = self._buffer.find(b"\n", position)
        if end < 0:
            if len(self._buffer) - position > LINE_BYTES:
                self.problem = "too big inline request"
            return None
        words = split_inline(bytes(self._buffer[position:end]))
        if words is None:
            self.problem = "unbalanced quotes in request"
            return None
        if words:
            found.append(words)
        return end + 1

    def _line_end(self, position: int, problem: str) -> int | None:
        end = self._buffer.find(b"\r\n", position)
        if end >= 0:
            return end
        if len(self._buffer) - position > LINE_BYTES:
            self.problem = problem
        return None


def _plain(data: bytes | bytearray) -> Sequence[Request] | None:
    """Return the requests that are all of the bytes, None where this cannot tell.

    It can where all have the same number of arguments, as in most pipelines, and no argument holds
    a line end: then the parts between line ends have their places, and whole columns of them are
    compared at once.
    """
    parts = bytes(data).split(b"\r\n")
    size = len(parts) - 1
    count = COUNTS.get(parts[0])
    if count is None or parts[size]:
        return None
    stride = 2 * count + 1
    number, rest = divmod(size, stride)
    if rest or (number > 1 and parts[0:size:stride].count(parts[0]) != number):
        return None
    try:
        if number > 1:
            return _columns(parts, size, stride)
        arguments = parts[2:size:2]
        return (arguments,) if _heads(arguments) == parts[1:size:2] else None
    except IndexError:
        return None


def _columns(parts: list[bytes], size: int, stride: int) -> Sequence[Request] | None:
    columns = []
    for place in range(2, stride, 2):
        column = parts[place:size:stride]
        if _heads(column) != parts[place - 1 : size : stride]:
            return None
        columns.append(column)
    return [*zip(*columns, strict=True)]


def _heads(arguments: list[bytes]) -> list[bytes]:
    """Return what stands before arguments; IndexError where one is too long for that."""
    return [*map(HEADS.__getitem__, map(len, arguments))]


ESCAPES: Final = {
    ord("n"): b"\n",
    ord("r"): b"\r",
    ord("t"): b"\t",
    ord("b"): b"\b",
    ord("a"): b"\a",
}
HEX: Final = b"0123456789abcdefABCDEF"
SPACE: Final = b" \t\n\v\f\r\0"


def split_inline(line: bytes) -> list[bytes] | None:
    r"""Return the words of a line; None where a quote is not closed, or no space follows it.

    Double quotes know ``\n \r \t \b \a \xHH`` and take any other character behind a
    backslash as it is; single quotes know ``\'`` alone. A zero byte ends the line, as it does in
    Redis.
    """
    line = line.partition(b"\0")[0]
    words: list[bytes] = []
    position, end = 0, len(line)
    while True:
        while position < end and line[position] in SPACE:
            position += 1
        if position >= end:
            return words
        word = bytearray()
        while position < end and line[position] not in SPACE:
            if line[position] in b"\"'":
                after = _take_quoted(line, position, word)
                if after is None or (after < end and line[after] not in SPACE):
                    return None
                position = after
                break
            word.append(line[position])
            position += 1
        words.append(bytes(word))


def _take_quoted(line: bytes, position: int, word: bytearray) -> int | None:
    """Add what a quote holds to a word, and return where it ends; None where it does not."""
    quote, position = line[position], position + 1
    while position < len(line):
        byte = line[position]
        if byte == quote:
            return position + 1
        following = line[position + 1 : position + 4]
        if byte != ord("\\") or not following or (quote == ord("'") and following[0] != quote):
            word.append(byte)
            position += 1
        elif quote == ord('"') and following[0] == ord("x") and _is_hex(following[1:]):
            word.append(int(following[1:], 16))
            position += 4
        else:
            word += ESCAPES.get(following[0], following[:1]) if quote == ord('"') else b"'"
            position += 2
    return None


def _is_hex(text: bytes) -> bool:
    return len(text) == 2 and text[0] in HEX and text[1] in HEX  # noqa: PLR2004 - the two digits
