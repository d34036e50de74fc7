"""What all commands of a player have at hand: the world, the others, the terminal, and time."""

import math
import random
from collections.abc import Mapping
from typing import Final

import attrs

from trio440.cmud import prose
from trio440.cmud.commands import Unclear
from trio440.cmud.company import Company
from trio440.cmud.face import Face, Tone
from trio440.cmud.ledger import Ledger
from trio440.cmud.places import PLACES, START
from trio440.cmud.rules import Student, enrolled
from trio440.core.host import Host

__all__ = ["Desk"]

STEP_SECONDS: Final = 0.1
"""Between two looks at the progress."""


@attrs.define
class Desk:
    """One player's."""

    ledger: Ledger
    company: Company
    face: Face
    rng: random.Random
    words: random.Random
    """Chooses among several ways to say a thing, and nothing else."""
    pace: float
    """What waits are multiplied by."""
    ports: Host
    place: str = attrs.field(default=START, init=False)
    """Where the player is known to be."""

    async def look_up(self) -> tuple[Student, int | None]:
        """Return the student and what is left of the problem, None where there is none.

        One that somebody has wiped out begins anew.
        """
        state = await self.ledger.state()
        if state.student is None:
            await self.ledger.enrol()
            state = await self.ledger.state()
        return state.student or enrolled(self.place), state.left

    async def be_at(self, student: Student) -> None:
        """Be seen where the student is."""
        await self.company.enter(student.place, student.level.title)
        self.place = student.place

    async def show_inventory(self) -> None:
        """List what the player owns."""
        student, _ = await self.look_up()
        self.face.tell(prose.inventory(student))

    async def describe_place(self) -> None:
        """Tell what is around the player, and who."""
        place = PLACES[self.place]
        others = await self.company.around()
        self.face.tell(place.title, Tone.TITLE)
        self.face.tell(place.text)
        self.face.tell(prose.others_here(others))

    async def wait(self, title: str, seconds: float) -> None:
        """Let a while pass, in sight of the player."""
        total = seconds * self.pace
        steps = max(1, math.ceil(total / STEP_SECONDS))
        with self.face.progress(title) as advance:
            for step in range(steps):
                advance(step / steps)
                await self.ports.clock.sleep(total / steps)
            advance(1.0)

    def explain(self, command: Unclear, usages: Mapping[str, str]) -> None:
        """Help with what was no command."""
        if command.reason is None or command.usage is None:
            self.face.tell(prose.unknown_word(self.words))
            self.face.tell(prose.help_text(usages))
        else:
            self.face.tell(f"{command.reason[0].upper()}{command.reason[1:]}.", Tone.BAD)
            self.face.tell(prose.help_text({command.usage: usages[command.usage]}))
