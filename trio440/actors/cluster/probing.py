"""Failure detection: probing members in turn, and probing for others. Pure.

SWIM, section 3.1, with Lifeguard's measures of the prober's own health (IV-A)::

    ping ──ack──▶ done: health better
      │
      └─ timeout ─▶ k helpers asked ──ack, from the target or through a helper──▶ done
                          │
                          └─ end of the interval ─▶ suspect: health worse, more so if a helper
                                                    gave neither ack nor nack
"""

from typing import Final

import attrs

from trio440.actors.cluster.local import PROBE, Kind, Local
from trio440.actors.cluster.messages import Ack, Nack, Node, Ping, PingReq, PushPull, State

__all__ = ["NACK_PERCENT", "Probing"]

NACK_PERCENT: Final = 80
"""Of the timeout of a probe, after which a helper says that it has heard nothing (IV-A)."""


@attrs.define
class _Probe:
    target: Node
    seq: int
    ends: int
    """When its interval is over."""
    is_indirect: bool = False
    silent: set[str] = attrs.field(factory=set)
    """Helpers that have not answered."""
    helpers: frozenset[str] = frozenset()


@attrs.frozen
class _Relay:
    requester: Node
    seq: int
    """The requester's own number."""
    target: Node
    ends: int
    """When nobody waits for an ack any more."""


class Probing:
    """The probe of the present interval, and those made for others."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._seq = local.rng.getrandbits(40)
        self._probe: _Probe | None = None
        self._relays: dict[int, _Relay] = {}

    def on_probe_timer(self, now: int) -> None:
        """Go on with the present probe, or begin the next."""
        probe = self._probe
        if probe is not None and not probe.is_indirect:
            self._ask_helpers(probe)
            return
        if probe is not None:
            self._fail(probe, now)
        self._begin(now)

    def _begin(self, now: int) -> None:
        local = self._local
        interval = local.config.probe_interval_us * local.health.multiplier
        address = local.ring.next()
        known = None if address is None else local.members.get(address)
        if known is None:
            local.timers.set(PROBE, now + interval)
            return
        self._probe = _Probe(known.node, self._next_seq(), now + interval)
        local.counters.probes += 1
        self._ping(known.node, self._probe.seq)
        timeout = local.config.probe_timeout_us * local.health.multiplier
        local.timers.set(PROBE, now + timeout)

    def _ask_helpers(self, probe: _Probe) -> None:
        local, to = self._local, probe.target.address
        probe.is_indirect = True
        probe.helpers = frozenset(local.ring.sample(local.config.indirect_probes, without=to))
        probe.silent = set(probe.helpers)
        for helper in sorted(probe.helpers):
            records = local.records_for(helper, local.node, probe.target)
            local.post(helper, PingReq(local.node, probe.target, probe.seq, records))
        local.timers.set(PROBE, probe.ends)

    def _fail(self, probe: _Probe, now: int) -> None:
        local = self._local
        self._probe = None
        local.counters.probes_failed += 1
        local.counters.nacks_missed += len(probe.silent)
        local.health.add(2 if probe.silent else 1)
        local.suspect(probe.target, now)

    def _ping(self, target: Node, seq: int) -> None:
        local = self._local
        records = local.records_for(target.address, local.node, target)
        local.post(target.address, Ping(local.node, target, seq, records))

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    # Probes made by others, and for others

    def on_ping(self, message: Ping, now: int) -> None:
        """Answer for this life only; who means an earlier one is told of this one.

        A member that is not known here, or does not know this life, is asked for all it knows:
        this life may have been started without seeds, and the gossip about that member lost.
        """
        del now
        local, to = self._local, message.source.address
        if message.target == local.node:
            local.post(to, Ack(local.node, message.seq, local.records_for(to, local.node)))
            if local.members.get(to) is None and not local.members.is_full:
                self._ask(to)
        elif message.target.address == local.node.address:
            self._ask(to)

    def _ask(self, to: str) -> None:
        local = self._local
        wants_reply = not local.is_leaving
        local.post(to, PushPull(local.node, wants_reply, (local.own_record,)))

    def on_ping_req(self, message: PingReq, now: int) -> None:
        """Probe a member for another; never an address that is none, whoever asks."""
        local, to = self._local, message.source.address
        known = local.members.get(message.target.address)
        is_known = known is not None and known.state is not State.LEFT
        if not is_known or len(self._relays) >= local.config.max_relays:
            local.counters.relays_refused += 1
            self._nack(to, message.seq)
            return
        seq = self._next_seq()
        ends = now + local.config.probe_interval_us
        self._relays[seq] = _Relay(message.source, message.seq, message.target, ends)
        patience = local.config.probe_timeout_us * NACK_PERCENT // 100
        local.timers.set((Kind.RELAY, seq), now + patience)
        local.counters.relays += 1
        self._ping(message.target, seq)

    def on_relay_timer(self, seq: int, now: int) -> None:
        """Say that a target is silent; later, expect nothing more from it."""
        relay = self._relays[seq]
        if now >= relay.ends:
            del self._relays[seq]
            return
        self._nack(relay.requester.address, relay.seq)
        self._local.timers.set((Kind.RELAY, seq), relay.ends)

    def _nack(self, to: str, seq: int) -> None:
        local = self._local
        local.post(to, Nack(local.node, seq, local.records_for(to, local.node)))

    # Answers

    def on_ack(self, message: Ack, now: int) -> None:
        """End the present probe well, or pass an ack on to whoever asked for it."""
        del now
        local, probe = self._local, self._probe
        if probe is not None and message.seq == probe.seq:
            if message.source == probe.target or message.source.address in probe.helpers:
                self._probe = None
                local.health.add(-1)
                local.timers.set(PROBE, probe.ends)
            return
        relay = self._relays.get(message.seq)
        if relay is not None and message.source == relay.target:
            del self._relays[message.seq]
            local.timers.cancel((Kind.RELAY, message.seq))
            to = relay.requester.address
            local.post(to, Ack(local.node, relay.seq, local.records_for(to, local.node)))

    def on_nack(self, message: Nack, now: int) -> None:
        """Note that a helper is there, whatever became of the target."""
        del now
        probe = self._probe
        if probe is not None and message.seq == probe.seq:
            probe.silent.discard(message.source.address)

    def stop(self) -> None:
        """Probe nobody any more."""
        self._probe = None
        self._relays.clear()

    def postpone(self, microseconds: int) -> None:
        """Let the present probe, and those for others, end so much later."""
        if self._probe is not None:
            self._probe.ends += microseconds
        for seq, relay in self._relays.items():
            self._relays[seq] = attrs.evolve(relay, ends=relay.ends + microseconds)
