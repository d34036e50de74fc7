"""Deliberate bugs in Raft: each breaks a rule that somebody's implementation has broken."""

from typing import Any, Final
from unittest.mock import patch

import attrs

from tests.ablations.patching import Bugs, ablations_of, replaced
from trio440.raft import node, replication
from trio440.raft.acquaintance import Acquaintances, Admission, Opinion, Verdict
from trio440.raft.election import Election
from trio440.raft.following import Following
from trio440.raft.log import Log
from trio440.raft.membership import Configuration, Configurations, plan_change
from trio440.raft.messages import Append, AppendReply, RequestVote, SnapshotMeta, VoteReply
from trio440.raft.node import Node
from trio440.raft.progress import Progress
from trio440.raft.quorum import agreed_index
from trio440.raft.ready import Ready
from trio440.raft.replication import Replication
from trio440.raft.state import State
from trio440.sim.systems.raft_disk import Disk, Note

__all__ = ["ABLATIONS"]


# What is durable when


def everything_leaves_before_the_sync() -> Any:
    """What promises something leaves beside the write that it depends on."""
    return replaced(
        State,
        "send_after_sync",
        lambda _: lambda self, message: self.messages_now.append(message),
    )


def votes_leave_before_the_sync() -> Any:
    def make(real: Any) -> Any:
        def send(self: State, message: Any) -> None:
            early = isinstance(message, VoteReply) and message.to != self.id
            (self.messages_now.append if early else self.messages_after_sync.append)(message)

        return send

    return replaced(State, "send_after_sync", make)


def append_replies_leave_before_the_sync() -> Any:
    def make(real: Any) -> Any:
        def send(self: State, message: Any) -> None:
            early = isinstance(message, AppendReply)
            (self.messages_now.append if early else self.messages_after_sync.append)(message)

        return send

    return replaced(State, "send_after_sync", make)


def _unkept(**nothing: Any) -> Any:
    """Leave a part of every Ready unwritten."""

    def make(real: Any) -> Any:
        def apply(self: Disk, write: Any) -> Any:
            if isinstance(write, Ready):
                write = attrs.evolve(write, **nothing)
            return real(self, write)

        return apply

    return replaced(Disk, "_apply", make)


def term_and_vote_are_not_stored() -> Any:
    return _unkept(hard_state=None)


def hard_state_needs_no_sync() -> Any:
    """A vote without entries is written and not synced."""

    def make(real: Any) -> Any:
        def ready(self: Node) -> Ready | None:
            found: Ready | None = real(self)
            return found and attrs.evolve(found, must_sync=bool(found.entries))

        return ready

    return replaced(Node, "ready", make)


def leader_counts_itself_before_its_sync() -> Any:
    """Entries count for the leader as soon as they are in its memory."""

    def commit(self: Replication) -> bool:
        state, log = self._state, self._state.log
        reached = {peer: progress.match for peer, progress in self.progress.items()}
        reached[state.id] = log.last_index
        index = agreed_index(state.majorities, reached)
        return index > log.commit and log.term(index) == state.term and log.commit_to(index)

    return patch.object(Replication, "commit", commit)


def lost_disks_come_back_as_themselves() -> Any:
    """A peer whose directory is empty takes part at once, and asks nobody."""
    return patch.object(Admission, "is_granted", property(lambda _: True))


def everybody_consents() -> Any:
    """Who is asked by another store than it knows says that it is the same."""

    def make(real: Any) -> Any:
        def introduced(self: Acquaintances, peer: str, store: int) -> Opinion | None:
            found: Opinion | None = real(self, peer, store)
            return found and attrs.evolve(found, verdict=Verdict.SAME)

        return introduced

    return replaced(Acquaintances, "introduced", make)


def acquaintances_are_not_kept() -> Any:
    """What is noted of others counts at once, and is gone after a crash."""

    def make(real: Any) -> Any:
        def apply(self: Disk, write: Any) -> Any:
            return True if isinstance(write, Note) else real(self, write)

        return apply

    return replaced(Disk, "_apply", make)


# Elections


def votes_for_everybody() -> Any:
    def make(real: Any) -> Any:
        def answer(self: Election, request: RequestVote) -> None:
            if not request.pre:
                self._state.vote = None
            real(self, request)

        return answer

    return replaced(Election, "answer", make)


def votes_for_shorter_logs() -> Any:
    """The election restriction of section 5.4.1 is missing."""
    return patch.object(Log, "is_up_to_date", lambda *_: True)


def half_is_a_majority() -> Any:
    """Two of four, or with oneself two of five: n/2 in the place of n/2 + 1."""

    def agreed(majorities: Any, reached: Any) -> int:
        found: list[int] = []
        for group in majorities:
            numbers = sorted((reached.get(peer, 0) for peer in group), reverse=True)
            found.append(numbers[max(0, (len(group) + 1) // 2 - 1 - (len(group) > 2))])
        return min(found)

    return patch.object(replication, "agreed_index", agreed)


# Replication


def older_terms_are_committed_by_counting() -> Any:
    """Figure 8 of the paper: section 5.4.2 is missing."""

    def commit(self: Replication) -> bool:
        state, log = self._state, self._state.log
        reached = {peer: progress.match for peer, progress in self.progress.items()}
        reached[state.id] = log.stable
        index = agreed_index(state.majorities, reached)
        return index > log.commit and log.commit_to(index)

    return patch.object(Replication, "commit", commit)


def match_is_the_end_of_the_log() -> Any:
    """A follower acknowledges all that it has, not what it was sent."""

    def make(real: Any) -> Any:
        def reply(self: Following, message: Any, index: int, **rest: Any) -> None:
            if isinstance(message, Append) and not rest:
                index = self._state.log.last_index
            real(self, message, index, **rest)

        return reply

    return replaced(Following, "_reply", make)


def prev_term_is_not_compared() -> Any:
    """Any entry at the index before will do."""

    def make(real: Any) -> Any:
        def append(self: Following, message: Append) -> None:
            here = self._state.log.term(message.prev_index)
            if here is not None:
                message = attrs.evolve(message, prev_term=here)
            real(self, message)

        return append

    return replaced(Following, "append", make)


def conflicts_stay() -> Any:
    """A follower keeps entries that differ from the leader's."""

    def merge(self: Log, entries: Any) -> int | None:
        new = [entry for entry in entries if entry.index > self.last_index]
        self._append(new)
        return new[0].index if new else None

    return patch.object(Log, "merge", merge)


def commit_is_taken_as_it_comes() -> Any:
    """A follower commits what the leader says, up to its own end, whatever was sent."""

    def make(real: Any) -> Any:
        def append(self: Following, message: Append) -> None:
            real(self, message)
            log = self._state.log
            if self._state.installing is None:
                log.commit_to(min(message.commit, log.last_index))

        return append

    return replaced(Following, "append", make)


def heartbeats_commit_everything() -> Any:
    """A heartbeat carries the leader's commit, not what this follower is known to have."""

    def make(real: Any) -> Any:
        def heartbeat(self: Following, message: Any) -> None:
            commit = min(self._state.log.last_index, message.commit + 1)
            real(self, attrs.evolve(message, commit=commit))

        return heartbeat

    return replaced(Following, "heartbeat", make)


def applied_before_it_is_durable() -> Any:
    def take_committed(self: Log, limit: int) -> Any:
        end = min(self.commit + 1, self.last_index, self.applied + limit)
        if end <= self.handed:
            return ()
        entries = self.entries(self.handed + 1, end)
        self.handed = end
        return entries

    return patch.object(Log, "take_committed", take_committed)


def lost_appends_stay_lost() -> Any:
    """Nothing shows a leader that what it has sent ahead is gone."""
    return replaced(Progress, "heartbeat_answered", lambda _real: lambda _self: None)


# Membership


def joint_consensus_counts_the_new_voters_only() -> Any:
    def majorities(self: Configuration) -> Any:
        return (self.voters,)

    return patch.object(Configuration, "majorities", property(majorities))


def every_change_is_made_in_one_step() -> Any:
    """No joint configuration, however many voters change."""

    def plan(current: Any, voters: Any, learners: Any, met: Any = None) -> Configuration:
        return Configuration(voters=voters, learners=learners, stores=current.stores)

    return patch.object(node, "plan_change", plan)


def changes_overlap() -> Any:
    """A change begins before the one before it is committed."""

    def change(self: Node, voters: Any, learners: Any = (), met: Any = None) -> tuple[int, int]:
        self._roles.require_leading()
        return self._roles.reconfigure(plan_change(self.configuration, voters, learners, met))

    return patch.object(Node, "change_membership", change)


def overwritten_configurations_stay() -> Any:
    """A configuration whose entry is gone still counts."""
    return patch.object(Configurations, "truncate", lambda *_: None)


def snapshot_without_its_configuration() -> Any:
    """A snapshot says that the members are those of the snapshot before."""

    def make(real: Any) -> Any:
        def describe(self: Node, *args: int) -> SnapshotMeta:
            meta: SnapshotMeta = real(self, *args)
            return attrs.evolve(meta, configuration=self._state.snapshot.configuration)

        return describe

    return replaced(Node, "describe_snapshot", make)


def half_done_changes_stay_half_done() -> Any:
    """Nobody leaves a joint configuration."""

    def make(real: Any) -> Any:
        def completed(self: Configuration) -> Configuration:
            return self

        return completed

    return replaced(Configuration, "completed", make)


def removed_peers_never_campaign() -> Any:
    """Who is removed by an entry that only it has waits for ever."""

    def may_campaign(self: State) -> bool:
        return self.installing is None and self.configurations.current.is_voter(self.id)

    return patch.object(State, "may_campaign", property(may_campaign))


# Snapshots


def compaction_past_the_snapshot() -> Any:
    """Entries are forgotten that the snapshot does not hold."""

    def make(real: Any) -> Any:
        def snapshot_persisted(self: Node, meta: SnapshotMeta) -> int:
            index = int(real(self, meta))
            self.log.compact(self.log.commit)
            return index

        return snapshot_persisted

    return replaced(Node, "snapshot_persisted", make)


BUGS: Final[Bugs] = {
    everything_leaves_before_the_sync: ("sends promises before they are durable", "crashes", 5),
    votes_leave_before_the_sync: ("votes before the vote is durable", "crashes", 20),
    append_replies_leave_before_the_sync: ("acknowledges before the sync", "crashes", 5),
    term_and_vote_are_not_stored: ("forgets term and vote in a crash", "crashes", 5),
    hard_state_needs_no_sync: ("votes with a write that is not synced", "crashes", 20),
    leader_counts_itself_before_its_sync: ("counts what is not durable", "hostile", 50),
    lost_disks_come_back_as_themselves: ("takes part with an empty disk", "crashes", 40),
    everybody_consents: ("consents to any store", "crashes", 40),
    acquaintances_are_not_kept: ("forgets in a crash who is who", "blackouts", 400),
    votes_for_everybody: ("votes twice in a term", "hostile", 200),
    votes_for_shorter_logs: ("votes for logs that lack what is committed", "hostile", 400),
    half_is_a_majority: ("takes half for a majority", "hostile", 20),
    older_terms_are_committed_by_counting: ("commits older terms (Figure 8)", "hostile", 400),
    match_is_the_end_of_the_log: ("acknowledges what it was not sent", "hostile", 400, 20),
    prev_term_is_not_compared: ("appends after any entry", "hostile", 400),
    conflicts_stay: ("keeps entries that differ from the leader's", "hostile", 200),
    commit_is_taken_as_it_comes: ("commits what does not match", "hostile", 400, 35),
    heartbeats_commit_everything: ("commits one entry early", "hostile", 20),
    applied_before_it_is_durable: ("applies one entry early", "hostile", 20),
    lost_appends_stay_lost: ("never sends again what was lost", "hostile", 50),
    joint_consensus_counts_the_new_voters_only: ("asks one majority", "hostile", 200, 20),
    every_change_is_made_in_one_step: ("changes many voters at once", "blackouts", 400, 70),
    changes_overlap: ("begins a change within another", "partitions", 400),
    overwritten_configurations_stay: ("keeps members of lost entries", "hostile", 400, 20),
    snapshot_without_its_configuration: ("forgets who was added and removed", "crashes", 200),
    half_done_changes_stay_half_done: ("never completes a change", "calm", 20),
    removed_peers_never_campaign: ("leaves a removal to nobody", "blackouts", 400, 130),
    compaction_past_the_snapshot: ("compacts what no snapshot holds", "hostile", 20),
}

ABLATIONS: Final = ablations_of("raft", "A", BUGS)
"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""
