"""The line that is edited: what keys do to it, and what of it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from trio440.cli.line_editor import Cleared, Completing, Ended, Entered, LineEditor, Search

named = pytest.mark.parametrize

UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"


def typed(*keys: str, editor: LineEditor | None = None) -> LineEditor:
    editor = editor or LineEditor()
    for key in keys:
        assert [*editor.feed(key.encode())] == []
    return editor


@named(
    ("keys", "text"),
    [
        ("hello", "hello"),
        ("helo" + LEFT + "l", "hello"),
        ("ello\x01h", "hello"),
        ("ello\x1b[Hh\x1b[F!", "hello!"),
        ("ello\x1b[1~h\x1b[4~!", "hello!"),
        ("ello\x1bOHh\x1bOF!", "hello!"),
        ("hexllo" + LEFT * 3 + "\x7f", "hello"),
        ("hexllo" + LEFT * 4 + "\x1b[3~", "hello"),
        ("hexllo" + LEFT * 4 + "\x04", "hello"),
        ("\x7f\x08" + LEFT + RIGHT + "a", "a"),
        ("say hello\x15mine", "mine"),
        ("say hello" + LEFT * 6 + "\x0b", "say"),
        ("say hello you \x17", "say hello "),
        ("say hello\x17\x17look", "look"),
        ("ab\x02c\x06d", "acbd"),
        ("a\x1b[1;5Cb\x1b[Zc\x1b[200~d", "abcd"),
        ("a\x00\x07\x1fb", "ab"),
        ("é李", "é李"),
    ],
)
def test_keys_edit_the_line(keys: str, text: str) -> None:
    assert typed(keys).text == text


def test_keys_may_come_in_pieces() -> None:
    editor = LineEditor()
    for byte in "ä\x1b[Dö\x1b[3~".encode():
        assert [*editor.feed(bytes([byte]))] == []
    assert editor.text == "ö"


def test_lines_come_in_their_order() -> None:
    editor = LineEditor()
    assert [*editor.feed(b"one\rtwo\nthr")] == [Entered("one"), Entered("two")]
    assert [*editor.feed(b"ee\r\x04")] == [Entered("three"), Ended()]


def test_the_end_of_input_is_one_of_an_empty_line_alone() -> None:
    editor = LineEditor()
    assert [*editor.feed(b"a\x04")] == []
    assert [*editor.feed(b"\x7f\x04")] == [Ended()]
    assert [*LineEditor().feed(b"\x0c")] == [Cleared()]


def test_earlier_lines_come_back() -> None:
    editor = LineEditor()
    assert len([*editor.feed(b"one\rtwo\rtwo\r  \r\r")]) == 5
    typed("dra", UP, editor=editor)
    assert editor.text == "two"
    assert typed(UP, UP, UP, editor=editor).text == "one"
    assert typed("!", DOWN, editor=editor).text == "two"
    assert typed(DOWN, "ft", DOWN, editor=editor).text == "draft"
    assert typed(UP, UP, editor=editor).text == "one"
    assert [*editor.feed(b"\r")] == [Entered("one")]


LOOK, GIVE_UP, RUB_OUT = "\x12", "\x07", "\x7f"


@named(
    ("keys", "text", "search"),
    [
        ([LOOK], "draft", Search("")),
        ([LOOK, "get"], "get two", Search("get")),
        ([LOOK, "get", LOOK], "get one", Search("get")),
        ([LOOK, "get", LOOK, LOOK], "get one", Search("get", is_found=False)),
        ([LOOK, "get o"], "get one", Search("get o")),
        ([LOOK, "get o", RUB_OUT], "get two", Search("get ")),
        ([LOOK, "what"], "get two", Search("what", is_found=False)),
        ([LOOK, "wh", RUB_OUT, RUB_OUT], "get two", Search("")),
        ([LOOK, "xyz"], "draft", Search("xyz", is_found=False)),
        ([LOOK, RUB_OUT, "n"], "get one", Search("n")),
        ([LOOK, "get", GIVE_UP], "draft", None),
        ([LOOK, "get", GIVE_UP, "!"], "draft!", None),
        ([LOOK, GIVE_UP], "draft", None),
        ([LOOK, "get", RIGHT, "!"], "g!et two", None),
        ([LOOK, "two", LEFT, RUB_OUT], "ge two", None),
        ([LOOK, "get", DOWN], "put three", None),
        ([LOOK, "get", LOOK, UP, DOWN, DOWN], "put three", None),
        ([LOOK, "get", DOWN, DOWN], "draft", None),
        ([LOOK, "get", "\x0b"], "", None),
        ([UP, LOOK, "get"], "get two", Search("get")),
        ([UP, LOOK, "get", GIVE_UP], "draft", None),
    ],
)
def test_earlier_lines_are_found_by_what_is_in_them(
    keys: list[str], text: str, search: Search | None
) -> None:
    editor = LineEditor(["get one", "get two", "put three"])
    typed("draft", *keys, editor=editor)
    assert (editor.text, editor.search) == (text, search)


def test_a_line_that_was_found_is_entered() -> None:
    editor = LineEditor(["get one", "put two"])
    assert [*editor.feed(b"\x12get\r")] == [Entered("get one")]
    assert (editor.text, editor.search) == ("", None)
    assert typed(UP, editor=editor).text == "get one"
    assert [*editor.feed(b"\x12put\t")] == [Completing("")]
    editor.clear()
    assert [*editor.feed(b"\x12")] == []
    editor.clear()
    assert editor.search is None
    assert [*editor.feed(b"\x12\x04")] == [Ended()]


def test_looking_without_earlier_lines_finds_nothing() -> None:
    editor = typed(LOOK, LOOK, "a", LOOK, RUB_OUT, RUB_OUT, "b", editor=LineEditor(max_line=1))
    assert (editor.text, editor.search) == ("", Search("b", is_found=False))
    assert typed("c", editor=editor).search == Search("b", is_found=False)
    assert typed(GIVE_UP, "d", editor=editor).text == "d"


def test_a_line_has_a_limit() -> None:
    assert len(typed("x" * 5_000).text) == 1_000


def test_lines_of_before_come_back_and_have_a_limit() -> None:
    editor = LineEditor(["one", "two", "three"], max_history=2)
    assert typed(UP, UP, UP, editor=editor).text == "two"
    assert [*editor.feed(b"!\r")] == [Entered("two!")]
    assert typed(UP, UP, UP, editor=editor).text == "three"


def test_tab_asks_for_what_is_before_the_cursor() -> None:
    editor = typed("get greeting" + LEFT * 5)
    keys = editor.feed(b"\t!\r")
    assert next(keys) == Completing("get gre")
    editor.replace(4, "GRE.")
    assert editor.text == "get GRE.eting"
    assert [*keys] == [Entered("get GRE.!eting")]


def test_what_does_not_fit_is_not_put_in() -> None:
    editor = typed("get x", editor=LineEditor(max_line=8))
    editor.replace(4, "12345")
    assert editor.text == "get x"
    editor.replace(4, "1234")
    assert typed("5", editor=editor).text == "get 1234"


def test_a_line_is_forgotten_with_the_keys_behind_it() -> None:
    editor = LineEditor(["one"])
    keys = editor.feed(b"get k\ty\rmore")
    assert next(keys) == Completing("get k")
    editor.clear()
    assert [*keys] == []
    assert editor.text == ""
    editor.clear()
    typed("dra\x1b", editor=editor)
    editor.clear()
    assert typed("[A", editor=editor).text == "[A"
    assert typed(UP, DOWN, editor=editor).text == "[A"


def test_the_view_follows_the_cursor() -> None:
    editor = typed("0123456789")
    assert editor.view(20) == ("0123456789", 10)
    assert editor.view(6) == ("56789", 5)
    typed("\x01", editor=editor)
    assert editor.view(6) == ("01234", 0)
    assert typed("李李李").view(5) == ("李李", 4)


@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(2, 20))
def test_whatever_is_typed_the_cursor_is_in_the_view(pieces: list[bytes], columns: int) -> None:
    editor = LineEditor()
    for piece in pieces:
        for event in editor.feed(piece):
            assert not isinstance(event, Entered) or event.line.isprintable()
        assert editor.text.isprintable()
        shown, cursor = editor.view(columns)
        assert shown in editor.text
        assert 0 <= cursor <= cell_len(shown) < columns


@given(st.binary(max_size=40), st.data())
def test_pieces_make_no_difference(typing: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(typing)))
    whole, halves = LineEditor(), LineEditor()
    together = [*whole.feed(typing)]
    assert [*halves.feed(typing[:cut]), *halves.feed(typing[cut:])] == together
    assert halves.text == whole.text
