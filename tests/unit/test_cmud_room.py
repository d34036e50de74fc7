"""What a terminal knows of a room."""

from trio440.cmud import keys
from trio440.cmud.keys import Said
from trio440.cmud.room import Arrived, Left, News, Room
from trio440.kv import Entry, Page

ADA, ADA_TOO, BOB = (
    keys.here("5", name, session) for name, session in (("ada", "1"), ("ada", "2"), ("bob", "3"))
)
HELLO = keys.said("5", "bob", "3", 1)


def test_one_with_two_terminals_comes_once_and_goes_once() -> None:
    room = Room("5")
    told: list[Said | News] = []
    for key, value in ((ADA, b""), (ADA_TOO, b""), (ADA, b""), (ADA, None), (ADA_TOO, None)):
        told += room.note(key, value)
    assert told == [Arrived("ada"), Left("ada")]
    assert room.note(ADA, None) == []


def test_a_sentence_is_heard_once() -> None:
    room = Room("5")
    assert room.note(HELLO, b"hi") == [Said("bob", "3", "hi")]
    assert room.note(HELLO, b"hi") == []
    assert room.note(HELLO, None) == []


def test_what_was_missed_is_told_in_its_order() -> None:
    room = Room("5")
    room.catch_up(Page((Entry(ADA, b"", 1), Entry(HELLO, b"hi", 2))))
    later = keys.said("5", "ada", "1", 1)
    page = Page((Entry(BOB, b"", 9), Entry(HELLO, b"hi", 2), Entry(later, b"oh", 5)))
    assert room.catch_up(page) == [Left("ada"), Said("ada", "1", "oh"), Arrived("bob")]
    assert room.catch_up(page) == []


def test_where_not_all_is_listed_nobody_is_taken_for_gone() -> None:
    room = Room("5")
    room.catch_up(Page((Entry(ADA, b"", 1), Entry(HELLO, b"hi", 2))))
    assert room.catch_up(Page((Entry(BOB, b"", 9),), more=True)) == [Arrived("bob")]
    assert room.note(HELLO, b"hi") == []
    assert room.catch_up(Page((Entry(BOB, b"", 9),))) == [Left("ada")]


def test_keys_of_nobody_are_passed_over() -> None:
    room = Room("5")
    assert room.note(b"room/5/here//x", b"") == []
    assert room.note(b"room/5/here/a b/x", b"") == []
    assert room.note(b"room/5/said/bob/x", b"") == []
    assert room.note(b"room/5/else", b"") == []
    assert room.note(b"room/5/here/\xff/x", b"") == []
