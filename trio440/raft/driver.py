"""Drives a Raft node: gives it time and messages, and does what its Readys say.

::

    messages, ticks, requests ──▶ node ──▶ Ready ──┬─▶ messages_now           at once
                                                   ├─▶ committed, read_states ──▶ applier
                                                   └─▶ writes, in their order ──▶ storage
                                                        └─▶ persisted, messages_after_sync

What comes together goes out together: inputs only *poke* the driver, and one task then takes all
that the node has to hand out. One write and one sync are under way at a time; Readys gather
behind them and are written as one. While the disk is at rest a message is taken further in the
turn of the loop in which it came; commands of one turn always gather.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, final

import attrs
import trio

from trio440.core.epochs import EpochTimer
from trio440.core.host import Host, Worker
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import (
    LeadershipLost,
    NotLeader,
    PeerStopped,
    RaftViolated,
)
from trio440.raft.applier import Applier
from trio440.raft.machine import StateMachine
from trio440.raft.messages import Append, Message, SnapshotMeta
from trio440.raft.node import Node
from trio440.raft.ready import ChunkRead, Ready
from trio440.raft.storage import Storage
from trio440.raft.waiting import Waiter
from trio440.raft.watching import Watchers

__all__ = ["Driver"]


@final
class Driver:
    """A node with its storage and state machine; messages come and go through callables."""

    def __init__(
        self,
        node: Node,
        storage: Storage,
        machine: StateMachine,
        send: Callable[[Message], bool],
        *,
        tick_seconds: float,
        snapshot_entries: int,
        ports: Host,
    ) -> None:
        """Begin with a node that has just been made.

        Args:
            node: the node.
            storage: holds what the node was made from.
            machine: has restored the snapshot that the node begins with.
            send: sends a message to another peer; whether it left.
            tick_seconds: how long the node's ticks are.
            snapshot_entries: a snapshot is taken after so many entries; 0: never by itself.
            ports: the machine to run on.
        """
        self.node: Final = node
        self.watchers: Final = Watchers(ports.clock)
        self.applier: Final = Applier(machine, node, storage, self.poke, self.watchers)
        self.changed: Final = trio.lowlevel.ParkingLot()
        """Tasks that look again whenever the node may have changed."""
        self._storage = storage
        self.send = send
        """Sends a message; may be replaced by one that looks at it before."""
        self._tick_seconds = tick_seconds
        self._snapshot_entries = snapshot_entries
        self._ports = ports
        self._start = ports.clock.now()
        self._ticks = 0
        self._wake = trio.Event()
        self._wake.set()
        self._to_write: deque[Ready] = deque()
        self._is_writing = False
        self._write_wake = trio.Event()
        self._chunk_reads: deque[ChunkRead] = deque()
        self._chunk_wake = trio.Event()
        self._snapshot_wake = trio.Event()
        self._waiters: dict[Waiter, None] = {}
        self._snapshot_waiters: list[Waiter] = []
        self._led_term: int | None = None
        self._stopped: PeerStopped | None = None
        self._violation: Exception | None = None

    async def run(self) -> None:
        """Drive until cancelled, or until something fails for good."""
        self._start = self._ports.clock.now()
        try:
            async with (
                self._ports.blocking.open_worker("trio440 raft state") as worker,
                open_service_nursery() as nursery,
            ):
                for work in (
                    self._tick,
                    self._pump_when_poked,
                    self._write,
                    self._read_chunks,
                    self.applier.run,
                    partial(self._take_snapshots, worker),
                ):
                    nursery.start_soon(self._guarded, work)
                await trio.Event().wait()
        finally:
            self.stop("it was left")

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run a task whose failure stops the peer at once."""
        try:
            await work()
        except Exception as error:
            self.stop(str(error))
            raise

    def stop(self, reason: str) -> None:
        """Answer nobody any more, and tell those who wait; idempotent."""
        if self._stopped is None:
            self._stopped = PeerStopped(self.node.id, reason)
            self.applier.stop(self._stopped)
            for waiter in list(self._waiters):
                waiter.fail(self._stopped)
            self.changed.unpark_all()

    def check(self) -> None:
        """Return while the driver runs.

        Raises:
            PeerStopped: it does not.
        """
        if self._stopped is not None:
            raise PeerStopped(self._stopped.name, self._stopped.reason)

    # Inputs

    def poke(self) -> None:
        """Look soon at what the node has to hand out."""
        self._wake.set()

    @property
    def _is_busy(self) -> bool:
        """Whether something is being written, or is to be."""
        return self._is_writing or self._write_wake.is_set()

    def _pump_now(self) -> None:
        """Look at once at what the node has to hand out, or soon where more gathers anyway."""
        if self._is_busy or self._violation is not None:
            self._wake.set()
            return
        try:
            self._pump()
        except Exception as error:  # noqa: BLE001 - raised by the task that pumps, not by who asked
            self._violation = error
            self._wake.set()

    def receive(self, message: Message) -> None:
        """Take in a message of another peer; a member that breaks the rules stops this peer.

        Raises:
            BadMessage: it was not taken in, since it is none.
            RaftViolated: it was not taken in, since it breaks the rules, and it or the term's
                leader is no member: anybody may say that it leads.
        """
        if self._stopped is None and self._violation is None:
            # Loyalty to a leader that is heard now does not pass with ticks of the time before.
            self._catch_up()
            try:
                self.node.step(message)
            except RaftViolated as error:
                concerned = {message.sender, self.node.leader or message.sender}
                if not concerned <= set(self.node.configuration.members):
                    raise
                self._violation = error
            self._pump_now()

    async def propose(self, command: bytes) -> bytes:
        """Append a command, wait until it is applied, and return its result.

        Raises:
            NotLeader, ProposalRefused: as :meth:`Node.propose`; nothing was done.
            LeadershipLost, PeerStopped: as :meth:`result_of`.
        """
        if self._stopped is not None:
            self.check()
        index, term = self.node.propose(command)
        self._wake.set()  # and not at once: others propose in this turn, for the same write
        waiter = self._wait_for(index, term)
        result: bytes = await waiter.wait()
        return result

    def append(self, command: bytes) -> tuple[int, int]:
        """Append a command and return its index and term; errors as :meth:`Node.propose`.

        Raises:
            PeerStopped: this peer has stopped.
        """
        self.check()
        place = self.node.propose(command)
        self.poke()
        return place

    async def result_of(self, place: tuple[int, int]) -> bytes:
        """Wait until the entry that was just appended is applied, and return its result.

        Raises:
            LeadershipLost: this peer stopped to lead before.
            PeerStopped: this peer has stopped.
        """
        waiter = self._wait_for(*place)
        result: bytes = await waiter.wait()
        return result

    def _wait_for(self, index: int, term: int) -> Waiter:
        """Let the present task be the one that waits for an entry."""
        waiter, waiting = Waiter(term), self.applier.waiting
        if index in waiting:
            before = waiting[index]
            before.fail(LeadershipLost(index, before.term))
        waiting[index] = waiter
        self._led_term = term
        return waiter

    async def wait_readable(self) -> bool:
        """Wait until the state machine may be asked what is linearizable; False: ask again.

        Raises:
            NotLeader: nobody is known to lead.
            ReadRefused: too many reads wait.
            PeerStopped: this peer has stopped.
        """
        self.check()
        self._catch_up()
        waiter = Waiter()
        self.node.read_index(waiter)
        self.poke()
        return bool(await self._wait(waiter))

    async def _wait(self, waiter: Waiter) -> Any:
        self._waiters[waiter] = None
        try:
            return await waiter.wait()
        finally:
            del self._waiters[waiter]

    async def wait_change(self) -> None:
        """Wait until the node may have changed.

        Raises:
            PeerStopped: this peer has stopped.
        """
        self.check()
        await self.changed.park()
        self.check()

    async def snapshot(self) -> int:
        """Have a snapshot kept, and return the last index that is in one.

        Raises:
            PeerStopped: this peer has stopped.
        """
        self.check()
        waiter = Waiter()
        self._snapshot_waiters.append(waiter)
        self._snapshot_wake.set()
        return int(await self._wait(waiter))

    # Time

    def _catch_up(self) -> None:
        """Let all ticks pass whose time has come."""
        due = int((self._ports.clock.now() - self._start) / self._tick_seconds)
        if due > self._ticks:
            late, self._ticks = due - self._ticks, due
            self.node.tick(late)

    async def _tick(self) -> None:
        async for _ in EpochTimer(self._tick_seconds, ports=self._ports):
            role = self.node.role
            self._catch_up()
            if self.node.role is not role or not self.node.is_quiet:
                self.poke()
            if self._to_write:
                self._write_wake.set()

    # What the node wants

    async def _pump_when_poked(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if self._violation is not None:
                raise self._violation
            self._pump()

    def _pump(self) -> None:
        if self._stopped is not None:
            return
        node, applier = self.node, self.applier
        while (ready := node.ready()) is not None:
            self._hand_out(ready)
        if self._led_term not in (None, node.term if node.is_leader else None):
            self._led_term = None
            applier.lose_leadership()
        if node.leader is None:  # what is here may be old by now: another peer may know more
            self.watchers.fail(NotLeader(None))
        if self._snapshot_entries and (
            applier.applied - node.snapshot_index >= self._snapshot_entries
        ):
            self._snapshot_wake.set()
        if self.changed:
            self.changed.unpark_all()

    def _hand_out(self, ready: Ready) -> None:
        if ready.committed:
            self.applier.give(ready.committed)
        for message in ready.messages_now:
            self._send_out(message)
        self._answer_reads(ready)
        if ready.chunk_reads:
            self._chunk_reads += ready.chunk_reads
            self._chunk_wake.set()
        if _must_be_written(ready) or (ready.messages_after_sync and self._is_busy):
            self._to_write.append(ready)
            self._write_wake.set()
            return
        self._send_after_sync(ready)
        if ready.hard_state is not None:  # a commit, which has no sync of its own: it can wait
            if ready.messages_after_sync:
                ready = attrs.evolve(ready, messages_after_sync=())
            self._to_write.append(ready)

    def _answer_reads(self, ready: Ready) -> None:
        for read in ready.read_states:
            waiter = read.context
            assert isinstance(waiter, Waiter)  # noqa: S101 - it was given by this class
            if read.index is None:
                waiter.wake(False)
            else:
                self.applier.read_at(read.index, waiter)

    def _send_out(self, message: Message) -> None:
        if not self.send(message) and isinstance(message, Append):
            self.node.report_unreachable(message.to)

    def _send_after_sync(self, ready: Ready) -> None:
        for message in ready.messages_after_sync:
            if message.to == self.node.id:
                self.node.step(message)
            else:
                self._send_out(message)

    # The disk

    async def _write(self) -> None:
        while True:
            await self._write_wake.wait()
            self._is_writing = True
            while self._write_wake.is_set():
                batch = self._take_batch()
                if not self._to_write:
                    self._write_wake = trio.Event()
                if any(map(_has_writes, batch)):
                    await self._storage.write(batch)
                for ready in batch:
                    if ready.entries:
                        self.node.persisted(ready.last_index, ready.last_term)
                    if ready.snapshot is not None:
                        await self._install(ready.snapshot)
                    self._send_after_sync(ready)
                self._pump()
            self._is_writing = False

    def _take_batch(self) -> list[Ready]:
        """Take what waits to be written, up to a snapshot that is to be installed."""
        batch: list[Ready] = []
        while self._to_write:
            batch.append(self._to_write.popleft())
            if batch[-1].snapshot is not None:
                break
        return batch

    async def _install(self, meta: SnapshotMeta) -> None:
        if await self._storage.install_snapshot(meta):
            self.applier.give(meta)
            self.node.snapshot_persisted(meta)
        else:
            self.node.snapshot_failed(meta)

    async def _read_chunks(self) -> None:
        while True:
            await self._chunk_wake.wait()
            self._chunk_wake = trio.Event()
            while self._chunk_reads:
                read = self._chunk_reads.popleft()
                data = await self._storage.read_snapshot(read.meta, read.offset, read.length)
                if data is None:
                    # A later one that is being saved takes its place before the node hears of it.
                    while self.node.snapshot_index <= read.meta.index:
                        await self.changed.park()
                    self.node.report_snapshot(read.to, ok=False)
                else:
                    self.node.chunk_read(read, data)
                self.poke()

    async def _take_snapshots(self, worker: Worker) -> None:
        while True:
            await self._snapshot_wake.wait()
            self._snapshot_wake = trio.Event()
            waiters, self._snapshot_waiters = self._snapshot_waiters, []
            index = await self.applier.snapshot(worker)
            for waiter in waiters:
                waiter.wake(index)


def _must_be_written(ready: Ready) -> bool:
    """Whether more than a commit is to be kept, which the next write that must be may keep."""
    return bool(ready.must_sync or ready.chunks or ready.snapshot is not None)


def _has_writes(ready: Ready) -> bool:
    return bool(
        ready.hard_state is not None or ready.entries or ready.chunks or ready.snapshot is not None
    )
