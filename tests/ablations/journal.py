"""Deliberate bugs in the journal, found by the durable line-protocol server that stands on it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, Final
from unittest.mock import patch

import attrs
import trio

from trio440.core.host import AppendFile
from trio440.journal import format as journal_format
from trio440.journal import recovery
from trio440.journal.files import JournalFiles
from trio440.journal.format import (
    Kind,
    Snapshot,
    encode_snapshot,
    segment_name,
    segment_sequence,
    snapshot_index,
    snapshot_name,
)
from trio440.journal.journal import Journal
from trio440.journal.recovery import TEMPORARY, Recovery
from trio440.sim.ablating import Ablation

__all__ = ["ABLATIONS"]

Bug = Callable[[], AbstractContextManager[object]]


@attrs.define
class _File:
    """A file whose sync may be left out."""

    file: AppendFile
    wanted: Callable[[], bool]
    at_the_end: bool = False
    again: bool = False

    @property
    def size(self) -> int:
        return self.file.size

    def append(self, data: bytes) -> None:
        self.file.append(data)

    def sync(self) -> None:
        if not self.wanted():
            return
        try:
            self.file.sync()
        except OSError:
            if not self.again:
                raise
            self.sync()

    def close(self) -> None:
        if self.at_the_end:
            self.file.sync()
        self.file.close()


def _with_file(make: Callable[[AppendFile], _File]) -> AbstractContextManager[object]:
    real = JournalFiles._open_file
    return patch.object(JournalFiles, "_open_file", lambda self: make(real(self)))


def skips_an_fsync_now_and_then() -> AbstractContextManager[object]:
    numbers = count(1)
    return _with_file(lambda file: _File(file, lambda: next(numbers) % 5 != 0))


def syncs_when_it_closes() -> AbstractContextManager[object]:
    return _with_file(lambda file: _File(file, lambda: False, at_the_end=True))


def syncs_again_after_a_failure() -> AbstractContextManager[object]:
    return _with_file(lambda file: _File(file, lambda: True, again=True))


def answers_before_the_fsync() -> AbstractContextManager[object]:
    async def sync(_self: Journal, _upto: int | None = None) -> None:
        await trio.lowlevel.checkpoint()

    return patch.object(Journal, "sync", sync)


def waits_for_the_commit_under_way_only() -> AbstractContextManager[object]:
    async def sync(self: Journal, _upto: int | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if self._writing is not None:
            await self._writing.done.wait()

    return patch.object(Journal, "sync", sync)


def _replace(*, sync: bool = True, sync_names: bool = True) -> Any:
    def replace(self: JournalFiles, name: str, content: bytes) -> AppendFile:
        disk = self._disk
        if disk.exists(name + TEMPORARY):
            disk.remove(name + TEMPORARY)
        file = disk.open_append(name + TEMPORARY)
        file.append(content)
        if sync:
            file.sync()
        disk.rename(name + TEMPORARY, name)
        if sync_names:
            disk.sync_directory("")
        return file

    return replace


def new_names_are_not_synced() -> AbstractContextManager[object]:
    return patch.object(JournalFiles, "_replace", _replace(sync_names=False))


def renames_before_the_sync() -> AbstractContextManager[object]:
    return patch.object(JournalFiles, "_replace", _replace(sync=False))


def snapshot_is_not_synced() -> AbstractContextManager[object]:
    replace = _replace(sync=False, sync_names=False)

    def write_snapshot(self: JournalFiles, snapshot: Snapshot) -> None:
        replace(self, snapshot_name(snapshot.index), encode_snapshot(snapshot)).close()

    return patch.object(JournalFiles, "write_snapshot", write_snapshot)


def removes_before_the_snapshot_is_there() -> AbstractContextManager[object]:
    real = JournalFiles.write_snapshot

    def write_snapshot(self: JournalFiles, snapshot: Snapshot) -> None:
        for name in self._disk.list_directory(""):
            sequence = segment_sequence(name)
            if sequence is not None and sequence < snapshot.first_sequence:
                self._disk.remove(name)
        self._disk.sync_directory("")
        real(self, snapshot)

    def remove(self: JournalFiles, names: Iterable[str]) -> None:
        for name in names:
            if self._disk.exists(name):
                self._disk.remove(name)
        self._disk.sync_directory("")

    return patch.multiple(JournalFiles, write_snapshot=write_snapshot, remove=remove)


def bad_checksums_are_believed() -> AbstractContextManager[object]:
    def body_problem(data: bytes, at: int, head: Any, _salt: bytes) -> str:
        end = at + journal_format.FRAME_HEAD_BYTES + head.length
        return "a frame is cut short" if end > len(data) else ""

    return patch.object(journal_format, "_body_problem", body_problem)


def torn_ends_are_kept() -> AbstractContextManager[object]:
    """What does not fit stays in the segment, and new frames come behind it."""
    real = recovery._Replay._follow

    def follow(self: Any, sequence: int, data: bytes, scan: Any, header: Any) -> None:
        real(self, sequence, data, scan, header)
        self._tail = attrs.evolve(self._tail, content=data)

    return patch.object(recovery._Replay, "_follow", follow)


def trusts_what_it_reads() -> AbstractContextManager[object]:
    """Opening goes on in the last segment; a sync may have failed to write what it reads."""
    real = JournalFiles._resume

    def resume(self: JournalFiles, found: Recovery, salt: bytes, nonce: bytes) -> None:
        if found.tail is None or found.tail.torn_bytes:
            real(self, found, salt, nonce)
            return
        self._next_sequence, self._previous = found.next_sequence, found.previous
        self._synced, self._last_index = found.next_sequence - 1, found.last_index
        self._salt, self._current = found.tail.salt, found.segments[-1]
        name = segment_name(self._current.sequence)
        if self._disk.size(name) != len(found.tail.content):
            self._disk.truncate(name, len(found.tail.content))
        self._file = self._disk.open_append(name)
        self._file.append(self._frame(Kind.RESUME, nonce))
        self._file.sync()

    return patch.object(JournalFiles, "_resume", resume)


def a_stale_snapshot_counts() -> AbstractContextManager[object]:
    """Of two snapshots the older is taken."""
    real = recovery._newest_snapshot

    def newest(directory: str, names: Any, read: Any) -> Any:
        snapshots = sorted(name for name in names if snapshot_index(name) is not None)
        return real(directory, [name for name in names if name not in snapshots[1:]], read)

    return patch.object(recovery, "_newest_snapshot", newest)


def replays_what_the_snapshot_holds() -> AbstractContextManager[object]:
    real = recovery._Replay._obey

    def obey(self: Any, sequence: int, data: bytes, head: Any, body_at: int) -> None:
        covered = self._covered
        if head.kind is Kind.RECORDS:
            self._covered = 0
        real(self, sequence, data, head, body_at)
        self._covered = covered

    return patch.object(recovery._Replay, "_obey", obey)


_PURE: Final[dict[Bug, tuple[str, str]]] = {
    skips_an_fsync_now_and_then: ("crashes", "leaves out one fsync of five"),
    syncs_when_it_closes: ("crashes", "syncs when a file is closed, which a power cut prevents"),
    syncs_again_after_a_failure: ("disks", "takes a second fsync's success for that of the first"),
    new_names_are_not_synced: ("crashes", "does not sync the directory after making a file"),
    renames_before_the_sync: ("crashes", "gives files their names before their content is synced"),
    snapshot_is_not_synced: ("crashes", "removes the log when the snapshot is not synced"),
    removes_before_the_snapshot_is_there: ("crashes", "removes segments before the snapshot"),
    bad_checksums_are_believed: ("hostile", "believes frames whose checksum is wrong"),
    torn_ends_are_kept: ("crashes", "writes on behind a torn end"),
    trusts_what_it_reads: ("disks", "takes what it reads for synced"),
    a_stale_snapshot_counts: ("crashes", "restores the older of two snapshots"),
    replays_what_the_snapshot_holds: ("crashes", "carries out again what is in the snapshot"),
}
_SHELL: Final[dict[Bug, tuple[str, str]]] = {
    answers_before_the_fsync: ("disks", "says that records are on disk when they are queued"),
    waits_for_the_commit_under_way_only: ("disks", "takes the commit before for its own"),
}


def _ablations() -> Iterable[Ablation]:
    for level, bugs in (("A", _PURE), ("B", _SHELL)):
        for bug, (profile, description) in bugs.items():
            yield Ablation(
                name=f"journal-{bug.__name__.replace('_', '-')}",
                system="linekv",
                level=level,  # type: ignore[arg-type]
                profile=profile,
                description=description,
                apply=bug,
                within=200,
            )


ABLATIONS: Final = list(_ablations())
