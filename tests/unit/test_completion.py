"""Completion: how a line is read up to the cursor, and what a word becomes."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.cli.completion import Completed, complete, split_typed

named = pytest.mark.parametrize


@named(
    ("text", "words", "word", "start"),
    [
        ("", (), "", 0),
        ("ge", (), "ge", 0),
        ("  get", (), "get", 2),
        ("get ", ("get",), "", 4),
        ("get a/1", ("get",), "a/1", 4),
        ('put "a b" c', ("put", "a b"), "c", 10),
        ('put "a b', ("put",), "a b", 4),
        ("put 'a \\b", ("put",), "a \\b", 4),
        ("put a\\ b", ("put",), "a b", 4),
        ("put a\\", ("put",), "a", 4),
        ('put "a\\', ("put",), "a", 4),
        ('put "a\\"b\\x', ("put",), 'a"b\\x', 4),
        ('put a"b c"\'d e', ("put",), "ab cd e", 4),
        ('put "" ', ("put", ""), "", 7),
    ],
)
def test_a_line_is_read_up_to_the_cursor(
    text: str, words: tuple[str, ...], word: str, start: int
) -> None:
    typed = split_typed(text)
    assert (typed.words, typed.word, typed.start) == (words, word, start)


@given(st.text(st.sampled_from("ab \t'\"\\é"), max_size=14))
def test_complete_lines_are_read_as_a_shell_reads_them(text: str) -> None:
    try:
        words = shlex.split(text)
    except ValueError:
        return
    typed = split_typed(text)
    last = [typed.word] if typed.start < len(text) else []
    assert [*typed.words, *last] == words


@named(
    ("word", "names", "more", "completed"),
    [
        ("g", ["get"], False, Completed("get ")),
        ("get", ["get"], False, Completed("get ")),
        ("gr", ["greeting/de", "greeting/en", "other"], False, Completed("greeting/")),
        ("a/", ["a/1", "a/2"], False, Completed(None, ("a/1", "a/2"))),
        ("a", ["a", "ab"], False, Completed(None, ("a", "ab"))),
        ("x", ["a", "ab"], False, Completed()),
        ("a/", ["a/11", "a/12"], True, Completed(None, ("a/11", "a/12"), more=True)),
        ("a", ["a/1"], True, Completed(None, ("a/1",), more=True)),
        ("he", ["hello you", "hello yes"], False, Completed("hello\\ y")),
        ("it", ["it's"], False, Completed("it\\'s ")),
    ],
)
def test_a_word_is_completed_as_far_as_it_goes(
    word: str, names: list[str], more: bool, completed: Completed
) -> None:
    assert complete(word, names, more=more) == completed


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1))
def test_what_is_put_in_is_read_as_the_name(name: str) -> None:
    completed = complete("", [name])
    assert completed.text is not None
    assert shlex.split(completed.text) == [name]
