"""Deliberate bugs in what stands around Raft's core: peers, clients, sessions, disks."""

from typing import Any, Final
from unittest.mock import patch

import attrs
import trio

from tests.ablations.journal import syncs_when_it_closes
from tests.ablations.patching import Bugs, ablations_of, replaced
from trio440.errors import JournalFailed
from trio440.raft import dedupe, opening
from trio440.raft.applier import Applier
from trio440.raft.client import Client
from trio440.raft.dedupe import Sessions
from trio440.raft.disk_storage import DiskStorage
from trio440.raft.driver import Driver
from trio440.raft.endpoints import Endpoints
from trio440.raft.kv import KeyValueMap
from trio440.raft.meeting import Meeting
from trio440.raft.messages import EntryKind
from trio440.raft.node import Node
from trio440.raft.ready import Ready
from trio440.raft.snapshot_files import StateWriter
from trio440.raft.wire import Clients, Command
from trio440.sim.systems.raft_mirror import Mirror

__all__ = ["ABLATIONS"]


# Peers


def messages_leave_before_the_write() -> Any:
    """What promises something leaves as soon as the node hands it out."""

    def make(real: Any) -> Any:
        def ready(self: Any) -> Ready | None:
            found: Ready | None = real(self)
            if found is None:
                return None
            own = tuple(m for m in found.messages_after_sync if m.to == self.id)
            others = tuple(m for m in found.messages_after_sync if m.to != self.id)
            return attrs.evolve(
                found, messages_now=found.messages_now + others, messages_after_sync=own
            )

        return ready

    return replaced(Node, "ready", make)


def commands_are_answered_before_they_are_committed() -> Any:
    """A leader answers from a copy of its state to which it has applied its whole log."""

    async def propose(self: Driver, command: bytes) -> bytes:
        self.check()
        index, _ = self.node.propose(command)
        self.poke()
        await trio.lowlevel.checkpoint()
        log, applier = self.node.log, self.applier
        copy = Sessions(KeyValueMap())
        copy.restore(applier.machine.snapshot()())
        result = b""
        for entry in log.entries(applier.applied + 1, min(index, log.last_index)):
            if entry.kind is EntryKind.COMMAND:
                result = copy.apply(entry.index, entry.data)
        return result

    return patch.object(Driver, "propose", propose)


def reads_ask_no_leader() -> Any:
    """A peer answers from what it has applied."""

    async def wait_readable(self: Driver) -> bool:
        self.check()
        await trio.lowlevel.checkpoint()
        return True

    return patch.object(Driver, "wait_readable", wait_readable)


def reads_do_not_wait_for_what_is_applied() -> Any:
    """A peer asks its leader how far it must have applied, and answers at once."""
    return patch.object(Applier, "read_at", lambda _self, _index, waiter: waiter.wake(True))


def writes_go_on_after_the_disk_has_failed() -> Any:
    """What could not be written counts as written."""

    def make(real: Any) -> Any:
        async def write(self: Mirror, batch: Any) -> None:
            try:
                await real(self, batch)
            except JournalFailed:
                await trio.lowlevel.checkpoint()

        return write

    return replaced(Mirror, "write", make)


def peers_start_without_their_snapshot() -> Any:
    """The state machine begins empty, behind the entries that the snapshot stands for."""

    async def load(config: Any, storage: Any, _machine: Any, ports: Any) -> Any:
        return await real(config, storage, Sessions(KeyValueMap()), ports)

    real = opening._load
    return patch.object(opening, "_load", load)


def first_starts_ask_nobody() -> Any:
    """A peer whose directory is empty takes part at once."""

    def make(real: Any) -> Any:
        def begin(self: Meeting, *args: Any, **more: Any) -> None:
            real(self, *args, **more)
            self.is_admitted = True

        return begin

    return replaced(Meeting, "__init__", make)


# Disks


def journals_are_synced_at_their_end() -> Any:
    """Nothing is synced before a file is closed."""
    return syncs_when_it_closes()


def hard_state_waits_for_entries() -> Any:
    """A term and a vote alone are kept in memory until the next entries are written."""

    def make(real: Any) -> Any:
        async def append(self: DiskStorage, records: Any) -> None:
            if [type(record).__name__ for record in records] == ["HardState"]:
                self._waiting = records[0]
                await trio.lowlevel.checkpoint()
            else:
                await real(self, records)

        return append

    return replaced(DiskStorage, "_append", make)


def snapshots_are_named_before_they_are_synced() -> Any:
    def finish(self: StateWriter) -> bool:
        meta = self._meta
        if (self._size, self._checksum) != (meta.size, meta.checksum):
            self.abandon()
            return False
        self._file.close()
        self._disk.rename(self._name + ".tmp", self._name)
        self._disk.sync_directory("")
        return True

    return patch.object(StateWriter, "finish", finish)


def names_of_snapshots_are_not_synced() -> Any:
    def finish(self: StateWriter) -> bool:
        meta = self._meta
        if (self._size, self._checksum) != (meta.size, meta.checksum):
            self.abandon()
            return False
        self._file.sync()
        self._file.close()
        self._disk.rename(self._name + ".tmp", self._name)
        return True

    return patch.object(StateWriter, "finish", finish)


# Clients and their sessions


def repeated_commands_have_new_numbers() -> Any:
    """A client that has heard nothing sends its command as another one."""

    def make(real: Any) -> Any:
        def begin(self: Client, endpoints: Endpoints, ports: Any) -> None:
            real(self, endpoints, ports)
            attempt = endpoints.attempt

            async def renumbered(address: Any, method: Any, request: Any, *, repeat: bool) -> Any:
                if method is Clients.propose:
                    asked = dedupe._REQUESTS.decode_untrusted(request.data)
                    if isinstance(asked, dedupe.Do):
                        self._number += 1
                        again = attrs.evolve(asked, number=self._number)
                        request = Command(dedupe.encode(again))
                return await attempt(address, method, request, repeat=repeat)

            endpoints.attempt = renumbered  # type: ignore[method-assign]

        return begin

    return replaced(Client, "__init__", make)


def repeated_commands_are_applied_again() -> Any:
    """Sessions remember no result."""

    def make(real: Any) -> Any:
        def do(self: Sessions, index: int, session: Any, request: Any) -> Any:
            session.results.clear()
            return real(self, index, session, request)

        return do

    return replaced(Sessions, "_do", make)


def sessions_are_not_in_the_snapshot() -> Any:
    """Who restores a snapshot knows no session, and applies nothing of theirs."""

    def make(real: Any) -> Any:
        def restore(self: Sessions, data: bytes) -> None:
            real(self, data)
            self._sessions.clear()
            self._bytes = 0

        return restore

    return replaced(Sessions, "restore", make)


BUGS: Final[Bugs] = {
    messages_leave_before_the_write: ("sends promises before they are written", "crashes", 5),
    commands_are_answered_before_they_are_committed: (
        "answers what it has not committed",
        "partitions",
        5,
    ),
    reads_ask_no_leader: ("answers from what it has applied", "partitions", 5),
    reads_do_not_wait_for_what_is_applied: ("answers before it has applied it", "partitions", 12),
    writes_go_on_after_the_disk_has_failed: ("goes on with a disk that failed", "disks", 12),
    peers_start_without_their_snapshot: ("forgets its snapshot in a crash", "crashes", 5),
    first_starts_ask_nobody: ("takes part with an empty directory", "hostile", 12),
    hard_state_waits_for_entries: ("keeps term and vote in memory", "crashes", 8),
    journals_are_synced_at_their_end: ("syncs its journal too late", "crashes", 8),
    snapshots_are_named_before_they_are_synced: ("names a snapshot too early", "crashes", 8),
    names_of_snapshots_are_not_synced: ("leaves out a directory's sync", "crashes", 8),
    repeated_commands_have_new_numbers: ("repeats a command as another one", "flaky", 12),
    repeated_commands_are_applied_again: ("remembers no result", "flaky", 12),
    sessions_are_not_in_the_snapshot: ("leaves sessions out of snapshots", "crashes", 8),
}

ABLATIONS: Final = ablations_of("raft", "B", BUGS)
"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""
