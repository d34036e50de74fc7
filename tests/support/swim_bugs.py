"""Deliberate bugs in SWIM's core, each with the trial that it must not stand."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import attrs

from tests.ablations.patching import replaced
from tests.support import swim_trials as trials
from trio440.actors.cluster import exchange, members
from trio440.actors.cluster.dissemination import Dissemination
from trio440.actors.cluster.exchange import Exchange
from trio440.actors.cluster.lifeguard import LocalHealth, Suspicion
from trio440.actors.cluster.local import Local
from trio440.actors.cluster.members import Members
from trio440.actors.cluster.messages import Ack, Ping, PingReq, Record
from trio440.actors.cluster.probing import Probing
from trio440.actors.cluster.ring import ProbeRing
from trio440.actors.cluster.swim import Swim

Bug = Callable[[], AbstractContextManager[Any]]


def no_indirect_probes() -> Any:
    return patch.object(Probing, "_ask_helpers", lambda self, probe: Probing._fail(self, probe, 0))


def helpers_never_pass_acks_on() -> Any:
    def make(real: Any) -> Any:
        def on_ack(self: Probing, message: Ack, now: int) -> None:
            if message.seq not in self._relays:
                real(self, message, now)

        return on_ack

    return replaced(Probing, "on_ack", make)


def helpers_vouch_unheard() -> Any:
    """A helper says ack before the target has said anything."""

    def on_ping_req(self: Probing, message: PingReq, now: int) -> None:
        self._local.post(message.source.address, Ack(self._local.node, message.seq))

    return patch.object(Probing, "on_ping_req", on_ping_req)


def no_refutation() -> Any:
    return patch.object(Local, "_hear_of_myself", lambda *_: None)


def refutation_that_does_not_outdo() -> Any:
    """A member refutes with the number of the suspicion itself."""

    def make(real: Any) -> Any:
        def hear(self: Local, record: Record, now: int) -> None:
            real(self, attrs.evolve(record, refutations=max(0, record.refutations - 1)), now)

        return hear

    return replaced(Local, "_hear_of_myself", make)


def no_time_to_refute() -> Any:
    return patch.object(Suspicion, "deadline", property(lambda self: self.started))


def suspicions_without_end() -> Any:
    return patch.object(Local, "give_up", lambda *_: None)


def dead_are_never_tried() -> Any:
    return patch.object(Members, "lost", lambda _: [])


def losses_of_others_believed() -> Any:
    """What the other side of a partition counts as lost is lost at once."""
    return patch.object(Exchange, "_doubted", lambda _self, record, _teller: record)


def gossip_without_end() -> Any:
    return patch.object(Dissemination, "count", lambda *_: None)


def no_gossip() -> Any:
    return patch.object(Dissemination, "take", lambda *_args, **_kwargs: [])


def answers_for_earlier_lives() -> Any:
    """An ack is all that a ping ever gets."""

    def on_ping(self: Probing, message: Ping, now: int) -> None:
        del now
        self._local.post(message.source.address, Ack(self._local.node, message.seq))

    return patch.object(Probing, "on_ping", on_ping)


def lives_not_told_apart() -> Any:
    rank = property(lambda self: (0, self.refutations, int(self.state)))
    return patch.object(Record, "rank", rank)


def suspicion_outranked_by_life() -> Any:
    """Of equal numbers the better state holds."""
    rank = property(lambda self: (self.node.incarnation, self.refutations, -int(self.state)))
    return patch.object(Record, "rank", rank)


def sleep_unnoticed() -> Any:
    return patch.object(Swim, "_notice_a_pause", lambda *_: None)


def leaving_without_a_word() -> Any:
    def leave(self: Swim, now: int) -> None:
        del now
        self._has_left = True
        self._local.wait_for_nothing()

    return patch.object(Swim, "leave", leave)


def one_member_probed_only() -> Any:
    def choose(self: ProbeRing) -> str | None:
        return min(self._order, default=None)

    return patch.object(ProbeRing, "next", choose)


def ends_of_strangers_kept() -> Any:
    """The lost are handed on to those who had forgotten them."""

    def make(real: Any) -> Any:
        def meet(self: Members, record: Record) -> Any:
            change = real(self, record)
            if change.verdict is members.Verdict.IGNORED:
                self._records[record.node.address] = record
                self._gone_since[record.node.address] = 1 << 60
            return change

        return meet

    return replaced(Members, "_meet", make)


def pages_without_a_bound() -> Any:
    return patch.object(exchange, "_pages", lambda records, _room: [records])


def lost_members_still_probed() -> Any:
    return patch.object(ProbeRing, "remove", lambda *_: None)


def health_never_recovers() -> Any:
    def make(real: Any) -> Any:
        return lambda self, change: real(self, max(0, change))

    return replaced(LocalHealth, "add", make)


def nacks_unheard() -> Any:
    return patch.object(Probing, "on_nack", lambda *_: None)


BUGS: dict[Bug, Callable[[int], None]] = {
    no_indirect_probes: trials.bad_link,
    helpers_never_pass_acks_on: trials.bad_link,
    helpers_vouch_unheard: trials.crash,
    no_refutation: trials.loss,
    refutation_that_does_not_outdo: trials.loss,
    no_time_to_refute: trials.loss,
    suspicions_without_end: trials.crash,
    dead_are_never_tried: trials.partition,
    losses_of_others_believed: trials.partition,
    gossip_without_end: trials.quiet,
    no_gossip: trials.leave,
    answers_for_earlier_lives: trials.restart,
    lives_not_told_apart: trials.restart,
    suspicion_outranked_by_life: trials.crash,
    sleep_unnoticed: trials.deaf,
    leaving_without_a_word: trials.leave,
    one_member_probed_only: trials.crash,
    ends_of_strangers_kept: trials.forget,
    pages_without_a_bound: trials.crowd,
    lost_members_still_probed: trials.crash,
    health_never_recovers: trials.crash,
    nacks_unheard: trials.crash,
}
