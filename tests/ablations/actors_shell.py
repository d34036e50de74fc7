"""Deliberate bugs in systems of actors and the links between them, found at level B."""

from typing import Any, Final
from unittest.mock import patch

from tests.ablations.patching import Bugs, ablations_of, replaced, together
from trio440.actors.mailbox import Mailbox
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.remote.incoming import Incoming
from trio440.actors.remote.outgoing import Item, Outgoing
from trio440.actors.remote.watches import Watches
from trio440.actors.supervision import Supervisor
from trio440.actors.timers import Timers

__all__ = ["ABLATIONS"]


def sure_parcels_are_taken_in_again() -> Any:
    """What comes a second time counts a second time."""

    def make(real: Any) -> Any:
        def admit(self: Incoming, first: int, count: int) -> int:
            found: int = real(self, first, count)
            return 0 if first <= self.sure else found

        return admit

    return replaced(Incoming, "admit_sure", make)


def nothing_is_sent_again() -> Any:
    """What was on its way when a connection broke stays lost."""

    def make(real: Any) -> Any:
        def connected(self: Outgoing, life: int) -> list[Item]:
            before = self._again
            found: list[Item] = real(self, life)
            self._again = min(before, len(self._unreceived))
            return found

        return connected

    never = patch.object(Outgoing, "send_again", lambda _: None)
    return together(replaced(Outgoing, "connected", make), never)


def what_waits_is_forgotten_with_its_connection() -> Any:
    """A new connection begins with nothing."""

    def make(real: Any) -> Any:
        def connected(self: Outgoing, life: int) -> list[Item]:
            if life == self._life:
                self._queue.clear()
            found: list[Item] = real(self, life)
            return found

        return connected

    return replaced(Outgoing, "connected", make)


def lost_systems_end_no_watch() -> Any:
    """Who watches an actor of a lost system hears nothing."""
    return patch.object(Watches, "lose", lambda _self, _node: None)


def mailboxes_have_no_bound() -> Any:
    """A mailbox takes whatever comes."""
    return patch.object(Mailbox, "is_full", property(lambda _: False))


def asks_have_no_deadline() -> Any:
    """Who asks waits as long as it takes."""
    return patch.object(Timers, "limit", lambda _self, _shot, _seconds: None)


def restarts_have_no_budget() -> Any:
    """An actor is restarted however often it fails."""

    def make(real: Any) -> Any:
        def ended(self: Supervisor, child: int, **how: Any) -> Any:
            self._times.pop(child, None)
            return real(self, child, **how)

        return ended

    return replaced(Supervisor, "ended", make)


def later_lives_take_old_messages() -> Any:
    """A reference leads to whatever has its number in the present life."""

    def find(self: Post, ref: Ref[Any]) -> Any:
        if ref.address != self.address:
            return None
        return self._targets.get(ref.counter) or self._shots.get(ref.counter)

    return patch.object(Post, "find", find)


BUGS: Final[Bugs] = {
    sure_parcels_are_taken_in_again: ("takes in again what is sent again", "hostile", 12),
    nothing_is_sent_again: ("sends nothing again", "hostile", 20),
    what_waits_is_forgotten_with_its_connection: ("forgets what waits", "hostile", 20),
    lost_systems_end_no_watch: ("ends no watch of a lost system", "crashes", 12),
    mailboxes_have_no_bound: ("bounds no mailbox", "hostile", 12),
    asks_have_no_deadline: ("asks for ever", "hostile", 12),
    restarts_have_no_budget: ("restarts without a budget", "hostile", 20),
    later_lives_take_old_messages: ("takes messages for an earlier life", "crashes", 20),
}

ABLATIONS: Final = ablations_of("actors", "B", BUGS)
