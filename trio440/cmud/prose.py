"""What the campus says. Pure: each text takes what it tells of, and has no say in the rules.

Where there are several ways to say a thing, chance takes one.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from trio440.cmud.places import PLACES
from trio440.cmud.room import Arrived, Heard, Left, News, Present
from trio440.cmud.rules import AllGone, Attempt, Blow, Chipped, Kind, Level, Solved, Stuck, Student

__all__ = [
    "AIM",
    "attempted",
    "bought",
    "dug",
    "help_text",
    "inventory",
    "mined",
    "moved",
    "news",
    "others_here",
    "problem",
    "shop",
    "stats",
    "unknown_word",
    "welcome",
    "who",
]

AIM: Final = (
    "Mine coins, buy hardware with them, and wear down the problem of your level: who takes the "
    "last of it is promoted. More power mines more, and solves faster."
)
MOST_NAMES: Final = 40
"""Of those who are listed."""

PROBLEMS: Final = {
    Level.UNDERGRADUATE: "The Midterm: one question, and it is a trick.",
    Level.MASTERS: "The Project: your partner has dropped the course, and has kept the code.",
    Level.PHD: "The Thesis: page one defines a word that page two needs in another sense.",
    Level.POSTDOC: "The Grant: forty pages, due yesterday, to be signed by someone on sabbatical.",
    Level.PROFESSOR: "The Open Problem: it has eaten careers, and is looking at yours.",
}

GOODS: Final = {
    Kind.CPU: "used, but with all its pins",
    Kind.GPU: "draws triangles and conclusions",
    Kind.ASIC: "does one thing and never blinks",
    Kind.QUANTUM: "sold as seen; do not look",
    Kind.DARK_MATTER: "the box is empty, and very heavy",
}

VEINS: Final = (
    "A vein glitters between two stack frames: {coins}.",
    "You shake the hash function, and out comes the sound of {coins}.",
    "Forgotten in an unused cache line: {coins}.",
    "The fans howl, a lamp turns green: {coins}.",
    "You split a block, and look inside: {coins}.",
    "A nonce fits at the first try, and nobody saw it: {coins}.",
)
DUST: Final = (
    "Your pick hits a checksum and bounces. Nothing.",
    "An orphaned block. You bury it with dignity.",
    "You were mining the wrong branch. It is dust.",
    "The result was right, and somebody else's. Nothing.",
)
CHIPS: Final = (
    "A lemma gives way.",
    "You cross out a page, and the page was in the way.",
    "The induction step holds. You lean on it, hard.",
    "A counterexample dies in your arms.",
    "You sleep on it, and it is smaller in the morning.",
)
STUCK: Final = (
    "You stare at the problem. It has more patience than you.",
    "You prove that zero is zero. It is not what was asked.",
    "A fire drill. When you are back you have lost the thread.",
)
BLOWS: Final = (
    "Overnight something divides by zero, in hardware.",
    "A fan stops. What it cooled does not.",
    "You hear a pop, and smell a deadline.",
)


def welcome(name: str, *, is_new: bool) -> str:
    """Greet a player."""
    if is_new:
        return (
            f'The registrar looks up. "{name}? Never heard of you. Sign here." You are handed '
            "a cpu with a thumbprint on it, and the good wishes of the faculty. They are not "
            "transferable."
        )
    return f'The porter nods. "{name}. We have kept your things as you left them."'


def help_text(usages: Mapping[str, str]) -> str:
    """List commands."""
    width = max(map(len, usages)) + 2
    return "\n".join(f"  {usage:<{width}}{purpose}" for usage, purpose in usages.items())


def unknown_word(rng: random.Random) -> str:
    """Say that this was no command."""
    return rng.choice(
        (
            "The campus does not know that word. It knows these:",
            "Nothing happens, in a tone of reproach. You could try:",
            "The syllabus has no such thing. It has these:",
        )
    )


def moved(place: str, rng: random.Random) -> str:
    """Tell of the way to a place."""
    phrase = PLACES[place].phrase
    if place.isdigit():
        return rng.choice(
            (
                f"The lift thinks about it and lets you out {phrase}.",
                f"You take the stairs, two at a time, and are {phrase} before you regret it.",
            )
        )
    return f"The wind in the yard reads your notes and keeps page two. You are {phrase}."


def others_here(others: Sequence[Present]) -> str:
    """Say who else is here."""
    if not others:
        return "You are alone here, apart from the hum."
    listed = [f"{each.name} ({each.level})" for each in others[:MOST_NAMES]]
    if len(others) > MOST_NAMES:
        listed.append(f"{len(others) - MOST_NAMES} more")
    together = " and ".join(part for part in (", ".join(listed[:-1]), listed[-1]) if part)
    return f"With you: {together}."


def who(everybody: Sequence[Present]) -> str:
    """List who is on campus."""
    lines = [
        f"  {each.name:<24}  {each.level:<13}  {PLACES[each.place].phrase}"
        for each in everybody[:MOST_NAMES]
    ]
    if len(everybody) > MOST_NAMES:
        lines.append(f"  and {len(everybody) - MOST_NAMES} more")
    return "\n".join(lines) or "  Nobody, not even you. The porter is as surprised as you are."


def news(event: News) -> str:
    """Tell what happens in the room."""
    match event:
        case Arrived():
            return f"{event.name} comes in."
        case Left():
            return f"{event.name} is gone."
        case Heard():
            speaker = "You, at your other terminal" if event.is_own else event.name
            return f'{speaker}: "{event.text}"'
    assert_never(event)


def stats(name: str, student: Student, left: int | None) -> str:
    """Tell how a student is doing."""
    rows = {
        "name": name,
        "level": student.level.title,
        "place": PLACES[student.place].phrase,
        "coins": f"{student.coins:,}",
        "power": f"{student.power:,}",
        "problem": "none; you are retired"
        if left is None
        else f"{left:,} of {student.level.problem:,} left",
    }
    return "\n".join(f"  {title:<9}{value}" for title, value in rows.items())


def inventory(student: Student) -> str:
    """List what a student owns."""
    lines = [
        f"  {student.count(kind):>7,}  {kind.title:<12} power {student.count(kind) * kind.power:,}"
        for kind in Kind
        if student.count(kind)
    ]
    return "\n".join(
        [*lines, f"  {student.coins:>7,}  {'coins' if student.coins != 1 else 'coin'}"]
    )


def shop(coins: int) -> str:
    """List what is for sale."""
    lines = [
        f"  {kind.title:<12} {kind.price:>4} {'coins' if kind.price > 1 else 'coin '}  "
        f"power {kind.power:>6,}  {GOODS[kind]}"
        for kind in Kind
    ]
    return "\n".join(
        ["The shop is a hatch with a hand in it.", *lines, f"You have {_coins(coins)}."]
    )


def bought(kind: Kind, count: int, coins: int) -> str:
    """Tell of a purchase, or that there was none."""
    if not count:
        return (
            f"The hand in the hatch counts what you have, {_coins(coins)}, and does not let go of "
            f"the {kind.title}: {_coins(kind.price)} each."
        )
    return f"The hand takes your money and gives you {count:,} {kind.title}. {_left(coins)}"


def dug(coins: int, rng: random.Random) -> str:
    """Tell what a dig brought."""
    return rng.choice(VEINS).format(coins=_coins(coins)) if coins else rng.choice(DUST)


def mined(total: int, coins: int) -> str:
    """Sum up several digs."""
    return f"Altogether {_coins(total)}; you have {_coins(coins)}."


def problem(level: Level, left: int) -> str:
    """Show the problem of a level that has one."""
    size = level.problem or left
    mood = (
        "Nobody has touched it yet."
        if left == size
        else f"{left:,} of {size:,} are left; you are not the first here."
    )
    return f"{PROBLEMS[level]} {mood}"


def attempted(result: Attempt, left: int, rng: random.Random) -> str:
    """Tell of an attempt at the problem.

    Args:
        result: of the attempt.
        left: of the problem before it.
        rng: chooses the words.
    """
    match result:
        case Blow():
            return f"{rng.choice(BLOWS)} You lose {result.lost:,} {result.kind.title}."
        case AllGone():
            return (
                f"{rng.choice(BLOWS)} That was the last {result.kind.title} you had. A kind soul "
                "from the help desk leads you out and presses one cpu into your hand."
            )
        case Stuck():
            return rng.choice(STUCK)
        case Chipped():
            return (
                f"{rng.choice(CHIPS)} The problem is down by {left - result.left:,} to "
                f"{result.left:,}."
            )
        case Solved():
            return _promoted(result.student.level)
    assert_never(result)


def _promoted(level: Level) -> str:
    if level is Level.RETIRED:
        return (
            "It is solved. There is a long silence, then cake. They give you a key to the roof "
            "garden and ask for the one to your office. You are Retired."
        )
    return (
        "It is solved! Somebody rings the bell in the yard, somebody complains about the bell. "
        f"A new card is under your door: {level.title}, it says, and the problem that goes with "
        "that is larger. Behind you the old one gets up again, for the next student."
    )


def _coins(number: int) -> str:
    return "1 coin" if number == 1 else f"{number:,} coins" if number else "no coins"


def _left(coins: int) -> str:
    return f"{_coins(coins).capitalize()} left."
