"""Deliberate bugs in the cores of the store: records, clocks, digests, and who is told what."""

from typing import Any, Final
from unittest.mock import patch

from tests.ablations.patching import Bugs, ablations_of, replaced
from trio440.kv import hlc, peers, sync
from trio440.kv.digests import ROOT
from trio440.kv.feed import Feed
from trio440.kv.hlc import COUNTER_BITS, HybridClock, pack
from trio440.kv.peers import Peer
from trio440.kv.records import Record, Records
from trio440.kv.replica import Replica
from trio440.kv.siblings import hidden_dot, latest_stamp
from trio440.kv.sync import Replication

__all__ = ["ABLATIONS"]

KEPT_FOR_LATER: Final = 5
"""The place of a child among its siblings in the tree of digests."""
FAN_OUT: Final = 32


# Who wins


def equal_stamps_have_no_tie_break() -> Any:
    """Of two writes with one stamp the first to come stays."""
    return patch.object(Record, "is_before", lambda self, stamp, _writer: self.stamp < stamp)


def the_last_to_come_wins() -> Any:
    """Of two writes with one stamp the last to come stays, whoever took it."""
    return patch.object(Record, "is_before", lambda self, stamp, _writer: self.stamp <= stamp)


def a_second_write_in_one_millisecond_loses() -> Any:
    """A clock stands still within a millisecond."""

    def following(self: HybridClock, now_ms: int) -> int:
        self.last = max(self.last, pack(now_ms))
        return self.last

    return patch.object(HybridClock, "next", following)


def a_full_counter_begins_anew() -> Any:
    """The counter of a clock does not run over into the milliseconds."""

    def following(self: HybridClock, now_ms: int) -> int:
        counter = (self.last + 1) & ((1 << COUNTER_BITS) - 1)
        self.last = max((self.last >> COUNTER_BITS << COUNTER_BITS) + counter, pack(now_ms))
        return self.last

    return patch.object(HybridClock, "next", following)


def a_client_s_clock_is_ignored() -> Any:
    """A write may be older than what its client has read."""

    def make(real: Any) -> Any:
        return lambda self, _seen, operations, now_ms: real(self, 0, operations, now_ms)

    return replaced(Replica, "execute", make)


def what_is_told_moves_no_clock() -> Any:
    """A replica's clock follows its clients' only, not what other replicas tell."""

    def make(real: Any) -> Any:
        def receive(self: Replication, message: Any, now_us: int, now_ms: int) -> Any:
            before = self.replica.clock.last
            found = real(self, message, now_us, now_ms)
            self.replica.clock.last = before
            return found

        return receive

    return replaced(Replication, "receive", make)


def no_clock_is_too_far_ahead() -> Any:
    """Any stamp is believed."""
    return patch.object(HybridClock, "_is_ahead", lambda _self, _stamp, _now_ms: False)


# What goes


def tombstones_go_at_once() -> Any:
    """A deleted key is forgotten."""

    def make(real: Any) -> Any:
        def when(self: Records, record: Record) -> int:
            due: int = real(self, record)
            return due if record.value is not None else hlc.ms_of(record.stamp)

        return when

    return replaced(Records, "_when", make)


def there_is_no_horizon() -> Any:
    """What is older than forgotten tombstones is taken in."""

    def make(real: Any) -> Any:
        def forget(self: Records, key: bytes, record: Record) -> None:
            real(self, key, record)
            self.horizon = 0

        return forget

    return replaced(Records, "_forget", make)


def new_replicas_have_a_past() -> Any:
    """What a new replica is told may be late for it."""

    def make(real: Any) -> Any:
        return lambda self, grace_ms, _born=0: real(self, grace_ms)

    return replaced(Records, "__init__", make)


def who_is_late_is_told_nothing() -> Any:
    """Who holds what was deleted long ago goes on to."""

    def make(real: Any) -> Any:
        return lambda self, rows, now_ms: (real(self, rows, now_ms)[0], [])

    return replaced(Replica, "merge", make)


def times_to_live_are_not_passed_on() -> Any:
    """Elsewhere a key stays for ever."""

    def make(real: Any) -> Any:
        def add(writing: Any, key: bytes, replica: Replica) -> None:
            real(writing, key, replica)
            if writing.rows and writing.rows[-1][0] == key:
                writing.rows[-1] = (*writing.rows[-1][:4], 0)

        return add

    return replaced(peers, "_add", make)


def replicas_take_whatever_they_are_told() -> Any:
    """The bound of keys holds for clients only."""

    def make(real: Any) -> Any:
        def merge(self: Replica, rows: Any, now_ms: int) -> Any:
            every = list(rows)
            found = real(self, every, now_ms)
            for key, value, stamp, writer, expires_ms in every:
                if self.records.merge(key, value, stamp, writer, expires_ms) == "news":
                    self.feed.add(Record(key, value, stamp, writer, expires_ms))
            return found

        return merge

    return replaced(Replica, "merge", make)


# Who is told what


def a_part_of_the_digests_is_skipped() -> Any:
    """Differences in one of 32 parts are never looked into."""

    def make(real: Any) -> Any:
        def differs(self: Peer, node: int, replica: Replica) -> None:
            if node % FAN_OUT != KEPT_FOR_LATER:
                real(self, node, replica)

        return differs

    return replaced(Peer, "differs", make)


def siblings_are_not_told_of_others() -> Any:
    """What a gateway hears stays with it until somebody compares."""

    def make(real: Any) -> Any:
        def pass_on(self: Replication, news: list[bytes], *, is_from_here: bool) -> None:
            if is_from_here:
                real(self, news, is_from_here=True)

        return pass_on

    return replaced(Replication, "_pass_on", make)


def gateways_tell_only_their_own() -> Any:
    """What siblings of a gateway take is told to no other server until somebody compares."""

    def make(real: Any) -> Any:
        def pass_on(self: Replication, news: list[bytes], *, is_from_here: bool) -> None:
            if not is_from_here:
                real(self, news, is_from_here=False)

        return pass_on

    return replaced(Replication, "_pass_on", make)


def new_servers_are_told_to_nobody() -> Any:
    """A question does not say who asks, nor whom else the asker knows."""

    def make(real: Any) -> Any:
        def write(self: Peer, replica: Replica, me: Any) -> Any:
            found = real(self, replica, me)
            found.servers = ()
            return found

        return write

    return replaced(Peer, "write", make)


def later_lives_of_servers_are_not_learnt() -> Any:
    """A server is known as what it was first."""

    def make(real: Any) -> Any:
        def learn(
            self: Replication, server: Any, due_us: int, recent: Any, *, is_certain: bool
        ) -> None:
            if server.address not in self._servers:
                real(self, server, due_us, recent, is_certain=is_certain)

        return learn

    return replaced(Replication, "_learn", make)


def who_is_away_is_never_asked_again() -> Any:
    """A server that once did not answer is given up until it asks."""

    def make(real: Any) -> Any:
        def ask(self: Replication, peer: Peer, questions: Any, now_us: int) -> None:
            real(self, peer, questions, now_us)
            if questions.is_away:
                peer.asks = False
                questions.due_us = now_us + (1 << 50)

        return ask

    return replaced(Replication, "_ask", make)


# How much is said


def messages_have_no_rate() -> Any:
    """Whatever is due is told at once."""
    return patch.object(sync, "GAP_US", 0)


def messages_burst_at_first() -> Any:
    """The rate holds from the twelfth message on."""

    bursts: dict[Peer, int] = {}

    def make(real: Any) -> Any:
        def messages(self: Replication, now_us: int) -> Any:
            found = real(self, now_us)
            for ref, _ in found:
                peer = self._peers[ref]
                count = bursts[peer] = bursts.get(peer, 0) + 1
                if count < 12:
                    peer.next_us = now_us
            return found

        return messages

    return replaced(Replication, "messages_to_send", make)


def everything_is_told_all_the_time() -> Any:
    """Each message has the whole state."""

    def make(real: Any) -> Any:
        def messages(self: Replication, now_us: int) -> Any:
            for peer in self._peers.values():
                if now_us >= peer.next_us:
                    peer.streams[ROOT] = None
            return real(self, now_us)

        return messages

    return replaced(Replication, "messages_to_send", make)


# What watches are told


def ends_that_others_tell_are_no_change() -> Any:
    """A watch does not hear of a key whose time was over elsewhere first."""

    def make(real: Any) -> Any:
        def merge(self: Records, *row: Any) -> str:
            found: str = real(self, *row)
            return "old" if found == "over" else found

        return merge

    return replaced(Records, "merge", make)


def positions_are_off_by_one() -> Any:
    """Who reads on gets the last change again."""

    def make(real: Any) -> Any:
        def since(self: Feed, number: int, prefix: bytes, most_bytes: int) -> Any:
            return real(self, max(self.forgotten, number - 1), prefix, most_bytes)

        return since

    return replaced(Feed, "since", make)


def a_change_that_does_not_fit_is_skipped() -> Any:
    """Who reads in pieces goes on behind the first change that had no room."""

    def make(real: Any) -> Any:
        def since(self: Feed, number: int, prefix: bytes, most_bytes: int) -> Any:
            found, until = real(self, number, prefix, most_bytes)
            return found, min(until + 1, self.last)

        return since

    return replaced(Feed, "since", make)


def the_history_has_no_bound() -> Any:
    """Changes are never given up."""

    def add(self: Feed, record: Record) -> None:
        self.last += 1
        self._changes.append(record)

    return patch.object(Feed, "add", add)


# Siblings


def a_sibling_replaces_all_that_are_there() -> Any:
    """What a client has not read is replaced, too."""

    def make(real: Any) -> Any:
        def replace(self: Replica, key: bytes, dots: Any, now_ms: int) -> None:
            every = {*dots, *map(hidden_dot, self.records.siblings_of(key))}
            written = self.clock.last
            real(self, key, [dot for dot in every if latest_stamp([dot]) < written], now_ms)

        return replace

    return replaced(Replica, "_replace", make)


def a_sibling_replaces_nothing() -> Any:
    """What a client has read stays."""
    return patch.object(Replica, "_replace", lambda _self, _key, _dots, _now_ms: None)


BUGS: Final[Bugs] = {
    a_sibling_replaces_all_that_are_there: ("replaces siblings unread", "calm", 10),
    a_sibling_replaces_nothing: ("replaces no siblings", "calm", 10),
    equal_stamps_have_no_tie_break: ("keeps the first of two equal stamps", "calm", 80, 35),
    the_last_to_come_wins: ("keeps the last of two equal stamps", "calm", 60, 25),
    a_second_write_in_one_millisecond_loses: ("gives a stamp twice", "calm", 10),
    a_full_counter_begins_anew: ("goes back when a counter is full", "calm", 10),
    a_client_s_clock_is_ignored: ("ignores the clocks of clients", "clocks", 10),
    what_is_told_moves_no_clock: ("ignores the clocks of replicas", "clocks", 40),
    no_clock_is_too_far_ahead: ("believes any clock", "calm", 10),
    tombstones_go_at_once: ("forgets what was deleted", "hostile", 20),
    there_is_no_horizon: ("takes what was deleted long ago", "hostile", 60),
    new_replicas_have_a_past: ("refuses what was there before", "calm", 80, 30),
    who_is_late_is_told_nothing: ("lets old keys live on elsewhere", "hostile", 60),
    times_to_live_are_not_passed_on: ("tells no time to live", "calm", 10),
    replicas_take_whatever_they_are_told: ("bounds no replica", "hostile", 20),
    a_part_of_the_digests_is_skipped: ("skips a part of the digests", "hostile", 40, 25),
    siblings_are_not_told_of_others: ("tells siblings nothing from others", "calm", 20),
    gateways_tell_only_their_own: ("tells others nothing of siblings", "calm", 20),
    new_servers_are_told_to_nobody: ("tells nobody of new servers", "calm", 10),
    later_lives_of_servers_are_not_learnt: ("knows first lives only", "crashes", 10),
    who_is_away_is_never_asked_again: ("gives up who was away", "partitions", 40),
    messages_have_no_rate: ("sends at any rate", "calm", 10),
    messages_burst_at_first: ("sends a burst at first", "calm", 10),
    everything_is_told_all_the_time: ("sends everything all the time", "calm", 10),
    ends_that_others_tell_are_no_change: ("hides ends from watches", "hostile", 60),
    positions_are_off_by_one: ("repeats a change", "calm", 5),
    a_change_that_does_not_fit_is_skipped: ("skips a change", "calm", 5),
    the_history_has_no_bound: ("never forgets a change", "calm", 20),
}

ABLATIONS: Final = ablations_of("kv", "A", BUGS)
