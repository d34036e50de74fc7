"""Raft at level A: nodes with disks on a stage, clients with histories, members that change."""

import json
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from trio440.errors import ChangeRefused, NotLeader, ProposalRefused, TransferRefused
from trio440.raft.config import Config
from trio440.raft.node import Node
from trio440.raft.storage import Stored, bootstrap, joining
from trio440.sim.checking.history import History
from trio440.sim.checking.linearizability import check_linearizable
from trio440.sim.checking.models import KeyValue
from trio440.sim.stage import Stage
from trio440.sim.systems.raft_clients import Client
from trio440.sim.systems.raft_losses import Losses, host_of, successor_of
from trio440.sim.systems.raft_meeting import Parcel
from trio440.sim.systems.raft_network import Island, Wire
from trio440.sim.systems.raft_owner import Owner
from trio440.sim.systems.raft_record import record_peers
from trio440.sim.systems.raft_watch import Watch

if TYPE_CHECKING:
    from trio440.raft.state import Role

__all__ = ["PEERS", "draw_config", "play"]

PEERS: Final = ("n1", "n2", "n3", "n4", "n5", "n6", "n7")
DOUBTER: Final = "c4"
CLIENTS: Final = ("c1", "c2", "c3", DOUBTER)
MILLI: Final = 1_000
MEDDLING: Final = 500 * MILLI
"""The members, the leader or a log are changed on purpose after up to so long."""
CUT_OFF: Final = 2_000 * MILLI
STORM: Final = 1_500 * MILLI
"""In some worlds a leader is cut off for up to the first, after up to the second."""
LATE_LEADER: Final = (82, 120)
"""The rates of the first peer's ticks and of all others', in percent."""
REPLACING: Final = 250 * MILLI
"""A lost member is removed, and its successor added, with so long between two attempts."""
TOO_LATE: Final = 2_000 * MILLI
"""Nobody is added so shortly before the end."""
STEPS: Final = 200_000
"""Of the linearizability checker."""


def draw_config(rng: random.Random, *, members_change: bool) -> Config:
    """Draw numbers that make every limit matter.

    Where members change, those who were removed would disturb a cluster without CheckQuorum for
    ever (paper, 6).
    """
    lease_reads = rng.random() < 0.5  # noqa: PLR2004 - often, but not as a rule
    return Config(
        heartbeat_ticks=3,
        election_ticks=12,
        election_ticks_spread=rng.choice([6, 12, 20]),
        no_op=rng.random() < 0.75,  # noqa: PLR2004 - mostly
        pre_vote=rng.random() < 0.7,  # noqa: PLR2004 - mostly
        check_quorum=members_change or lease_reads or rng.random() < 0.7,  # noqa: PLR2004 - mostly
        lease_reads=lease_reads,
        lease_margin_ticks=4,
        eager_commit=rng.random() < 0.8,  # noqa: PLR2004 - mostly
        max_append_bytes=rng.choice([1, 200, 1_000, 1 << 20]),
        max_inflight_messages=rng.choice([1, 2, 8, 64]),
        max_inflight_bytes=rng.choice([200, 1 << 20]),
        max_apply_entries=rng.choice([1, 5, 1_000]),
        snapshot_chunk_bytes=rng.choice([50, 200, 10_000]),
        keep_entries=rng.choice([0, 0, 5]),
    )


def play(stage: Stage) -> None:
    """Let clients write and read while everything goes wrong, and then require an end."""
    game = _Game(stage)
    stage.run()
    game.require_liveness()


class _Game:
    """One world."""

    def __init__(self, stage: Stage) -> None:
        """Switch the first members on, and let the clients begin."""
        rng = stage.rng("game")
        self.stage = stage
        self.history = History(lambda: stage.now)
        meddles = rng.random() < 0.7  # noqa: PLR2004 - mostly
        self.config = draw_config(rng, members_change=meddles)
        self.watch = Watch(stage.require, self.config)
        self.owners: dict[str, Owner] = {}
        self._rng = rng
        self._wire = Wire(stage, self._deliver, over_streams=rng.random() < 0.5)  # noqa: PLR2004 - a fair coin
        self._losses = Losses(stage.rng("losses"), may_happen=meddles)
        self._on: dict[str, Owner] = {}
        """The last peer on each machine."""
        self._rates = rng.choice([(100,), (100,), (82, 100, 120), (82, 120), LATE_LEADER])
        self._disks_misread = rng.random() < 0.2  # noqa: PLR2004 - few
        self._roles: dict[str, tuple[Role, int]] = {}
        self.recorder = record_peers(stage.record, lambda: stage.now, PEERS)
        stage.note("", f"{self.config}")
        voters = PEERS[: rng.choice([3, 3, 5, 5, 7])]
        self._ids = list(voters)
        self._first = voters
        for name in voters:
            self._switch_on(name, joins=False)
        self.clients = [
            Client(stage, name, self.history, self.watch, self.up, doubts=name == DOUBTER)
            for name in CLIENTS
        ]
        if not self.config.no_op:
            stage.at(stage.plan.heal_at + MEDDLING, self._write_something)
        if meddles:
            stage.at(rng.randrange(2 * MEDDLING), self._meddle)
        if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
            stage.at(rng.randrange(STORM), self._storm)

    def _switch_on(self, name: str, *, joins: bool) -> None:
        stage, host = self.stage, host_of(name)
        if name not in self._ids:
            self._ids.append(name)
        if host not in self._on:
            self._wire.listen(host)
            stage.on_crash(host, partial(self._crash, host))
            stage.on_restart(host, partial(self._restart, host))
        self.owners[name] = self._on[host] = Owner(
            stage,
            self,
            self.watch,
            name,
            self.config,
            self._empty(joins=joins),
            host=host,
            rate=self._draw_rate(),
            misreads=self._disks_misread,
            is_new=self._losses.is_sworn and not joins,
            recorder=self.recorder,
        )

    def _draw_rate(self) -> int:
        """Draw how fast a peer's ticks are; the first peer may be the only slow one."""
        if self._rates == LATE_LEADER:
            return LATE_LEADER[bool(self.owners)]
        return self._rng.choice(self._rates)

    def _empty(self, *, joins: bool) -> Stored:
        """Return what is on a disk that is new."""
        store = self._losses.draw_store()
        return joining(store) if joins else bootstrap(self._first, store=store)

    # Lost disks

    def _crash(self, host: str) -> None:
        owner = self._on[host]
        seen = [one.node.configuration for one in self.owners.values() if one.has_begun]
        seen += self.watch.members_in_doubt()
        is_voter = owner.has_begun and owner.node.configuration.is_voter(owner.name)
        rest = self._losses.rest(self._first)
        # In the midst of the first start the others would wait for its consent for ever.
        is_formed = all(self.owners[name].disk.load().has_promised for name in rest)
        owner.crash()
        if is_voter and is_formed and self._losses.strikes(owner.name, seen):
            self.stage.note(host, f"{owner.name} has lost its disk")
            self.watch.lost(owner.name)
            owner.lose_disk(self._empty(joins=owner.name not in self._first))

    def _restart(self, host: str) -> None:
        self._on[host].switch_on()

    def refused(self, owner: Owner) -> None:
        """Have a peer that was refused replaced by another one on its machine."""
        by = owner.meeting.admission.refused_by
        self.stage.note(owner.host, f"{owner.name} is refused by {by}")
        self._replace(owner.name, successor_of(owner.name))

    def _replace(self, old: str, new: str) -> None:
        """Let a leader remove a peer and add its successor, again and again until that is done."""
        stage, lost = self.stage, self._losses
        if new not in self.owners and stage.is_up(host_of(new)):
            self._switch_on(new, joins=True)
        leader = self.leader()
        if leader is not None:
            members = leader.node.configuration
            known = new in members.members or new in lost.names
            if (old not in members.members and known) or stage.now > stage.duration - TOO_LATE:
                return
            added = [new] if new in self.owners and not known else []
            learners = lost.rest([*members.learners, *added])
            self._change(leader, lost.rest(members.voters), learners)
        stage.at(stage.now + REPLACING, partial(self._replace, old, new))

    def _change(self, leader: Owner, voters: list[str], learners: list[str]) -> None:
        self.stage.note(leader.host, f"wants voters {voters}, learners {learners}")
        leader.catch_up()
        try:
            leader.node.change_membership(voters, learners, leader.meeting.met)
        except (ChangeRefused, NotLeader) as error:
            self.stage.note(leader.host, f"refused: {error}")
        leader.pump()

    # The network

    def peers(self) -> tuple[str, ...]:
        """Return the ids of all peers that there are, or were."""
        return tuple(self._ids)

    def carry(self, parcel: Parcel, store: int) -> None:
        """Send something over the stage's network; what is not there goes nowhere."""
        if parcel.to in self._ids:
            self._wire.carry(parcel, store)

    def _deliver(self, host: str, parcel: Parcel, store: int) -> None:
        owner = self._on[host]
        if parcel.to == owner.name:
            owner.receive(parcel, store)
            self._note_role(owner.node)

    def _note_role(self, node: Node) -> None:
        state = (node.role, node.term)
        if self._roles.get(node.id) != state:
            self._roles[node.id] = state
            text = f"{node.role.value} of term {node.term}"
            self.stage.note(host_of(node.id), text, kind="state")

    # What happens on purpose

    def leader(self) -> Owner | None:
        """Return the leader of the latest term that is up, if there is one."""
        up = [owner for owner in self.owners.values() if owner.has_begun]
        leading = [owner for owner in up if owner.node.is_leader]
        return max(leading, key=lambda owner: owner.node.term, default=None)

    def up(self) -> list[Owner]:
        """Return the peers that can be asked something; those that are paused answer later."""
        return [owner for owner in self.owners.values() if owner.has_begun]

    def _write_something(self) -> None:
        """Begin a leader's term where leaders do not do it: else nobody may read."""
        self.stage.at(self.stage.now + MEDDLING, self._write_something)
        leader = self.leader()
        if leader is not None and leader.node.log.last_term < leader.node.term:
            command = json.dumps(["c0", self.stage.now, "put", "z", [""]])
            with suppress(ProposalRefused):  # leadership is on its way to another peer
                leader.node.propose(command.encode())
            leader.pump()

    def _meddle(self) -> None:
        stage, rng = self.stage, self._rng
        if stage.now < stage.plan.heal_at:
            stage.at(stage.now + rng.randrange(MEDDLING), self._meddle)
        up = [owner for owner in self.up() if not stage.is_paused(owner.host)]
        if not up:
            return
        if rng.random() < 0.4:  # noqa: PLR2004 - snapshots are frequent
            rng.choice(up).snapshot()
            return
        leaders = [owner for owner in up if owner.node.is_leader]
        if not leaders:
            return
        leader = rng.choice(leaders)
        leader.catch_up()
        try:
            if rng.random() < 0.3:  # noqa: PLR2004 - so are transfers
                to = rng.choice(leader.node.configuration.voters)
                leader.node.transfer_leadership(to)
                stage.note(leader.host, f"transfers to {to}")
                if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
                    self._cut_off(leader, is_mute=False)
            elif not self._losses.names.intersection(leader.node.configuration.members):
                self._change_members(leader)
        except (TransferRefused, NotLeader) as error:
            stage.note(leader.host, f"refused: {error}")
        leader.pump()

    def _storm(self) -> None:
        """Cut off a leader, again and again."""
        stage = self.stage
        if stage.now < stage.plan.heal_at:
            stage.at(stage.now + self._rng.randrange(STORM), self._storm)
            leader = self.leader()
            if leader is not None and stage.now >= self._wire.island.until:
                self._cut_off(leader, is_mute=True)

    def _cut_off(self, leader: Owner, *, is_mute: bool) -> None:
        """Let a leader not hear what becomes of its leadership, or not be heard any more."""
        stage, rng = self.stage, self._rng
        others = [name for name in self.owners if name != leader.name]
        companions = rng.sample(others, min(len(others), rng.choice([0, 0, 1, 2])))
        island = Island(
            names=frozenset({leader.name, *(companions if is_mute else ())}),
            until=min(stage.now + rng.randrange(CUT_OFF), stage.plan.heal_at),
            is_deaf=not is_mute or rng.random() < 0.8,  # noqa: PLR2004 - mostly
            is_mute=is_mute,
            holds=rng.random() < 0.3,  # noqa: PLR2004 - some
        )
        self._wire.island = island
        stage.note(leader.host, f"is cut off: {sorted(island.names)} until {island.until}")

    def _change_members(self, leader: Owner) -> None:
        """Add, promote, demote, remove or swap, or several of these at once."""
        rng, configuration = self._rng, leader.node.configuration
        voters, learners = list(configuration.voters), list(configuration.learners)
        strangers = [n for n in self._losses.rest(PEERS) if n not in configuration.members]
        ready = [name for name, peer in leader.node.status().peers.items() if peer.is_caught_up]
        for _ in range(rng.choice([1, 1, 2, 3])):
            choice = rng.random()
            if ready and choice < 0.4:  # noqa: PLR2004 - promote, if somebody is ready
                name = ready.pop(0)
                voters.append(name)
                learners.remove(name)
            elif learners and choice < 0.45:  # noqa: PLR2004 - promote in vain, as a rule
                name = rng.choice(learners)
                ready = [one for one in ready if one != name]
                voters.append(name)
                learners.remove(name)
            elif strangers and choice < 0.6:  # noqa: PLR2004 - add
                name = strangers.pop(rng.randrange(len(strangers)))
                learners.append(name)
            elif learners and choice < 0.7:  # noqa: PLR2004 - remove a learner
                learners.remove(rng.choice([n for n in learners if n not in ready] or learners))
                ready = [name for name in ready if name in learners]
            elif len(voters) > 1:
                name = rng.choice(voters)
                voters.remove(name)
                if rng.random() < 0.3:  # noqa: PLR2004 - some are only demoted
                    learners.append(name)
        for name in learners:
            if name not in self.owners and self.stage.is_up(host_of(name)):
                self._switch_on(name, joins=True)
        learners = [name for name in learners if name in self.owners]
        self._change(leader, voters, learners)

    # What is required in the end

    def require_liveness(self) -> None:
        """Require that the cluster has healed, and that clients saw one order of events."""
        require = self.stage.require
        self.watch.look_at_all(owner.node for owner in self.owners.values() if owner.has_begun)
        for name in sorted(self._losses.names):
            shown = f"{name} lost its disk"
            require(self.owners[name].meeting.is_over, "a lost disk is found out", shown)
        leader = self.leader()
        require(leader is not None, "there is a leader in the end", "nobody leads")
        assert leader is not None  # noqa: S101 - required above
        for client in self.clients:
            shown = f"{client.name} got {client.done_after_heal} answers after the last fault"
            require(client.done_after_heal >= 1, "commands are carried out in the end", shown)
        configuration, commit = leader.node.configuration, leader.node.commit
        shown = f"{configuration}"
        require(not configuration.is_joint, "a change is completed in the end", shown)
        behind = [
            f"{name} has applied {self.owners[name].applied} of {commit}"
            for name in self._losses.rest(configuration.members)
            if self.owners[name].applied < commit - 2
        ]
        require(not behind, "everybody catches up in the end", ", ".join(behind))
        verdict = check_linearizable(self.history, KeyValue(), step_limit=STEPS)
        require(verdict.answer != "violated", "clients see one order of events", str(verdict))
