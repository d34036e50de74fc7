"""Names, commands and keys of the game: what is taken, and why the rest is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.cmud import keys, prose
from trio440.cmud.commands import (
    FIGHT_HELP,
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
    Resign,
    Say,
    Shop,
    Solve,
    Stats,
    Unclear,
    Who,
    parse,
    parse_in_fight,
)
from trio440.cmud.names import MAX_NAME, MAX_SPEECH, checked_name, seen_text
from trio440.cmud.places import MAP, PLACES, START, place_named
from trio440.cmud.room import Heard, Present
from trio440.cmud.rules import Kind, Level, enrolled
from trio440.errors import BadMessage, InvalidParameter

named = pytest.mark.parametrize

# Names


@named("name", ["ada", "al", "alice", "Undergraduate", "Zoë", "李", "a" * 24, "x.y-z", "5", "<b>"])
def test_a_name(name: str) -> None:
    assert checked_name(name) == name


@named(
    ("name", "reason"),
    [
        ("", "not empty"),
        ("a/b", "without a slash"),
        ("/", "without a slash"),
        ("two words", "one word"),
        (" ada", "one word"),
        ("ada\n", "one word"),
        ("a" * (MAX_NAME + 1), "at most 24 characters"),
        ("\x1b[31m", "characters that can be seen"),
        ("a\0", "characters that can be seen"),
        ("\u202eada", "characters that can be seen"),
        ("\udc80", "characters that can be seen"),
    ],
)
def test_no_name_and_why(name: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        checked_name(name)


def test_two_ways_of_writing_a_letter_are_one_name() -> None:
    assert checked_name("Zoe\u0308") == checked_name("Zo\u00eb")


# Commands


COMMANDS: dict[str, Command] = {
    "help": Help(),
    "HELP me": Help(),
    "stats": Stats(),
    "map": Map(),
    "look": Look(),
    "move fence": Move("fence"),
    "move the Bridge": Move("bridge"),
    "move 9": Move("9"),
    "move floor 9": Move("9"),
    "mine": Mine(1),
    "  Mine   3 ": Mine(3),
    "mine 100": Mine(100),
    "mine 007": Mine(7),
    "shop": Shop(),
    "buy cpu": Buy(Kind.CPU),
    "buy Dark Matter": Buy(Kind.DARK_MATTER),
    "buy dark_matter": Buy(Kind.DARK_MATTER),
    "inv": Inventory(),
    "solve": Solve(),
    "who": Who(),
    "say Hello,   you": Say("Hello, you"),
    "say \x1b[31mred\x07": Say("[31mred"),
    "quit": Quit(),
}


@named("line", COMMANDS)
def test_a_command(line: str) -> None:
    assert parse(line) == COMMANDS[line]


@named(
    ("line", "reason"),
    [
        ("mine x", "N must be a whole number from 1 to 100, not 'x'"),
        ("mine 0", "N must be a whole number from 1 to 100, not '0'"),
        ("mine -3", "N must be a whole number from 1 to 100, not '-3'"),
        ("mine 101", "N must be a whole number from 1 to 100, not '101'"),
        ("mine 1e2", "N must be a whole number from 1 to 100, not '1e2'"),
        ("mine 1 2", "N must be a whole number from 1 to 100, not '1 2'"),
        ("mine ٣", "N must be a whole number from 1 to 100, not '٣'"),
        ("mine " + "9" * 5_000, "N must be a whole number from 1 to 100"),
        ("move", "place must be fence, bridge, or a floor from 1 to 9, not ''"),
        ("move 0", "place must be fence, bridge, or a floor from 1 to 9, not '0'"),
        ("move 10", "place must be fence, bridge, or a floor from 1 to 9, not '10'"),
        ("move up a floor", "place must be"),
        ("buy", "KIND must be cpu, gpu, asic, quantum or dark_matter, not ''"),
        ("buy coffee", "KIND must be cpu, gpu, asic, quantum or dark_matter, not 'coffee'"),
        ("say", "TEXT must be something one can hear"),
        ("say \x07", "TEXT must be something one can hear"),
        ("quit now", "this command must be alone on its line, not 'now'"),
    ],
)
def test_nearly_a_command_says_what_is_wrong(line: str, reason: str) -> None:
    command = parse(line)
    assert isinstance(command, Unclear)
    assert command.reason is not None
    assert command.reason.startswith(reason)
    assert command.usage in HELP


@named("line", ["dance", "m", "solve!", "resign", "\x1b[A", "миня 3"])
def test_an_unknown_word(line: str) -> None:
    assert parse(line) == Unclear(None)


def test_within_the_fight_there_are_fewer_commands() -> None:
    assert [parse_in_fight(line) for line in ("help", "solve", "inv", "RESIGN", "quit")] == [
        Help(),
        Solve(),
        Inventory(),
        Resign(),
        Quit(),
    ]
    assert parse_in_fight("mine 3") == Unclear(None)
    assert parse_in_fight("solve it") == Unclear(
        "this command must be alone on its line, not 'it'", "solve"
    )
    assert {line.split()[0] for line in FIGHT_HELP} == {"help", "solve", "inv", "resign", "quit"}


@given(st.text(max_size=300))
def test_any_line_is_read(line: str) -> None:
    for parsed in (parse(line), parse_in_fight(line)):
        if isinstance(parsed, Unclear) and parsed.usage is not None:
            assert parsed.usage in {*HELP, *FIGHT_HELP}
        if isinstance(parsed, Say):
            assert parsed.text.isprintable()
            assert 1 <= len(parsed.text) <= MAX_SPEECH


def test_the_help_lists_every_command() -> None:
    listed = {usage.split()[0] for usage in HELP}
    assert listed == {line.lower().split()[0] for line in COMMANDS}


# Places and texts


def test_there_are_eleven_places() -> None:
    assert [*PLACES] == ["fence", "bridge", *"123456789"]
    assert START == "5"
    assert all(place_named(name).name == name for name in PLACES)
    assert all(name in MAP for name in PLACES)
    assert len({place.text for place in PLACES.values()}) == len(PLACES)


def test_what_others_say_obeys_no_terminal() -> None:
    assert seen_text("a\x1b[2Jb\r\n\tc\u202e") == "a [2Jb c"
    assert len(seen_text("x " * 500)) <= MAX_SPEECH
    told = prose.news(Heard("bob", seen_text("hi\x07"), is_own=False))
    assert told == 'bob: "hi"'


def test_a_crowd_is_cut() -> None:
    crowd = [Present(f"p{number}", "5", "PhD") for number in range(100)]
    assert prose.others_here(crowd).endswith("p39 (PhD) and 60 more.")
    assert prose.who(crowd).splitlines()[-1] == "  and 60 more"
    assert prose.others_here(crowd[:1]) == "With you: p0 (PhD)."
    assert prose.others_here(crowd[:2]) == "With you: p0 (PhD) and p1 (PhD)."


def test_every_text_names_what_happened() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        assert "7 coins" in prose.dug(7, rng)
        assert "1 coin" in prose.dug(1, rng)
        assert "coin" not in prose.dug(0, rng)
    assert "2 gpu" in prose.bought(Kind.GPU, 2, 0)
    assert "no coins" in prose.bought(Kind.GPU, 0, 0)
    assert "5 coins each" in prose.bought(Kind.GPU, 0, 0)


# Keys


def is_name(text: str) -> bool:
    try:
        return checked_name(text) == text
    except InvalidParameter:
        return False


NAMES = st.text(min_size=1, max_size=MAX_NAME).filter(is_name)


def keys_of(name: str) -> list[bytes]:
    return [
        keys.player(name),
        keys.loc(name),
        keys.balance(name),
        *(keys.comp(name, kind) for kind in Kind),
        keys.receipt(name, "s"),
        *(keys.here(place, name, "s") for place in PLACES),
        *(keys.said(place, name, "s", 1) for place in PLACES),
    ]


WORLD_KEYS = [keys.problem(level) for level in Level]


@given(NAMES, NAMES)
def test_no_two_players_share_a_key_and_none_has_one_of_the_world(one: str, two: str) -> None:
    mine = keys_of(one)
    assert len({*mine}) == len(mine)
    assert not {*mine} & {*WORLD_KEYS}
    if one != two:
        assert not {*mine} & {*keys_of(two)}


@named("level", Level)
def test_a_player_named_like_a_level_has_other_keys_than_its_problem(level: Level) -> None:
    assert keys.problem(level) not in keys_of(level.title)


def test_a_name_that_begins_another_sees_nothing_of_it() -> None:
    for place in PLACES:
        assert not keys.here(place, "alice", "s").startswith(keys.room(place) + b"here/al/")
    assert not keys.comp("alice", Kind.CPU).startswith(b"comp/al/")


@given(NAMES, st.sampled_from([*PLACES]))
def test_a_room_is_read_as_it_was_written(name: str, place: str) -> None:
    found = keys.read_room(place, keys.here(place, name, "ab"), b"PhD")
    assert found == keys.Here(name, "ab")
    said = keys.read_room(place, keys.said(place, name, "ab", 7), "hé\x1b".encode())
    assert said == keys.Said(name, "ab", "hé")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_strange_keys_of_a_room_are_no_business_of_the_game(rest: bytes, value: bytes) -> None:
    found = keys.read_room("5", keys.room("5") + rest, value)
    if found is not None:
        assert found.name.isprintable()
        assert "/" not in found.name


@named("value", [b"", b"-1", b"1.5", b"x", b"\xff", b"9" * 31, b" 1", "٣".encode()])
def test_what_is_no_number(value: bytes) -> None:
    with pytest.raises(BadMessage, match=r"^balance/ada of the store cannot be"):
        keys.decode_number(keys.balance("ada"), value)


def test_values_are_read_as_they_were_written() -> None:
    assert keys.decode_number(b"k", keys.number(0)) == 0
    assert keys.decode_number(b"k", keys.number(10**29)) == 10**29
    with pytest.raises(BadMessage):
        keys.decode_number(b"k", b"0", least=1)
    with pytest.raises(BadMessage):
        keys.decode_number(b"k", b"101", most=100)
    for level in Level:
        assert keys.decode_level(b"k", level.title.encode()) is level
    with pytest.raises(BadMessage):
        keys.decode_level(b"k", b"Dean")
    assert keys.decode_place(b"k", b"fence") == "fence"
    with pytest.raises(BadMessage):
        keys.decode_place(b"k", b"10")


def test_the_tables_of_a_student() -> None:
    assert prose.inventory(enrolled("5")).splitlines() == [
        "        1  cpu          power 1",
        "        0  coins",
    ]
