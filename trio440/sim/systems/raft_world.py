"""Raft at level B: whole peers on machines that crash, and clients with sessions.

Each peer is :func:`trio440.raft.open_peer` as it is, with its directory on the simulated disk.
Members come and go, snapshots are taken and leadership is handed over while clients work; each
client tries until it is answered, and what all of them saw must be one order of events.

What is no fault: after a session has ended, or a time is over, nobody knows what became of a
command.
"""

import random
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from trio440 import raft
from trio440.core.host import Host
from trio440.errors import (
    AddressError,
    ChangeRefused,
    InvalidParameter,
    JournalFailed,
    LeadershipLost,
    LostStorage,
    NoAnswer,
    NotLeader,
    PeerStopped,
    SessionExpired,
    TransferRefused,
)
from trio440.raft.disk_storage import open_disk_storage
from trio440.raft.kv import (
    Changed,
    CompareAndSet,
    Found,
    Get,
    Put,
    decode_result,
    encode,
)
from trio440.sim.checking.history import Call, History
from trio440.sim.checking.linearizability import check_linearizable
from trio440.sim.checking.models import KeyValue
from trio440.sim.systems.raft_drivers import watch_driver
from trio440.sim.systems.raft_losses import Losses, host_of, successor_of
from trio440.sim.systems.raft_machines import Ledger, Machine
from trio440.sim.systems.raft_mirror import Mirror
from trio440.sim.systems.raft_record import record_peers
from trio440.sim.systems.raft_watch import Watch
from trio440.sim.world import World

__all__ = ["tell"]

PORT: Final = 7000
TICK_SECONDS: Final = 0.025
"""Longer than it is by default, for worlds that are quicker to play."""
CLIENTS: Final = ("c1", "c2", "c3")
KEYS: Final = ("x", "y")
PATIENCE_SECONDS: Final = 2.5
ATTEMPT_SECONDS: Final = 0.6
REST_SECONDS: Final = 0.2
END_SECONDS: Final = 3.8
"""After the faults the cluster must work again within so long."""
MEDDLING_SECONDS: Final = 1.0
STEPS: Final = 200_000


async def tell(world: World) -> None:
    """Let clients write and read while everything goes wrong, and then require an end."""
    await _Game(world).play()


class _Game:
    """One world."""

    def __init__(self, world: World) -> None:
        rng = world.rng("params")
        self.world = world
        self.history = History(world.now)
        self._ledger = Ledger(world.require)
        self.peers: dict[str, raft.Peer[Machine]] = {}
        self.names = [name for name in world.machines if name not in CLIENTS]
        self.voters = tuple(self.names[: rng.choice([3, 3, 5, 7])])
        self.answers_after_heal = dict.fromkeys(CLIENTS, 0)
        self._started: set[str] = set()
        self._losses = Losses(world.rng("losses"), may_happen=True)
        self._ids: dict[str, str] = {}
        """The id of the peer on each machine."""
        self._promised: set[str] = set()
        """Who has been in a term."""
        self._members: dict[str, raft.Configuration] = {}
        """As each peer in a term saw them last."""
        self._suspects: dict[str, raft.Peer[Machine]] = {}
        """Peers that have lost their disks, and run until they are refused."""
        self._refused: list[str] = []
        self._recorder = record_peers(world.record, world.now, self.names)
        self._rng = rng
        self._snapshot_entries = rng.choice([0, 5, 25])
        lease_reads = rng.random() < 0.3  # noqa: PLR2004 - some
        self._config = raft.Config(
            heartbeat_ticks=3,
            election_ticks=15,
            election_ticks_spread=rng.choice([8, 15, 25]),
            pre_vote=rng.random() < 0.7,  # noqa: PLR2004 - mostly
            lease_reads=lease_reads,
            lease_margin_ticks=5,
            max_append_bytes=rng.choice([200, 1 << 20]),
            max_inflight_messages=rng.choice([1, 8, 64]),
            snapshot_chunk_bytes=rng.choice([100, 10_000]),
            keep_entries=rng.choice([0, 5]),
        )
        self._watch = Watch(world.require, self._config)

    async def play(self) -> None:
        """Play until the faults are over and everything works again, then judge."""
        world = self.world
        world.note(f"{self.voters}, {self._config}")
        world.check(self._look)
        for name in self.voters:
            self._start(name)
        async with trio.open_nursery() as nursery:
            for name in CLIENTS:
                world.start(name, partial(self._be_client, name))
            if self._rng.random() < 0.7:  # noqa: PLR2004 - mostly
                nursery.start_soon(self._meddle)
            nursery.start_soon(self._replace_lost)
            await world.healed()
            await self._require_end()
            nursery.cancel_scope.cancel()
        verdict = check_linearizable(self.history, KeyValue(), step_limit=STEPS)
        world.require(verdict.answer != "violated", "clients see one order of events", str(verdict))

    def _look(self) -> None:
        for name, peer in self.peers.items():
            node = peer._driver.node  # noqa: SLF001 - nobody else has to see it
            self._watch.look(node)
            if node.term > 0:
                self._promised.add(name)
                self._members[name] = node.configuration
        for name, peer in self._suspects.items():
            is_admitted = peer._meeting.is_admitted  # noqa: SLF001 - the same
            promise = "a peer that has lost its disk is refused"
            self.world.require(not is_admitted, promise, f"{name} takes part")

    # Peers

    def _start(self, name: str) -> None:
        if name not in self._started:
            self._started.add(name)
            self.world.start(name, partial(self._serve, name))

    async def _serve(self, machine: str, ports: Host) -> None:
        """Be a peer, again and again where the disk fails, and another one where it is lost."""
        name = self._ids.setdefault(machine, machine)
        self.peers.pop(name, None)
        self._suspects.pop(name, None)
        before = self._members.pop(name, None)
        if before is not None:
            self._lose_disk(name, before)
        while True:
            try:
                await self._be_peer(name, ports)
            except (JournalFailed, AddressError):
                pass
            except LostStorage as error:
                self.world.note(f"{name} is refused by {error.by}")
                self._refused.append(name)
                name = self._ids[machine] = successor_of(name)
            await ports.clock.sleep(REST_SECONDS)

    def _lose_disk(self, name: str, members: raft.Configuration) -> None:
        """Lose the disk of a peer that has crashed, if this world bears that."""
        rest = self._losses.rest(self.voters)
        seen = [members, *(peer.members for peer in self.peers.values())]
        seen += self._watch.members_in_doubt()
        if (
            members.is_voter(name)
            and self._promised.issuperset(rest)
            and self._losses.strikes(name, seen)
        ):
            self.world.note(f"{name} has lost its disk")
            self._watch.lost(name)

    async def _be_peer(self, name: str, ports: Host) -> None:
        is_lost = name in self._losses.names
        config = raft.PeerConfig(
            id=name,
            members=self.voters if name in self.voters else (),
            places=tuple(raft.Place(other, other, PORT) for other in self.voters),
            is_new=self._losses.is_sworn and not is_lost,
            host=self.world.machines[host_of(name)].address,
            port=PORT,
            tick_seconds=TICK_SECONDS,
            snapshot_entries=self._snapshot_entries,
            raft=self._config,
        )
        directory = f"/data/{name}/{'again' if is_lost else 'first'}"
        async with open_disk_storage(directory, cluster="raft", node=name, ports=ports) as disk:
            mirror = Mirror(disk, await disk.load())
            machine = Machine(self._ledger, name)
            async with raft.open_peer(
                config, machine, storage=mirror, recorder=self._recorder, ports=ports
            ) as peer:
                watch_driver(self._watch, peer._driver, mirror, is_lost=is_lost)  # noqa: SLF001 - see above
                running = self._suspects if is_lost else self.peers
                running[name] = peer
                try:
                    await trio.Event().wait()
                finally:
                    if running.get(name) is peer:
                        del running[name]

    def up(self) -> list[raft.Peer[Machine]]:
        """Return the peers that run."""
        machines = self.world.machines
        return [peer for name, peer in self.peers.items() if machines[host_of(name)].is_up]

    async def _replace_lost(self) -> None:
        """Have whoever was refused removed, and its machine added under its new id."""
        while True:
            await trio.sleep(REST_SECONDS)
            for peer in self.up():
                members = peer.members
                gone = [name for name in self._refused if name in members.members]
                new = [successor_of(name) for name in self._refused]
                added = [n for n in new if n in self.peers and n not in members.members]
                if not (peer.is_leader and (gone or added)):
                    continue
                rest = self._losses.rest
                refused = (ChangeRefused, NotLeader, LeadershipLost, PeerStopped, InvalidParameter)
                with suppress(*refused), trio.move_on_after(1):
                    learners = rest({*members.learners, *added} - {*gone})
                    await peer.change_members(rest(set(members.voters) - {*gone}), learners)

    async def _meddle(self) -> None:
        """Change members, hand leadership over and take snapshots."""
        rng, world = self._rng, self.world
        while world.now() < world.plan.heal_at:
            await trio.sleep(rng.random() * MEDDLING_SECONDS)
            up = self.up()
            members = [peer for peer in up if peer.members.voters]
            if not members:
                continue
            peer = rng.choice([peer for peer in members if peer.is_leader] or members)
            with (
                suppress(ChangeRefused, NotLeader, TransferRefused, LeadershipLost, PeerStopped),
                trio.move_on_after(1),
            ):
                kind = rng.random()
                if kind < 0.3:  # noqa: PLR2004 - one way or the other
                    await peer.snapshot()
                elif kind < 0.5:  # noqa: PLR2004 - the same
                    await peer.transfer_leadership(rng.choice(peer.members.voters))
                else:
                    await self._change_members(peer)

    async def _change_members(self, peer: raft.Peer[Machine]) -> None:
        rng, members = self._rng, peer.members
        if not {*self._losses.names}.isdisjoint(members.members):
            return
        strangers = [n for n in self._losses.rest(self.names) if n not in members.members]
        voters = list(members.voters)
        if members.learners and rng.random() < 0.6:  # noqa: PLR2004 - mostly
            await peer.promote(rng.choice(members.learners))
        elif strangers and rng.random() < 0.6:  # noqa: PLR2004 - mostly
            name = rng.choice(strangers)
            self._start(name)
            await peer.add_learner(name)
        elif len(voters) > 1:
            voters.remove(rng.choice(voters))
            await peer.change_members(voters, members.learners)

    # Clients

    async def _be_client(self, name: str, ports: Host) -> None:
        """Do one operation after the other, and remember what came of it."""
        world = self.world
        rng = world.rng(name, world.machines[name].lives)
        addresses = [(other, PORT) for other in self.names]
        number = 0
        async with raft.open_client(
            addresses, attempt_seconds=ATTEMPT_SECONDS, ports=ports
        ) as client:
            while True:
                await ports.clock.sleep(rng.random() * REST_SECONDS)
                number += 1
                value = f"{name}.{world.machines[name].lives}.{number}"
                call, command = _draw(rng, value)
                invocation = self.history.invoke(name, call)
                try:
                    if call.name == "get":
                        if self.peers and rng.random() < 0.5:  # noqa: PLR2004 - any peer may read
                            peer = rng.choice([*self.peers])
                            client._endpoints.leader = (host_of(peer), PORT)  # noqa: SLF001 - asked first
                        data = await client.read(command, timeout_seconds=PATIENCE_SECONDS)
                    else:
                        data = await client.propose(command, timeout_seconds=PATIENCE_SECONDS)
                        self._ledger.answered(name, command)
                except (NoAnswer, SessionExpired):
                    continue
                invocation.ok(_result(call, data))
                self.answers_after_heal[name] += world.now() >= world.plan.heal_at

    # The end

    async def _require_end(self) -> None:
        """Wait until clients are answered and all members have caught up."""
        with trio.move_on_after(END_SECONDS):
            while self._missing():  # noqa: ASYNC110 - what is waited for has no event
                await trio.sleep(REST_SECONDS)
        missing = self._missing()
        self.world.require(not missing, "the cluster works in the end", missing)

    def _missing(self) -> str:
        up = self.up()
        leader = max(
            (peer for peer in up if peer.is_leader), key=lambda p: p.status().term, default=None
        )
        if leader is None:
            return "nobody leads"
        for name, answers in self.answers_after_heal.items():
            if not answers:
                return f"{name} has no answer"
        if leader.members.is_joint:
            return f"{leader.members}"
        return self._missing_losses(leader) or self._missing_entries(leader)

    def _missing_losses(self, leader: raft.Peer[Machine]) -> str:
        """Say who has lost its disk and was not replaced."""
        for name in sorted(self._losses.names):
            if name not in self._refused:
                return f"{name} has lost its disk and is not refused"
            if name in leader.members.members:
                return f"{name} is refused and still a member"
            if successor_of(name) not in self._promised:
                return f"{successor_of(name)} has not taken the place of {name}"
        return ""

    def _missing_entries(self, leader: raft.Peer[Machine]) -> str:
        """Say who has not caught up."""
        for name in self._losses.rest(leader.members.members):
            applied = self.peers[name].report().applied if name in self.peers else 0
            if applied < leader.report().commit - 5:
                return f"{name} has applied {applied} of {leader.report().commit}"
        return ""


def _draw(rng: random.Random, value: str) -> tuple[Call, bytes]:
    key, kind = rng.choice(KEYS), rng.random()
    name = key.encode()
    if kind < 0.5:  # noqa: PLR2004 - half are reads
        return KeyValue.get(key), encode(Get(name))
    if kind < 0.8:  # noqa: PLR2004 - most others are writes
        return KeyValue.put(key, value), encode(Put(name, value.encode()))
    expected = f"c{rng.randrange(1, 4)}.1.{rng.randrange(20)}"
    command = CompareAndSet(name, expected.encode(), value.encode())
    return KeyValue.cas(key, expected, value), encode(command)


def _result(call: Call, data: bytes) -> bool | str | None:
    result = decode_result(data)
    if isinstance(result, Found):
        return result.items[0].value.decode() if result.items else None
    assert isinstance(result, Changed)  # noqa: S101 - what else follows a change
    return result.done if call.name == "cas" else None
