"""Entries that follow each other, as bytes: on the wire and on disk. Pure.

::

    batch     first index (8) │ count (4) │ runs (4) │ run, run, ... │ length (4), ... │ data, ...
    run       count (4) │ term (8) │ kind (1)

Numbers are big-endian. A run is as many entries of one term and one kind as follow each other, so
that thousands of commands have one. There is one way to write a batch, and :func:`decode_entries`
takes no other.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise, repeat
from typing import Final, NoReturn

from trio440.errors import BadMessage
from trio440.raft.messages import Entry, EntryKind

__all__ = ["decode_entries", "encode_entries", "split_entries"]

_HEAD: Final = struct.Struct(">QII")
_RUN: Final = struct.Struct(">IQB")
_LENGTH: Final = 4
MOST_TERM: Final = (1 << 64) - 1
_KINDS: Final = {kind.value: kind for kind in EntryKind}


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Return the bytes of one or more entries, of which each has the next index.

    Raises:
        struct.error: a number is outside 0 to 2**64 - 1, or there are 2**32 entries or more.
    """
    datas = [entry.data for entry in entries]
    runs = _runs(entries)
    head = _HEAD.pack(entries[0].index, len(entries), len(runs))
    lengths = struct.pack(f">{len(datas)}I", *map(len, datas))
    return b"".join([head, *(_RUN.pack(*run) for run in runs), lengths, *datas])


def _runs(entries: Sequence[Entry]) -> list[tuple[int, int, int]]:
    kinds = [entry.kind for entry in entries]
    if entries[0].term == entries[-1].term and kinds.count(kinds[0]) == len(kinds):
        return [(len(entries), entries[0].term, kinds[0].value)]
    return [
        (sum(1 for _ in run), term, kind.value)
        for (term, kind), run in groupby(entries, lambda entry: (entry.term, entry.kind))
    ]


def split_entries(entries: Sequence[Entry], max_bytes: int) -> Iterator[Sequence[Entry]]:
    """Cut entries into batches whose data have so many bytes at most, or which are one entry."""
    if not entries:
        return
    if sum([len(entry.data) for entry in entries]) <= max_bytes:
        yield entries
        return
    begin, size = 0, 0
    for place, entry in enumerate(entries):
        size += len(entry.data)
        if size > max_bytes and place > begin:
            yield entries[begin:place]
            begin, size = place, len(entry.data)
    yield entries[begin:]


def decode_entries(data: bytes, most_term: int = MOST_TERM) -> tuple[Entry, ...]:
    """Read a batch, which may have come from anywhere.

    Args:
        data: its bytes.
        most_term: no entry is of a later term.

    Raises:
        BadMessage: it is none.
    """
    if len(data) < _HEAD.size:
        _refuse("it is cut short")
    first, count, run_count = _HEAD.unpack_from(data)
    lengths_at = _HEAD.size + run_count * _RUN.size
    data_at = lengths_at + count * _LENGTH
    if len(data) < data_at:  # before anything is made that is as large as a number says
        _refuse("it is cut short")
    runs = [*_RUN.iter_unpack(data[_HEAD.size : lengths_at])]
    lengths = struct.unpack_from(f">{count}I", data, lengths_at)
    ends = [*accumulate(lengths, initial=data_at)]
    if not count or ends[-1] != len(data):
        _refuse("its lengths do not fit")
    return _build(first, [data[begin:end] for begin, end in pairwise(ends)], runs, most_term)


def _build(
    first: int, pieces: list[bytes], runs: list[tuple[int, int, int]], most_term: int
) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    before: tuple[int, int] | None = None
    for count, term, number in runs:
        kind = _KINDS.get(number)
        if kind is None:
            _refuse(f"an entry is of the unknown kind {number}")
        begin = len(entries)
        if not count or before == (term, number):
            _refuse("its runs are not as long as they can be")
        if term > most_term:
            _refuse(f"an entry is of term {term}, the latest is {most_term}")
        index = range(first + begin, first + begin + count)
        entries += map(Entry, index, repeat(term), pieces[begin : begin + count], repeat(kind))
        before = (term, number)
        if len(entries) != begin + count:
            _refuse("its runs do not fit")
    if len(entries) != len(pieces):
        _refuse("its runs do not fit")
    return tuple(entries)


def _refuse(problem: str) -> NoReturn:
    raise BadMessage(f"this is no batch of entries: {problem}")
