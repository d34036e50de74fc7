"""The others in the room: one is seen by them, and sees and hears them.

A player's presence is a key that its terminal renews; when the terminal is gone, so is the key,
some seconds later. What is said is a key, too, which goes after a minute. One watch on the keys of
a room tells of both. Whenever the watch has to be opened anew, the room is listed behind it, and
what was not known yet is told: so nothing is missed, and nothing is told twice.
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from trio440.cmud import keys
from trio440.cmud.doors import Doors
from trio440.cmud.names import seen_text
from trio440.cmud.places import PLACES
from trio440.cmud.room import Heard, News, Present, Room
from trio440.core.host import Host
from trio440.errors import HistoryCompacted, OperationRefused, StoreUnavailable
from trio440.kv import Delete, List, Operation, Page, Put, Result

__all__ = ["Company"]

RENEW_SECONDS: Final = 3.0
PRESENCE_TTL_MS: Final = 10_000
SPEECH_TTL_MS: Final = 60_000
REOPEN_SECONDS: Final = 0.2
MOST_ENTRIES: Final = 1_000
"""Of one room; more are not looked at."""


class Company:
    """One terminal's place among the others."""

    def __init__(
        self,
        doors: Doors,
        name: str,
        session: str,
        *,
        ports: Host,
        tell: Callable[[News], None],
    ) -> None:
        """Name the player, who is nowhere yet.

        Args:
            doors: lead to the store.
            name: of the player.
            session: of this terminal.
            ports: give the time.
            tell: takes what happens in the room.
        """
        self._doors = doors
        self._name = name
        self._session = session
        self._ports = ports
        self._tell = tell
        self._place = ""
        self._level = ""
        self._moved = trio.Event()
        self._room = Room("")
        self._said = 0
        self._presence_lock = trio.Lock()
        """Or a renewal that is under way could bring back a presence that is over."""

    async def enter(self, place: str, level: str) -> None:
        """Be in a room, and no more in the one before.

        Args:
            place: its name.
            level: the player's, for others to see.

        Raises:
            OperationRefused: the store is full.
            StoreUnavailable: nobody answers.
        """
        operations: list[Operation] = [self._presence(place, level), _list(place)]
        if self._place not in ("", place):
            operations.append(Delete(keys.here(self._place, self._name, self._session)))
        async with self._presence_lock:
            answers = await self._doors.execute(operations)
            # What is there already is no news.
            room = Room(place)
            room.catch_up(_page(answers[1]))
            self._room, self._place, self._level = room, place, level
            self._moved.set()

    async def leave(self) -> None:
        """Be nowhere.

        Raises:
            StoreUnavailable: nobody answers.
        """
        async with self._presence_lock:
            place, self._place = self._place, ""
            if place:
                await self._doors.execute([Delete(keys.here(place, self._name, self._session))])

    async def say(self, text: str) -> None:
        """Say something to whoever is here.

        Raises:
            OperationRefused: the store is full.
            StoreUnavailable: nobody answers.
        """
        self._said += 1
        key = keys.said(self._place, self._name, self._session, self._said)
        await self._doors.execute([Put(key, text.encode(), ttl_ms=SPEECH_TTL_MS)])

    async def around(self) -> list[Present]:
        """Return who else is in the room, by name."""
        return [each for each in await self._present([self._place]) if each.name != self._name]

    async def everybody(self) -> list[Present]:
        """Return who is on campus, by place and name; the player, too."""
        return await self._present([*PLACES])

    async def keep(self) -> None:
        """Renew the presence and tell what happens in the room, until cancelled."""
        while True:
            self._moved = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._renew)
                nursery.start_soon(self._listen, self._room)
                await self._moved.wait()
                nursery.cancel_scope.cancel()

    async def _present(self, places: Sequence[str]) -> list[Present]:
        lists = [List(keys.room(place) + b"here/", limit=MOST_ENTRIES) for place in places]
        answers = await self._doors.execute(lists)
        found: dict[tuple[str, str], Present] = {}
        for place, answer in zip(places, answers, strict=True):
            for entry in _page(answer).entries:
                person = keys.read_room(place, entry.key, entry.value)
                if isinstance(person, keys.Here):
                    level = seen_text(entry.value.decode(errors="replace"))
                    found[place, person.name] = Present(person.name, place, level)
        return [*found.values()]

    async def _renew(self) -> None:
        while True:
            await self._ports.clock.sleep(RENEW_SECONDS)
            async with self._presence_lock:
                if self._place:
                    try:
                        await self._doors.once([self._presence(self._place, self._level)])
                    except (StoreUnavailable, OperationRefused):
                        continue  # another door is the current one, for the next time

    def _presence(self, place: str, level: str) -> Put:
        key = keys.here(place, self._name, self._session)
        return Put(key, level.encode(), ttl_ms=PRESENCE_TTL_MS)

    async def _listen(self, room: Room) -> None:
        """Tell what happens in a room; go on at another door where one shuts."""
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, room, nursery.cancel_scope)
                # It may be another task that finds it shut, where the watch is just silent.
                await self._doors.wait_shut()
                nursery.cancel_scope.cancel()
            await self._doors.pause(REOPEN_SECONDS)

    async def _watch(self, room: Room, scope: trio.CancelScope) -> None:
        door = self._doors.current
        try:
            async with self._doors.namespace.watch(keys.room(room.place)) as changes:
                (answer,) = await self._doors.once([_list(room.place)])
                self._pass_on(room.catch_up(_page(answer)))
                async for change in changes:
                    self._pass_on(room.note(change.key, change.value))
        except StoreUnavailable:
            self._doors.shut(door)
        except (HistoryCompacted, OperationRefused):
            pass  # the list says what was missed
        scope.cancel()

    def _pass_on(self, news: Sequence[keys.Said | News]) -> None:
        for each in news:
            if isinstance(each, keys.Said):
                if each.session != self._session and each.text:
                    self._tell(Heard(each.name, each.text, each.name == self._name))
            elif each.name != self._name:
                self._tell(each)


def _list(place: str) -> List:
    return List(keys.room(place), limit=MOST_ENTRIES)


def _page(answer: Result) -> Page:
    return answer if isinstance(answer, Page) else Page()
