"""Deliberate bugs in SWIM's core, found among the members of a cluster at level A."""

from typing import Any, Final
from unittest.mock import patch

import attrs

from tests.ablations.patching import Bugs, ablations_of, replaced
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

__all__ = ["ABLATIONS"]


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


BUGS: Final[Bugs] = {
    no_indirect_probes: (
        "nobody is asked to probe for another",
        "calm",
        40,
    ),
    helpers_never_pass_acks_on: (
        "helpers keep the acks that they were asked for to themselves",
        "calm",
        40,
    ),
    helpers_vouch_unheard: (
        "a helper says ack before the target has said anything",
        "lossy",
        40,
    ),
    no_refutation: (
        "a suspect refutes nothing",
        "hostile",
        20,
    ),
    refutation_that_does_not_outdo: (
        "a member refutes with the number of the suspicion itself",
        "hostile",
        20,
    ),
    no_time_to_refute: (
        "a suspect is lost at once",
        "hostile",
        20,
    ),
    suspicions_without_end: (
        "a suspect is never lost",
        "partitions",
        40,
    ),
    dead_are_never_tried: (
        "the lost are never tried again",
        "partitions",
        40,
    ),
    losses_of_others_believed: (
        "what the other side of a partition has lost is lost at once",
        "partitions",
        20,
    ),
    gossip_without_end: (
        "records are told for ever",
        "calm",
        20,
    ),
    no_gossip: (
        "records are told in full exchanges alone",
        "calm",
        20,
    ),
    lives_not_told_apart: (
        "a record of an earlier life may outrank one of a later life",
        "crashes",
        150,
    ),
    suspicion_outranked_by_life: (
        "of equal numbers the better state holds",
        "hostile",
        40,
    ),
    leaving_without_a_word: (
        "who leaves falls silent",
        "calm",
        40,
    ),
    one_member_probed_only: (
        "the same member is probed each time",
        "lossy",
        40,
    ),
    ends_of_strangers_kept: (
        "the lost are handed on to those who had forgotten them",
        "partitions",
        40,
    ),
    pages_without_a_bound: (
        "all that is known goes into one message",
        "calm",
        40,
    ),
    lost_members_still_probed: (
        "who is lost stays in the round of probes",
        "hostile",
        20,
    ),
    health_never_recovers: (
        "the count of a member's own troubles never falls",
        "hostile",
        20,
    ),
}

ABLATIONS: Final = ablations_of("actors", "A", BUGS)
