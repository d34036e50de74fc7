"""Who is told what, and when: how the replicas of a store converge. Pure.

The rules, and the argument for them, are in ``docs/kv-sync.md``:

1. A write goes from the actor that took it to its siblings.
2. For each other server, one actor of a server is its *gateway*: it sends what the actors of its
   own server took, and nothing else, to one actor there, which tells its own siblings.
3. Between two actors there is at most one message in 125 ms, the first at once.
4. What gets lost is found by comparing digests, a while after each burst, and now and then: those
   of a server in a ring, and each gateway with the one at the other end.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, final
from zlib import crc32

from trio440.actors.ref import Ref
from trio440.kv.digests import ROOT
from trio440.kv.hlc import pack
from trio440.kv.peers import GAP_US, Peer
from trio440.kv.questions import Questions, SyncTimes, jitter
from trio440.kv.replica import Replica
from trio440.kv.sync_messages import MOST_SERVERS, NO_ROOT, ServerInfo, Sync

__all__ = ["Replication", "gateway"]

MOST_UNHEARD: Final = 128
"""Servers that others have told of, and that were not heard of themselves: for one more, that of
which was told first is forgotten. If it is there, it will introduce itself."""
RECENT_MS: Final = 5000
"""A server that has just been met is told what its new acquaintance took in this time: what it is
told by others may be older than that."""


def gateway(server: ServerInfo, towards: str) -> Ref[Any]:
    """Return the actor of a server that has to do with the server at an address."""
    return server.ref(server.counters[crc32(towards.encode()) % len(server.counters)])


def _before(now_ms: int) -> int:
    """Return the stamp behind which a write is recent."""
    return pack(max(0, now_ms - RECENT_MS))


@final
class Replication:
    """What one query actor does so that others learn what it knows."""

    def __init__(
        self,
        replica: Replica,
        rng: random.Random,
        times: SyncTimes | None = None,
        sought: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Know nobody; :meth:`meet` says who there is.

        Args:
            replica: what it keeps equal to those of others.
            rng: spreads the questions of many actors over time.
            times: the defaults of :class:`SyncTimes` when None.
            sought: by address, the lives of servers that are looked for: those are asked at once
                for what they have. It may change.
        """
        self.replica: Final = replica
        self.times: Final = times or SyncTimes()
        self.unknown_senders = 0
        """Messages from actors that had not said whose they are."""
        self._rng = rng
        self._sought = sought
        self._me: ServerInfo | None = None
        self._peers: dict[Ref[Any], Peer] = {}
        self._questions: dict[Ref[Any], Questions] = {}
        self._siblings: list[Peer] = []
        self._remotes: list[Peer] = []
        self._servers: dict[str, ServerInfo] = {}
        self._met: set[str] = set()
        self._unheard: dict[str, None] = {}
        """The addresses of servers that only others have told of, in that order."""

    # Who there is

    def meet(self, me: ServerInfo, servers: Iterable[ServerInfo], now_us: int) -> None:
        """Begin: know the own server, whose query actors are siblings, and others.

        Args:
            me: the own server, this actor included.
            servers: those that are known of; the first one is asked at once for what it has.
            now_us: on the actor's clock.
        """
        self._me = me
        counters, own = me.counters, self.replica.ref.counter
        following = counters[(counters.index(own) + 1) % len(counters)]
        for counter in counters:
            if counter != own:
                sibling = Peer(me.ref(counter), is_sibling=True)
                self._add_peer(sibling, now_us, is_asked=counter == following)
        due_us = now_us
        for server in servers:
            self._learn(server, due_us, (), is_certain=True)
            due_us = now_us + self.times.second_us

    @property
    def has_begun(self) -> bool:
        """Whether it knows its own server."""
        return self._me is not None

    @property
    def servers(self) -> tuple[ServerInfo, ...]:
        """The other servers that are known."""
        return tuple(self._servers.values())

    @property
    def strangers(self) -> tuple[str, ...]:
        """The addresses of servers that this actor is to speak with, and has not heard of yet."""
        return tuple(
            peer.ref.address for peer in self._remotes if peer.ref.address not in self._met
        )

    def _learn(
        self, server: ServerInfo, due_us: int, recent: Iterable[bytes], *, is_certain: bool
    ) -> None:
        """Know a server, or another life of it; where it is certain, not by hearsay alone."""
        me, address = self._me, server.address
        if me is None or address == me.address:
            return
        known = self._servers.get(address)
        if known is None:
            if not self._make_room():
                return
        elif known.incarnation >= server.incarnation and not (
            # Somebody has made a later life up.
            is_certain and known.incarnation != server.incarnation and self._is_silent(address)
        ):
            return
        self._forget(address)
        self._servers[address] = server
        if not is_certain:
            self._unheard[address] = None
        for peer in self._peers.values():
            if peer.is_sibling or peer.ref.address in self._met:
                peer.servers[address] = server
        if gateway(me, address) == self.replica.ref:
            peer = Peer(gateway(server, me.address), is_sibling=False)
            peer.servers = {me.address: me}  # of the others once it is there
            peer.pending.update(dict.fromkeys(recent))
            self._add_peer(peer, due_us, is_asked=True)

    def _make_room(self) -> bool:
        """Forget a server for one more, where there are as many as may be."""
        if len(self._unheard) >= MOST_UNHEARD:
            self._forget(next(iter(self._unheard)))
        if len(self._servers) >= MOST_SERVERS:
            silent = next(filter(self._is_silent, self._servers), None)
            if silent is None:
                return False
            self._forget(silent)
        return True

    def _is_silent(self, address: str) -> bool:
        """Whether a server that this actor speaks with is not heard of."""
        return any(
            self._questions[peer.ref].is_away or address not in self._met
            for peer in self._remotes
            if peer.ref.address == address
        )

    def _forget(self, address: str) -> None:
        self._servers.pop(address, None)
        self._unheard.pop(address, None)
        self._met.discard(address)
        for peer in [peer for peer in self._remotes if peer.ref.address == address]:
            self._remotes.remove(peer)
            del self._peers[peer.ref], self._questions[peer.ref]

    def _add_peer(self, peer: Peer, due_us: int, *, is_asked: bool) -> None:
        self._peers[peer.ref] = peer
        self._questions[peer.ref] = Questions(self.times, self._rng, due_us, is_asked)
        (self._siblings if peer.is_sibling else self._remotes).append(peer)

    # What is new

    def written(self, keys: Sequence[bytes]) -> None:
        """Hear that this actor took writes to keys."""
        for peer in self._peers.values():
            for key in keys:
                peer.pending[key] = None

    def receive(self, message: Sync, now_us: int, now_ms: int) -> list[bytes]:
        """Take what another actor tells, and return the keys of which that was news.

        Args:
            message: of a query actor of the store.
            now_us: on the actor's clock.
            now_ms: the time of day.
        """
        me, sender, replica = self._me, message.sender, self.replica
        if me is None:
            return []
        strangers = [each for each in message.servers if self._servers.get(each.address) != each]
        recent = list(replica.feed.recent(_before(now_ms))) if strangers else ()
        for server in strangers:
            # Of two that meet the newcomer asks, which has looked for the other one.
            is_sought = self._sought.get(server.address) == server.incarnation
            due_us = now_us + (0 if is_sought else jitter(self._rng, self.times.longest_us))
            is_own = (server.address, server.incarnation) == (sender.address, sender.incarnation)
            self._learn(server, due_us, recent, is_certain=is_own)
        replica.clock.observe(message.clock, now_ms)
        rows = message.rows()
        ended = [row for row in rows if row[1] is None and replica.loses_late(row, now_ms)]
        news, late = replica.merge(rows[: message.fresh], now_ms)
        self._pass_on(news, is_from_here=sender.address == me.address)
        gaps, more_late = replica.merge(rows[message.fresh :], now_ms)
        if sender.address != me.address:
            self._pass_on(gaps, is_from_here=False)
        for row in ended:  # they are forgotten here before others compare
            for each in self._peers.values():
                each.kill(row)
        peer = self._peers.get(sender)
        if peer is None:
            self.unknown_senders += not message.servers
            return news + gaps
        questions = self._questions[sender]
        if news or gaps:
            questions.news = True
            self._postpone(peer, now_us)
        self._hear(peer, questions, message, now_us)
        for key in (*news, *gaps):
            peer.pending.pop(key, None)
        for row in (*late, *more_late):
            peer.kill(row)
        peer.repair(message.wants, replica)
        peer.compare(message, replica)
        return news + gaps

    def _pass_on(self, news: list[bytes], *, is_from_here: bool) -> None:
        """Owe news to those who are not told by others."""
        if not is_from_here:
            for peer in self._siblings:
                peer.pending.update(dict.fromkeys(news))
        elif self._remotes:
            address = self.replica.ref.address
            for key in news:
                record = self.replica.records.find(key)
                if record is not None and record.writer.address == address:
                    for peer in self._remotes:
                        peer.pending[key] = None

    def _postpone(self, source: Peer, now_us: int) -> None:
        """Ask nobody else while news come."""
        for peer in self._remotes:
            if peer is not source:
                self._questions[peer.ref].postpone(now_us)

    # Who has the same

    def _hear(self, peer: Peer, questions: Questions, message: Sync, now_us: int) -> None:
        """Note that a peer is there, and what it says of being the same."""
        address = peer.ref.address
        if not peer.is_sibling and address not in self._met:
            peer.servers |= self._servers
            peer.servers.pop(address, None)
        self._met.add(address)
        self._unheard.pop(address, None)
        questions.hear(now_us)
        if message.root == NO_ROOT:
            if message.same:
                self._settle(peer, questions, peer.asked, now_us)
            elif questions.asked_us is not None:
                questions.differ()
            return
        if message.root == self._digest():
            peer.agrees = True
            self._settle(peer, questions, message.root, now_us)
        elif questions.asked_us is not None and self.replica.ref > peer.ref:
            pass  # both ask at once: the other one answers
        elif not peer.streams:
            questions.differ_anew(now_us)
            if message.root:
                peer.differs(ROOT, self.replica)
            else:
                peer.streams[ROOT] = None

    def _digest(self) -> int:
        return self.replica.records.tree.digest(ROOT)

    def _settle(self, peer: Peer, questions: Questions, digest: int, now_us: int) -> None:
        """Note that a peer had all that this digest was of when it sent what says so."""
        if digest == self._digest():
            peer.forgive()  # that is all there is
        questions.settle(now_us)

    # What is told

    def messages_to_send(self, now_us: int) -> list[tuple[Ref[Any], Sync]]:
        """Return what is to be told now, and to whom.

        Args:
            now_us: on the actor's clock.
        """
        told: list[tuple[Ref[Any], Sync]] = []
        if self._me is None:
            return told
        for ref, peer in self._peers.items():
            questions = self._questions[ref]
            self._ask(peer, questions, now_us)
            if not peer.owes or now_us < peer.next_us:
                continue
            if peer.asks:
                questions.note_asked(now_us)
            elif peer.pending:
                questions.note_told(now_us, self._settle_us(peer))
            peer.next_us = now_us + GAP_US
            told.append((ref, peer.write(self.replica, self._me)))
        return told

    def _ask(self, peer: Peer, questions: Questions, now_us: int) -> None:
        """Ask a peer, if it is time, whether it has the same."""
        if questions.is_open(now_us):
            return
        if questions.is_away:
            peer.forgive()
        if questions.is_due(now_us) and not peer.streams:
            peer.asks = True

    def _settle_us(self, peer: Peer) -> int:
        return self.times.settle_local_us if peer.is_sibling else self.times.settle_us

    def next_deadline(self) -> int | None:
        """Return when to call :meth:`messages_to_send` again, in us of the actor's clock."""
        deadlines, owing = [], []
        for ref, peer in self._peers.items():
            questions = self._questions[ref]
            if peer.owes:
                owing.append(peer.next_us)
            if questions.asked_us is not None:
                deadlines.append(questions.asked_us + self.times.patience_us)
            elif questions.is_asked and not peer.streams:
                deadlines.append(max(questions.due_us, peer.next_us))
        if owing:  # all in one turn, and from then on at the same time
            deadlines.append(max(owing))
        return min(deadlines, default=None)
