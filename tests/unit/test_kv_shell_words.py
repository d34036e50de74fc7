"""The commands of the store's shell: how lines are read, and what may be typed where."""

import click
import pytest

from trio440.cli.kv_shell_base import Printer, visible
from trio440.cli.kv_shell_commands import VOCABULARY

named = pytest.mark.parametrize
PUT: dict[str, object] = {
    "key": "k",
    "value": "v",
    "ttl": None,
    "beside": False,
    "replacing": None,
    "lease": None,
}


@named(
    ("line", "name", "given"),
    [
        ("get k", "get", {"key": "k", "wants_siblings": False}),
        ("get k --siblings", "get", {"key": "k", "wants_siblings": True}),
        ("put 'a b' \"\"", "put", PUT | {"key": "a b", "value": ""}),
        ("put --ttl 1.5 k v", "put", PUT | {"ttl": 1.5}),
        ("put k -- -v", "put", PUT | {"value": "-v"}),
        ("put k v --sibling", "put", PUT | {"beside": True}),
        ("put k v --replacing 00ff", "put", PUT | {"replacing": b"\x00\xff"}),
        ("put k v --lease 7", "put", PUT | {"lease": 7}),
        ("keep-alive 7", "renew", {"lease": 7}),
        ("delete k\r", "delete", {"key": "k"}),
        ("expire k 60", "expire", {"key": "k", "seconds": 60.0}),
        ("expire k never", "expire", {"key": "k", "seconds": None}),
        ("list", "list", {"prefix": "", "limit": None}),
        ("list a/ --limit 3", "list", {"prefix": "a/", "limit": 3}),
        ("count a/", "count", {"prefix": "a/"}),
        ("watch --after 00ff", "watch", {"prefix": "", "after": "00ff"}),
        ("increment n", "increment", {"key": "n", "by": 1}),
        ("increment n -5", "increment", {"key": "n", "by": -5}),
        ("use exact", "use", {"namespace": "exact"}),
        ("exit", "quit", {}),
        (
            "compare-and-set k '' v",
            "cas",
            {"key": "k", "values": ("", "v"), "absent": False, "remove": False, "ttl": None},
        ),
    ],
)
def test_lines_are_read(line: str, name: str, given: dict[str, object]) -> None:
    request = VOCABULARY.parse(line)
    assert request is not None
    assert (request.word.name, request.given) == (name, given)


def test_an_empty_line_is_no_command() -> None:
    assert VOCABULARY.parse("") is None
    assert VOCABULARY.parse(" \t\r") is None


@named(
    ("line", "problem"),
    [
        ("gte k", "No such command 'gte'. Did you mean 'get'?"),
        ("get", "Missing argument 'KEY'. Usage: get KEY"),
        ("get a b", "Got unexpected extra argument (b) Usage: get KEY"),
        ("put k v --ttl 0", "Invalid value for '--ttl': 0.0 is not in the range"),
        ("put k v --tll 1", "No such option '--tll'"),
        ("list --limit x", "Invalid value for '--limit': 'x' is not a valid integer"),
        ("expire k soon", "'soon' is not a valid"),
        ("expire k nan", "'nan' is not in the range"),
        ("increment n 9223372036854775808", "is not in the range"),
        ("get 'k", "No closing quotation."),
        ("get k\\", "No escaped character."),
        ("''", "No such command ''."),
        ("get --help", "No such option '--help'"),
    ],
)
def test_what_is_wrong_is_named(line: str, problem: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        VOCABULARY.parse(line)
    text = caught.value.format_message()
    assert problem in text
    assert "\n" not in text


@named(
    ("words", "word", "wanted"),
    [
        ("", "ge", "commands"),
        ("get", "", "keys"),
        ("get", "--", "options"),
        ("put", "k", "keys"),
        ("put k", "v", None),
        ("put --ttl", "5", None),
        ("put --ttl 5", "k", "keys"),
        ("put --ttl --ttl", "k", "keys"),
        ("list --limit 3", "", "keys"),
        ("cas --absent", "", "keys"),
        ("use", "", "namespaces"),
        ("help", "", "commands"),
        ("status", "", None),
        ("what", "", None),
    ],
)
def test_what_may_be_typed(words: str, word: str, wanted: str | None) -> None:
    assert VOCABULARY.wanted(words.split(), word)[0] == wanted


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert visible("é\x1b[2J\n\x9b".encode() + b"\xff") == "é\\x1b[2J\\n\\x9b\\xff"
    assert visible(b"a\tb\nc", "\t\n") == "a\tb\nc"
    assert visible("\u202e\u2028".encode()) == "\\u202e\\u2028"


def test_other_bytes_go_out_as_they_are(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    Printer(for_person=False).show(b"\x00\xff", b"\x1b\n")
    Printer(for_person=True).show(b"\x00\xff", b"\x1b\n")
    assert capsysbinary.readouterr().out == b"\x00\xff\t\x1b\n\n\\x00\\xff\t\\x1b\\n\n"
