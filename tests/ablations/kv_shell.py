"""Deliberate bugs in the query actors and clients of the store, found at level B."""

from typing import Any, Final
from unittest.mock import patch

import trio

from tests.ablations.patching import Bugs, ablations_of, replaced
from trio440.kv import server
from trio440.kv.client import EventualClient
from trio440.kv.feed import Feed
from trio440.kv.following import _Changes
from trio440.kv.keeper import Keeper
from trio440.kv.query_actor import QueryActor

__all__ = ["ABLATIONS"]


def changes_before_a_watch_waits_are_skipped() -> Any:
    """Who waits for changes is told those from then on, not those behind its number."""

    def make(real: Any) -> Any:
        def since(self: Feed, number: int, prefix: bytes, most_bytes: int) -> Any:
            found, until = real(self, number, prefix, most_bytes)
            return found[-1:], until

        return since

    return replaced(Feed, "since", make)


def a_client_tells_no_clock() -> Any:
    """What a client has seen at one server is unknown to the next one."""

    def make(real: Any) -> Any:
        async def execute(self: EventualClient, operations: Any) -> Any:
            self._clock = 0
            return await real(self, operations)

        return execute

    return replaced(EventualClient, "execute", make)


def watches_read_the_same_again() -> Any:
    """A watch does not move on behind what it was told."""

    def make(real: Any) -> Any:
        async def following(self: _Changes) -> Any:
            number = self._number
            change = await real(self)
            self._number = max(number, self._number - 1)
            return change

        return following

    return replaced(_Changes, "__anext__", make)


def actors_begin_to_sync_without_a_roster() -> Any:
    """Actors answer clients, and never hear who else there is."""
    return patch.object(QueryActor, "_join", lambda _: None)


def waiting_watches_are_not_woken() -> Any:
    """Who waits for changes hears of them when its time is over, and of none of these."""

    def make(real: Any) -> Any:
        def serve(self: QueryActor, held: Any, now_us: int) -> bool:
            if held.until_us > now_us:
                held.number = self._replica.feed.last
            found: bool = real(self, held, now_us)
            return found

        return serve

    return replaced(QueryActor, "_serve", make)


def durable_servers_keep_nothing() -> Any:
    """What a server was told is not written to its journal."""

    async def keep(_self: Keeper, _rows: object) -> None:
        await trio.lowlevel.checkpoint()

    return patch.object(Keeper, "keep", keep)


def servers_do_not_introduce_themselves() -> Any:
    """Servers that know of each other's former lives alone send to these, and hear nothing."""

    async def meet(*_: object) -> None:
        await trio.Event().wait()

    return patch.object(server, "meet_strangers", meet)


BUGS: Final[Bugs] = {
    servers_do_not_introduce_themselves: ("speaks to former lives alone", "crashes", 40),
    durable_servers_keep_nothing: ("keeps nothing on disk", "hostile", 30),
    changes_before_a_watch_waits_are_skipped: ("tells a watch the last change only", "calm", 6),
    a_client_tells_no_clock: ("forgets what a client has seen", "clocks", 6),
    watches_read_the_same_again: ("tells a watch the last change again", "calm", 3),
    actors_begin_to_sync_without_a_roster: ("never begins to sync", "calm", 2),
    waiting_watches_are_not_woken: ("skips what happens before a watch waits", "calm", 3),
}

ABLATIONS: Final = ablations_of("kv", "B", BUGS)
