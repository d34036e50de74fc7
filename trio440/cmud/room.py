"""Who is in a room and what was said there, as far as one terminal has heard. Pure."""

from typing import TypeAlias

import attrs

from trio440.cmud import keys
from trio440.kv.operations import Page

__all__ = ["Arrived", "Heard", "Left", "News", "Present", "Room"]


@attrs.frozen
class Arrived:
    """Somebody came in."""

    name: str


@attrs.frozen
class Left:
    """Somebody went, or the terminal is gone."""

    name: str


@attrs.frozen
class Heard:
    """Somebody said something."""

    name: str
    text: str
    is_own: bool
    """It was the player, at another terminal."""


News: TypeAlias = Arrived | Left | Heard


@attrs.frozen
class Present:
    """Somebody on campus."""

    name: str
    place: str
    level: str
    """Fit to be shown."""


class Room:
    """What is known of one room."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._sessions: dict[str, set[str]] = {}
        """Of those who are there."""
        self._said: set[bytes] = set()
        """What was heard and has not gone yet."""

    def catch_up(self, page: Page) -> list[keys.Said | News]:
        """Compare with what is there, and return what is new.

        Where that is too much to be listed, nobody is taken for gone who is not listed.
        """
        present = {entry.key for entry in page.entries}
        known = {
            keys.here(self.place, name, session)
            for name, sessions in self._sessions.items()
            for session in sessions
        } | self._said
        gone = [] if page.more else sorted(known - present)
        news = [each for key in gone for each in self.note(key, None)]
        for entry in sorted(page.entries, key=lambda entry: (entry.version, entry.key)):
            news += self.note(entry.key, entry.value)
        return news

    def note(self, key: bytes, value: bytes | None) -> list[keys.Said | News]:
        """Take one change, and return what is new in it."""
        found = keys.read_room(self.place, key, value)
        if isinstance(found, keys.Said):
            if value is None:
                self._said.discard(key)
            elif key not in self._said:
                self._said.add(key)
                return [found]
        elif isinstance(found, keys.Here):
            sessions = self._sessions.setdefault(found.name, set())
            was_there = bool(sessions)
            (sessions.discard if value is None else sessions.add)(found.session)
            if not sessions:
                del self._sessions[found.name]
            if was_there != bool(sessions):
                return [Left(found.name) if was_there else Arrived(found.name)]
        return []
