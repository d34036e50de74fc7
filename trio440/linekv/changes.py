"""What the durable server writes to its journal: lines of the protocol itself.

A record is the requests of one batch that changed the store, one line each; a snapshot is the
store as the ``Put`` lines that make it. Keys and values hold no line end, so both read back as
they were.
"""

from collections.abc import Iterable, Iterator

from trio440.linekv.protocol import Delete, Get, Put, Request, Update, parse_untrusted_request

__all__ = ["Contents", "decode_changes", "encode_changes", "encode_contents"]

Contents = list[tuple[bytes, tuple[bytes, ...]]]
"""Every key of a store with its values."""


def encode_changes(requests: Iterable[Request]) -> bytes:
    """Return the record of these requests, none of which is a ``Get``."""
    return b"\n".join(map(_line, requests))


def encode_contents(contents: Contents) -> bytes:
    """Return the snapshot of a store."""
    return b"\n".join(b"Put:%b:%b" % (key, value) for key, values in contents for value in values)


def decode_changes(data: bytes) -> Iterator[Request]:
    """Read a record or a snapshot.

    Raises:
        BadMessage: it is neither.
    """
    return map(parse_untrusted_request, data.split(b"\n")) if data else iter(())


def _line(request: Request) -> bytes:
    match request:
        case Put(key, value):
            return b"Put:%b:%b" % (key, value)
        case Update(key, old, new):
            return b"Update:%b:%b:%b" % (key, old, new)
        case Delete(key):
            return b"Delete:%b" % key
        case Get(key):
            return b"Get:%b" % key
