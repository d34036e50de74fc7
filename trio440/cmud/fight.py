"""The fight with the problem of a level, from the first look at it to the end."""

from typing import Final

from trio440.cmud import prose
from trio440.cmud.commands import (
    FIGHT_HELP,
    Help,
    Inventory,
    Quit,
    Resign,
    Solve,
    Unclear,
    parse_in_fight,
)
from trio440.cmud.desk import Desk
from trio440.cmud.face import Tone
from trio440.cmud.ledger import State
from trio440.cmud.rules import AllGone, Attempt, Blow, Chipped, Solved, Stuck, attempt, enrolled

__all__ = ["SOLVE_SECONDS", "fight"]

SOLVE_SECONDS: Final = 2.0

TONES: Final = {
    Blow: Tone.BAD,
    AllGone: Tone.BAD,
    Stuck: Tone.PLAIN,
    Chipped: Tone.GOOD,
    Solved: Tone.GOOD,
}


async def fight(desk: Desk) -> bool:
    """Face the problem until it is solved, or the player is out; whether the game goes on."""
    student, left = await desk.look_up()
    if left is None:
        desk.face.tell("You are retired. Nothing is left to be solved, except the tomatoes.")
        return True
    desk.face.tell(prose.problem(student.level, left), Tone.TITLE)
    desk.face.tell(prose.help_text(FIGHT_HELP))
    known: int | None = left
    while known is not None:
        line = await desk.face.ask(f"{desk.ledger.name} at the problem> ")
        command = Quit() if line is None else parse_in_fight(line)
        if isinstance(command, Quit):
            return False
        if isinstance(command, Resign):
            desk.face.tell("You walk away. The problem does not look up.")
            return True
        if isinstance(command, Solve):
            known = await _attempt(desk, known)
        elif isinstance(command, Inventory):
            await desk.show_inventory()
        elif isinstance(command, Help):
            desk.face.tell(prose.help_text(FIGHT_HELP))
        elif isinstance(command, Unclear) and line and line.strip():
            desk.explain(command, FIGHT_HELP)
    return True


async def _attempt(desk: Desk, known: int) -> int | None:
    """Make an attempt; return what is left of the problem, None where the fight is over.

    Args:
        desk: the player's.
        known: what was left of it when the player looked last.
    """

    def decide(state: State) -> tuple[State, tuple[Attempt, int] | None]:
        student = state.student or enrolled(desk.place)
        if state.left is None or student.level.problem is None:
            return state, None
        result = attempt(student, state.left, desk.rng)
        left = state.left
        if isinstance(result, Chipped):
            left = result.left
        elif isinstance(result, Solved):
            left = student.level.problem
        return State(result.student, left), (result, state.left)

    await desk.wait("thinking", SOLVE_SECONDS)
    found = await desk.ledger.change(decide, with_problem=True)
    if found is None:
        desk.face.tell("At your other terminal you have retired. There is nothing to solve.")
        return None
    result, left = found
    if left > known:
        desk.face.tell("Somebody was faster: it was solved, and has got up again.", Tone.QUIET)
    desk.face.tell(prose.attempted(result, left, desk.words), TONES[type(result)])
    if isinstance(result, Solved):
        await desk.be_at(result.student)
    if isinstance(result, Solved | AllGone):
        return None
    return result.left if isinstance(result, Chipped) else left
