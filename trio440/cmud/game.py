"""One player's game: what each command does, from the first line to the last.

The game has no terminal and no store of its own: a :class:`~trio440.cmud.face.Face` shows it and
gives it lines, a namespace holds the world.
"""

import random
from collections.abc import Callable
from typing import Final

import attrs

from trio440.cmud import prose
from trio440.cmud.commands import (
    HELP,
    Buy,
    Command,
    Help,
    Inventory,
    Look,
    Map,
    Mine,
    Move,
    Quit,
    Say,
    Shop,
    Solve,
    Stats,
    Unclear,
    Who,
    parse,
)
from trio440.cmud.company import Company
from trio440.cmud.desk import Desk
from trio440.cmud.doors import Doors
from trio440.cmud.face import Face, Tone
from trio440.cmud.fight import fight
from trio440.cmud.ledger import Ledger, State
from trio440.cmud.names import checked_name
from trio440.cmud.places import MAP, PLACES
from trio440.cmud.room import Heard, News
from trio440.cmud.rules import Dig, Kind, Purchase, Student, buy, dig, enrolled
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import BadMessage, OperationRefused, StoreUnavailable
from trio440.kv import Namespace

__all__ = ["DIG_SECONDS", "play"]

DIG_SECONDS: Final = 1.5
LEAVE_SECONDS: Final = 2.0
"""How long a game that ends waits for the store to take its goodbye."""


async def play(
    namespace: Namespace,
    name: str,
    face: Face,
    *,
    rng: random.Random,
    pace: float = 1.0,
    turn: Callable[[], None] | None = None,
    ports: Host = REAL_HOST,
) -> None:
    """Play until the player quits or the input ends. Cancelled: the world is as it was told.

    Args:
        namespace: holds the world.
        name: of the player.
        face: what the player sits at.
        rng: decides what chance decides.
        pace: what the waits for mining and solving are multiplied by, 0 or more.
        turn: called where the namespace is unavailable, before it is tried again: makes it use
            another server.
        ports: give the time, and what tells this terminal from others.

    Raises:
        InvalidParameter: the name is none.
        StoreUnavailable: nobody has answered for a minute.
        BadMessage: the store holds nonsense about this player.
        OperationRefused: the store is full.
    """
    name = checked_name(name)
    session = f"{ports.rng.getrandbits(64):016x}"
    doors = Doors(namespace, turn=turn, ports=ports, say=lambda text: face.tell(text, Tone.QUIET))

    def tell(news: News) -> None:
        face.tell(prose.news(news), Tone.VOICE if isinstance(news, Heard) else Tone.QUIET)

    company = Company(doors, name, session, ports=ports, tell=tell)
    ledger = Ledger(doors, name, session)
    words = random.Random(rng.random())
    desk = Desk(ledger, company, face, rng, words, pace, ports)
    await _begin(desk)
    async with open_service_nursery() as nursery:
        nursery.start_soon(company.keep)
        await _go_on(desk)
        with ports.clock.move_on_after(LEAVE_SECONDS):
            await _end(desk)


async def _begin(desk: Desk) -> None:
    """Let the player in."""
    student, was_there = await desk.ledger.enrol()
    await desk.be_at(student)
    desk.face.tell(prose.welcome(desk.ledger.name, is_new=not was_there))
    if not desk.ledger.is_atomic:
        desk.face.tell(
            "The clocks on this campus disagree by a little: what two do in the same moment may "
            "count once.",
            Tone.QUIET,
        )
    await desk.describe_place()
    desk.face.tell("Type help for what you can do.", Tone.QUIET)


async def _go_on(desk: Desk) -> None:
    """Carry out commands until the last."""
    goes_on = True
    while goes_on:
        line = await desk.face.ask(f"{desk.ledger.name} {PLACES[desk.place].phrase}> ")
        if line is None:
            return
        if not line.strip():
            continue
        try:
            goes_on = await _carry_out(desk, parse(line))
        except (BadMessage, OperationRefused) as error:
            desk.face.tell(f"The registrar shakes her head: {error}.", Tone.BAD)


async def _end(desk: Desk) -> None:
    """Let the player out."""
    desk.face.tell("You turn up your collar and leave. The campus keeps your desk warm.")
    try:
        await desk.company.leave()
        await desk.ledger.close()
    except StoreUnavailable:
        return  # what is left behind goes by itself


async def _carry_out(desk: Desk, command: Command) -> bool:
    """Carry out a command; return whether the game goes on."""
    match command:
        case Quit():
            return False
        case Solve():
            return await fight(desk)
        case Move():
            await _move(desk, command.place)
        case Mine():
            await _mine(desk, command.times)
        case Buy():
            await _buy(desk, command.kind)
        case Say():
            await _follow(desk)
            await desk.company.say(command.text)
            desk.face.tell(f'You: "{command.text}"', Tone.VOICE)
        case Unclear():
            desk.explain(command, HELP)
        case _:
            await _show(desk, command)
    return True


async def _show(desk: Desk, command: Command) -> None:
    """Carry out a command that changes nothing."""
    match command:
        case Help():
            desk.face.tell(prose.AIM)
            desk.face.tell(prose.help_text(HELP))
        case Map():
            desk.face.tell(MAP)
        case Stats():
            student, left = await desk.look_up()
            desk.face.tell(prose.stats(desk.ledger.name, student, left))
        case Shop():
            student, _ = await desk.look_up()
            desk.face.tell(prose.shop(student.coins))
        case Inventory():
            await desk.show_inventory()
        case Look():
            await _follow(desk)
            await desk.describe_place()
        case Who():
            desk.face.tell(prose.who(await desk.company.everybody()))
        case _:
            raise AssertionError(command)


async def _move(desk: Desk, place: str) -> None:
    if place == desk.place:
        desk.face.tell(f"You are {PLACES[place].phrase} already. You turn around once.")
        return

    def decide(state: State) -> tuple[State, Student]:
        student = attrs.evolve(state.student or enrolled(place), place=place)
        return attrs.evolve(state, student=student), student

    await desk.be_at(await desk.ledger.change(decide))
    desk.face.tell(prose.moved(place, desk.words))
    await desk.describe_place()


async def _follow(desk: Desk) -> None:
    """Go where another terminal of the player has gone."""
    student, _ = await desk.look_up()
    if student.place != desk.place:
        await desk.be_at(student)
        desk.face.tell(
            "Your feet went without you: at another terminal you have moved, and so you are "
            f"{PLACES[desk.place].phrase}.",
            Tone.QUIET,
        )


async def _mine(desk: Desk, times: int) -> None:
    def decide(state: State) -> tuple[State, Dig]:
        result = dig(state.student or enrolled(desk.place), desk.rng)
        return attrs.evolve(state, student=result.student), result

    total = 0
    for count in range(1, times + 1):
        await desk.wait(f"mining {count} of {times}", DIG_SECONDS)
        result = await desk.ledger.change(decide)
        total += result.coins
        tone = Tone.GOOD if result.coins else Tone.QUIET
        desk.face.tell(prose.dug(result.coins, desk.words), tone)
        if count == times > 1:
            desk.face.tell(prose.mined(total, result.student.coins))


async def _buy(desk: Desk, kind: Kind) -> None:
    def decide(state: State) -> tuple[State, Purchase]:
        result = buy(state.student or enrolled(desk.place), kind)
        return attrs.evolve(state, student=result.student), result

    result = await desk.ledger.change(decide)
    tone = Tone.GOOD if result.count else Tone.PLAIN
    desk.face.tell(prose.bought(kind, result.count, result.student.coins), tone)
