"""Deliberate bugs in SWIM's core, each with the trial that it must not stand."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tests.ablations import actors as bugs
from tests.support import swim_trials as trials

Bug = Callable[[], AbstractContextManager[Any]]

BUGS: dict[Bug, Callable[[int], None]] = {
    bugs.no_indirect_probes: trials.bad_link,
    bugs.helpers_never_pass_acks_on: trials.bad_link,
    bugs.helpers_vouch_unheard: trials.crash,
    bugs.no_refutation: trials.loss,
    bugs.refutation_that_does_not_outdo: trials.loss,
    bugs.no_time_to_refute: trials.loss,
    bugs.suspicions_without_end: trials.crash,
    bugs.dead_are_never_tried: trials.partition,
    bugs.losses_of_others_believed: trials.partition,
    bugs.gossip_without_end: trials.quiet,
    bugs.no_gossip: trials.leave,
    bugs.answers_for_earlier_lives: trials.restart,
    bugs.lives_not_told_apart: trials.restart,
    bugs.suspicion_outranked_by_life: trials.crash,
    bugs.sleep_unnoticed: trials.deaf,
    bugs.leaving_without_a_word: trials.leave,
    bugs.one_member_probed_only: trials.crash,
    bugs.ends_of_strangers_kept: trials.forget,
    bugs.pages_without_a_bound: trials.crowd,
    bugs.lost_members_still_probed: trials.crash,
    bugs.health_never_recovers: trials.crash,
    bugs.nacks_unheard: trials.crash,
}
