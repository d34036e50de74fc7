"""How servers meet that were not told of each other, or only of lives that are over.

The systems of actors find each other by address, as members of one cluster: by the seeds that a
server is given, and by those that it remembers. A member whose query actors are not known, or
only those of an earlier life, is a stranger. The server introduces itself to it, by a message to
the one actor that every server has; from the answer it is known.
"""

from typing import Any, Final

import attrs

from trio440 import actors
from trio440.actors.ref import Ref
from trio440.core.host import Clock
from trio440.kv.address_book import AddressBook
from trio440.kv.query_actor import Roster
from trio440.kv.sync_messages import ServerInfo, Sync

__all__ = ["FIRST", "meet_strangers"]

FIRST: Final = 1
"""The counter of a server's first query actor: its system has no actor before it."""
LOOK_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 10.0
"""Between two introductions to one stranger; the first ones come closer together."""


@attrs.define
class _Try:
    """When this server introduces itself to a stranger next."""

    due: float
    wait_seconds: float = 2 * LOOK_SECONDS


async def meet_strangers(
    system: actors.ActorSystem, roster: Roster, book: AddressBook, clock: Clock
) -> None:
    """Introduce this server to strangers, and remember where others are, until cancelled.

    Args:
        system: of this server.
        roster: complete, and kept up to date by its actors.
        book: keeps the addresses.
        clock: of the machine.
    """
    me, tries = roster.me, dict[actors.Node, _Try]()
    if me is None:
        raise AssertionError("the roster is not complete")
    while True:
        await clock.sleep(LOOK_SECONDS)
        members = system.members
        # Of what others have told of, only that is worth remembering which is there.
        await book.note(node.address for node in members if node.address in roster.servers)
        for address in roster.sought.keys() - {node.address for node in members}:
            del roster.sought[address]
        strangers = [node for node in members if _is_stranger(node, roster)]
        # Who has been told of this server introduces itself: that comes before the second look.
        due = clock.now() + LOOK_SECONDS / 2
        tries = {node: tries.get(node) or _Try(due) for node in strangers}
        for node, each in tries.items():
            if each.due <= clock.now():
                each.due = clock.now() + each.wait_seconds
                each.wait_seconds = min(2 * each.wait_seconds, LONGEST_SECONDS)
                roster.sought[node.address] = node.incarnation
                ref = Ref[Any](node.address, FIRST, node.incarnation)
                system.tell(ref, _introduction(me))


def _is_stranger(node: actors.Node, roster: Roster) -> bool:
    if roster.me is not None and node.address == roster.me.address:
        return False
    known = roster.servers.get(node.address)
    return known is None or known.incarnation < node.incarnation


def _introduction(me: ServerInfo) -> Sync:
    return Sync(actors=((me.address, me.counters[0], me.incarnation),), clock=0, servers=(me,))
