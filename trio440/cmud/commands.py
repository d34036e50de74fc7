"""What a player types, read as a command; what is none says what would be. Pure."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from trio440.cmud.names import seen_text
from trio440.cmud.places import place_named
from trio440.cmud.rules import MAX_DIGS, Kind
from trio440.errors import InvalidParameter

__all__ = [
    "FIGHT_HELP",
    "HELP",
    "Buy",
    "Command",
    "Help",
    "Inventory",
    "Look",
    "Map",
    "Mine",
    "Move",
    "Quit",
    "Resign",
    "Say",
    "Shop",
    "Solve",
    "Stats",
    "Unclear",
    "Who",
    "parse",
    "parse_in_fight",
]


@attrs.frozen
class Help:
    """List the commands."""


@attrs.frozen
class Stats:
    """Tell level, coins, power and problem."""


@attrs.frozen
class Map:
    """Draw the campus."""


@attrs.frozen
class Move:
    """Go somewhere."""

    place: str


@attrs.frozen
class Mine:
    """Mine coins."""

    times: int = 1


@attrs.frozen
class Shop:
    """List what is sold."""


@attrs.frozen
class Buy:
    """Buy as many of a kind as can be paid."""

    kind: Kind


@attrs.frozen
class Inventory:
    """List what one owns."""


@attrs.frozen
class Solve:
    """Face the problem; within the fight, make an attempt."""


@attrs.frozen
class Resign:
    """Leave the fight."""


@attrs.frozen
class Look:
    """Look around."""


@attrs.frozen
class Who:
    """List who is on campus."""


@attrs.frozen
class Say:
    """Say something to whoever is here."""

    text: str


@attrs.frozen
class Quit:
    """Leave the game."""


@attrs.frozen
class Unclear:
    """This was no command."""

    reason: str | None
    """What was wrong with the rest of one that was nearly right; None: an unknown word."""
    usage: str | None = None
    """How that command is used."""


Command: TypeAlias = (
    Help
    | Stats
    | Map
    | Move
    | Mine
    | Shop
    | Buy
    | Inventory
    | Solve
    | Resign
    | Look
    | Who
    | Say
    | Quit
    | Unclear
)

HELP: Final = {
    "help": "this list",
    "stats": "your level, your coins, and what is left of your problem",
    "map": "the campus",
    "look": "what is around you, and who",
    "move PLACE": "go to the fence, the bridge, or a floor from 1 to 9",
    "mine [N]": f"mine coins, N times, up to {MAX_DIGS}",
    "shop": "what is for sale",
    "buy KIND": "buy as many of a kind of hardware as you can pay",
    "inv": "what you own",
    "solve": "face the problem of your level",
    "who": "who is on campus",
    "say TEXT": "say something to everybody here",
    "quit": "leave; the campus remembers you",
}
"""How each command is used, and what it does."""

FIGHT_HELP: Final = {
    "help": "this list",
    "solve": "make an attempt",
    "inv": "what you own",
    "resign": "walk away, for now",
    "quit": "leave the game",
}


def parse(line: str) -> Command:
    """Read a line that is not blank."""
    return _parse(line, _MAKERS, HELP)


def parse_in_fight(line: str) -> Command:
    """Read a line that is not blank while the player faces a problem."""
    return _parse(line, _FIGHT_MAKERS, FIGHT_HELP)


def _parse(
    line: str, makers: "Mapping[str, Callable[[str], Command]]", usages: Mapping[str, str]
) -> Command:
    verb, _, rest = line.strip().partition(" ")
    make = makers.get(verb.lower())
    if make is None:
        return Unclear(None)
    try:
        return make(rest.strip())
    except InvalidParameter as error:
        usage = next(each for each in usages if each.split()[0] == verb.lower())
        return Unclear(str(error), usage)


def _alone(command: Command) -> Callable[[str], Command]:
    """Make a command of one word."""

    def make(rest: str) -> Command:
        if rest:
            raise InvalidParameter("this command", rest, "alone on its line")
        return command

    return make


def _move(rest: str) -> Command:
    return Move(place_named(rest).name)


def _mine(rest: str) -> Command:
    if not rest:
        return Mine()
    digits = rest if rest.isascii() and rest.isdigit() and len(rest) <= len(str(MAX_DIGS)) else ""
    if not digits or not 1 <= int(digits) <= MAX_DIGS:
        raise InvalidParameter("N", rest, f"a whole number from 1 to {MAX_DIGS}")
    return Mine(int(digits))


def _buy(rest: str) -> Command:
    wanted = "_".join(rest.lower().split())
    for kind in Kind:
        if wanted == kind.title:
            return Buy(kind)
    kinds = [kind.title for kind in Kind]
    raise InvalidParameter("KIND", rest, f"{', '.join(kinds[:-1])} or {kinds[-1]}")


def _say(rest: str) -> Command:
    text = seen_text(rest)
    if not text:
        raise InvalidParameter("TEXT", rest, "something one can hear")
    return Say(text)


_MAKERS: Final[dict[str, Callable[[str], Command]]] = {
    "help": lambda _: Help(),
    "stats": _alone(Stats()),
    "map": _alone(Map()),
    "look": _alone(Look()),
    "move": _move,
    "mine": _mine,
    "shop": _alone(Shop()),
    "buy": _buy,
    "inv": _alone(Inventory()),
    "solve": _alone(Solve()),
    "who": _alone(Who()),
    "say": _say,
    "quit": _alone(Quit()),
}

_FIGHT_MAKERS: Final[dict[str, Callable[[str], Command]]] = {
    "help": lambda _: Help(),
    "solve": _alone(Solve()),
    "inv": _alone(Inventory()),
    "resign": _alone(Resign()),
    "quit": _alone(Quit()),
}
