r"""The line protocol: requests, answers and the cutting of a byte stream into lines.

One request a line, in bytes that need not be UTF-8; only ``Get`` and refusals are answered:

=======================  ====================================================================
``Put:key:value``        append a value; it may contain colons
``Get:key``              one line ``key:value`` for each value, in order
``Delete:key``           remove the key
``Update:key:old:new``   remove the first ``old``, append ``new``; ``new`` may contain colons
=======================  ====================================================================

A line ends in ``\n``; a ``\r`` before it belongs to the line end. What cannot be done is answered
with one line ``Error: ...``.
"""

from typing import Final, TypeAlias

import attrs

from trio440.errors import BadMessage, InvalidParameter

__all__ = [
    "DEFAULT_LINE_LIMIT_BYTES",
    "DEFAULT_PORT",
    "Delete",
    "Get",
    "LineSplitter",
    "Put",
    "Request",
    "Update",
    "error_line",
    "parse_untrusted_request",
    "unknown_command",
    "value_line",
]

DEFAULT_PORT: Final = 9999
DEFAULT_LINE_LIMIT_BYTES: Final = 65_536
SHOWN_BYTES: Final = 40
"""How much of a line that makes no sense is shown in the answer."""


@attrs.frozen
class Put:
    """Append a value to the key's list."""

    key: bytes
    value: bytes


@attrs.frozen
class Get:
    """Ask for the key's values."""

    key: bytes


@attrs.frozen
class Delete:
    """Remove the key with all its values."""

    key: bytes


@attrs.frozen
class Update:
    """Remove the first ``old`` from the key's list, if it is there, and append ``new``."""

    key: bytes
    old: bytes
    new: bytes


Request: TypeAlias = Put | Get | Delete | Update


def parse_untrusted_request(line: bytes) -> Request:
    """Read a request from a line without its line end.

    Raises:
        BadMessage: the line is no request; the text says why.
    """
    command, _, rest = line.partition(b":")
    request: Request | None = None
    match command:
        case b"Put":
            shape = "Put:key:value"
            parts = rest.split(b":", 1)
            if len(parts) == 2:  # noqa: PLR2004 - the parts of the shape
                request = Put(*parts)
        case b"Update":
            shape = "Update:key:old:new"
            parts = rest.split(b":", 2)
            if len(parts) == 3:  # noqa: PLR2004 - the parts of the shape
                request = Update(*parts)
        case b"Get" | b"Delete":
            shape = f"{command.decode()}:key, and no key contains a colon"
            if b":" in line and b":" not in rest:
                request = Get(rest) if command == b"Get" else Delete(rest)
        case _:
            raise BadMessage(unknown_command(command))
    if request is None:
        raise BadMessage(f"a request of this kind is {shape}")
    return request


def value_line(key: bytes, value: bytes) -> bytes:
    """Return the answer that carries one value, with its line end."""
    return b"%b:%b\n" % (key, value)


def unknown_command(command: bytes) -> str:
    """Return what is wrong with a request that begins with a command that there is not."""
    return f"unknown command {_shown(command)}"


def error_line(problem: str) -> bytes:
    """Return the answer that refuses a request, with its line end."""
    return f"Error: {problem}\n".encode()


def _shown(data: bytes) -> str:
    """Show the beginning of what a stranger sent, in printable ASCII."""
    text = ascii(data[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    return f"{text}..." if len(data) > SHOWN_BYTES else text


@attrs.define
class LineSplitter:
    """Cuts a stream of bytes into lines, holding at most one unfinished line.

    ``too_long`` turns true for good when a line passes the limit; what comes after the last
    line before it is dropped.
    """

    limit: int = DEFAULT_LINE_LIMIT_BYTES
    """The most bytes of a line, its line end not counted; at least 1."""
    too_long: bool = attrs.field(default=False, init=False)
    _unfinished: bytearray = attrs.field(factory=bytearray, init=False)

    def __attrs_post_init__(self) -> None:
        if self.limit < 1:
            raise InvalidParameter("limit", self.limit, "at least 1")

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """Take what arrived and return the lines that it completes, without their line ends."""
        if self.too_long:
            return []
        *ends, rest = data.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            self._unfinished += end
            line = bytes(self._unfinished.removesuffix(b"\r"))
            if len(line) > self.limit:
                return self._overflow(lines)
            lines.append(line)
            self._unfinished.clear()
        self._unfinished += rest
        # One byte more may be the \r of a line end whose \n is still to come.
        if len(self._unfinished) - self._unfinished.endswith(b"\r") > self.limit:
            return self._overflow(lines)
        return lines

    def _overflow(self, lines: list[bytes]) -> list[bytes]:
        self.too_long = True
        self._unfinished = bytearray()
        return lines
