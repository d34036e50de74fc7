"""What the game needs of whatever a player sits at: a terminal, a pipe, a test."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

__all__ = ["Face", "Tone"]


class Tone(Enum):
    """How a line is meant; a terminal has a colour for each."""

    PLAIN = "plain"
    TITLE = "title"
    GOOD = "good"
    BAD = "bad"
    VOICE = "voice"
    """Somebody else, or what happens around one."""
    QUIET = "quiet"


class Face(Protocol):
    """Where a game is played."""

    async def ask(self, prompt: str) -> str | None:
        """Return the next line that the player types; None at the end of input.

        Lines are told meanwhile, and disturb nothing. Cancelled: nothing was taken.
        """

    def tell(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Show one or more lines; long ones are wrapped at words."""

    def progress(self, title: str) -> AbstractContextManager[Callable[[float], None]]:
        """Show that something takes its time; what is yielded takes the share done, 0 to 1."""
