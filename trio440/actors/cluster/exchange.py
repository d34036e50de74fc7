"""Exchanging everything: to join, against what gossip missed, and with the lost. Pure.

Gossip is probable, not certain, and a partition outlasts it. So each member now and then sends all
it knows to another and gets as much back (*push-pull*), to seeds when it joins, to any live member
later, and at a low rate to lost ones, which is how a partition is found to have healed.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from trio440.actors.cluster.local import JOIN, PUSH_PULL, RECONNECT, Kind, Local
from trio440.actors.cluster.messages import PushPull, Record, State, head_size, record_size

__all__ = ["Exchange"]

SEEK_ATTEMPTS: Final = 4


class Exchange:
    """When this member exchanges everything, and with whom."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._seeds: dict[str, None] = {}
        self._sought: dict[str, int] = {}
        """How often each address was asked that somebody here is interested in."""
        self._join_wait = local.config.join_interval_us
        self._window = 0
        self._replies = 0

    @property
    def seeds(self) -> tuple[str, ...]:
        """The addresses asked for the members, without one's own."""
        return tuple(self._seeds)

    def join(self, seeds: Iterable[str], now: int) -> None:
        """Ask seeds, at once."""
        own = self._local.node.address
        self._seeds.update((address, None) for address in seeds if address != own)
        self._join_wait = self._local.config.join_interval_us
        self.on_join_timer(now)

    def on_join_timer(self, now: int) -> None:
        """Ask the seeds until somebody is there."""
        local = self._local
        if len(local.ring) or not self._seeds:
            return
        for address in self._seeds:
            self._send_all(address, wants_reply=True)
        local.timers.set(JOIN, now + self._join_wait)
        self._join_wait = min(2 * self._join_wait, local.config.reconnect_interval_us)

    def seek(self, address: str, now: int) -> None:
        """Ask who may be a member a few times; nothing is done where too many are asked."""
        local = self._local
        if address == local.node.address or address in self._sought or local.is_leaving:
            return
        if len(self._sought) < local.config.max_seeds:
            self._sought[address] = 0
            self.on_seek_timer(address, now)

    def on_seek_timer(self, address: str, now: int) -> None:
        """Ask again, unless there was an answer or it has been tried often enough.

        Anybody can give an address away, so nobody gets more there than a datagram of one record.
        """
        local, attempts = self._local, self._sought[address]
        if attempts == SEEK_ATTEMPTS or local.members.is_live(address):
            del self._sought[address]
            return
        self._sought[address] = attempts + 1
        local.post(address, PushPull(local.node, True, (local.own_record,)))
        local.timers.set((Kind.SEEK, address), now + (local.config.join_interval_us << attempts))

    def on_push_pull_timer(self, now: int) -> None:
        """Exchange everything with one live member."""
        local = self._local
        for address in local.ring.sample(1):
            self._send_all(address, wants_reply=True)
        local.timers.set(PUSH_PULL, now + local.config.push_pull_interval_us)

    def on_reconnect_timer(self, now: int) -> None:
        """Forget who has been gone for long, and perhaps try one that is lost.

        The chance is that of one attempt per interval for each lost member, by all together.
        """
        local = self._local
        for address in local.members.forget(now - local.config.forget_us):
            local.queue.drop(address)
        missed = local.members.lost()
        missed += [seed for seed in self._seeds if self._is_missed(seed)]
        if missed and local.rng.random() * local.live < len(missed):
            self._send_all(local.rng.choice(missed), wants_reply=True)
        local.timers.set(RECONNECT, now + local.config.reconnect_interval_us)

    def _is_missed(self, seed: str) -> bool:
        known = self._local.members.get(seed)
        return known is None or known.state is State.LEFT

    def on_push_pull(self, message: PushPull, now: int) -> None:
        """Take in what another knows, and answer in kind."""
        local = self._local
        for record in message.records:
            local.hear(self._doubted(record, message.source.address), now)
        if not message.wants_reply:
            return
        window = now // local.config.probe_interval_us
        if window != self._window:
            self._window, self._replies = window, 0
        if self._replies >= local.config.max_replies:
            local.counters.replies_refused += 1
            return
        self._replies += 1
        self._send_all(message.source.address, wants_reply=False)

    def _doubted(self, record: Record, teller: str) -> Record:
        """Take a loss for a suspicion, as long as the member is live here.

        Who was on the other side of a partition counts all on this side as lost; they get the
        time to refute that.
        """
        if record.state is State.LOST and self._local.members.is_live(record.node.address):
            return attrs.evolve(record, state=State.SUSPECT, by=teller)
        return record

    def _send_all(self, to: str, *, wants_reply: bool) -> None:
        local = self._local
        room = local.config.max_datagram_bytes - head_size(local.node)
        for page in _pages([local.own_record, *local.members], room):
            local.post(to, PushPull(local.node, wants_reply, tuple(page)))
            wants_reply = False


def _pages(records: list[Record], room: int) -> list[list[Record]]:
    """Split records into parts of at most ``room`` bytes; one record always fits."""
    pages: list[list[Record]] = [[]]
    left = room
    for record in records:
        size = record_size(record)
        if size > left:
            pages.append([])
            left = room
        pages[-1].append(record)
        left -= size
    return pages
