"""The tables of ``trio440 actors top``: which rows there are, in which order, and how they look."""

import io
import json
from typing import Any

import pytest

from tests.unit.test_cli_raft_table import Terminal
from trio440.actors.remote.service import ActorReport, MemberReport, Report
from trio440.cli.actors_rows import Look, actor_rows, node_rows
from trio440.cli.actors_screen import open_screen

MEMBERS = [
    MemberReport("b:1", 7, "alive"),
    MemberReport("a:1", 5, "suspect"),
    MemberReport("c:1", 9, "lost"),
]


def actor(counter: int, waiting: int, handled: int, **changes: Any) -> ActorReport:
    fields = {"name": None, "kind": "Worker", "stashed": 0, "restarts": 0}
    return ActorReport(counter=counter, waiting=waiting, handled=handled, **(fields | changes))


def report(address: str, now_us: int, *actors: ActorReport, life: int = 5) -> Report:
    return Report(address, life, now_us, 10 * len(actors), (), actors)


def look(*reports: Report) -> Look:
    return Look(MEMBERS, {each.address: each for each in reports})


BEFORE = look(report("a:1", 1_000_000, actor(1, 0, 100), actor(2, 9, 50), actor(4, 0, 0)))
AFTER = look(
    report("a:1", 3_000_000, actor(1, 0, 180), actor(2, 9, 50), actor(3, 0, 500)),
    report("b:1", 77, actor(1, 30, 5, name="sink", restarts=2), life=7),
)


def test_nodes_have_a_number_of_actors_if_they_have_answered() -> None:
    assert node_rows(AFTER) == [
        {"node": "a:1", "life": 5, "state": "suspect", "actors": 30},
        {"node": "b:1", "life": 7, "state": "alive", "actors": 10},
        {"node": "c:1", "life": 9, "state": "lost", "actors": None},
    ]


def test_the_deepest_mailbox_comes_first_then_who_handles_most() -> None:
    rows = actor_rows(AFTER, BEFORE, 20)
    assert [(row["actor"], row["waiting"], row["rate"]) for row in rows] == [
        ("b:1/1", 30, None),  # of a system that had not answered before
        ("a:1/2", 9, 0.0),
        ("a:1/1", 0, 40.0),
        ("a:1/3", 0, None),  # was not among the deepest before
    ]
    assert rows == [*actor_rows(AFTER, BEFORE, 3), rows[3]]


def test_counts_of_another_life_and_of_no_time_give_no_rate() -> None:
    later = report("a:1", 3_000_000, actor(1, 0, 180), life=6)
    for other in (later, report("a:1", 1_000_000, actor(1, 0, 180))):
        assert [row["rate"] for row in actor_rows(look(other), BEFORE, 20)] == [None]


def shown(
    monkeypatch: pytest.MonkeyPatch, kind: type[io.TextIOWrapper], **options: bool
) -> list[str]:
    out = kind(data := io.BytesIO(), "utf-8", write_through=True)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with open_screen(**({"is_json": False, "is_live": True} | options)) as screen:
        screen.show(node_rows(AFTER), actor_rows(AFTER, BEFORE, 3))
    return data.getvalue().decode().splitlines()


def test_a_pipe_gets_aligned_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.TextIOWrapper) == [
        "node  life  state    actors",
        "a:1   5     suspect  30",
        "b:1   7     alive    10",
        "c:1   9     lost     -",
        "",
        "actor  name  class   waiting  rate  handled  restarts",
        "b:1/1  sink  Worker  30       -     5        2",
        "a:1/2  -     Worker  9        0.0   50       0",
        "a:1/1  -     Worker  0        40.0  180      0",
        "",
    ]


def test_a_script_gets_a_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = shown(monkeypatch, io.TextIOWrapper, is_json=True)
    assert json.loads(line) == {
        "nodes": node_rows(AFTER),
        "actors": actor_rows(AFTER, BEFORE, 3),
    }


def test_a_terminal_shows_at_a_glance_who_is_gone_and_who_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = shown(monkeypatch, Terminal, is_live=False)
    styled = [line.partition("m") for line in lines if line.startswith("\x1b[")]
    assert [(style.removeprefix("\x1b["), rest.split()[0][:5]) for style, _, rest in styled] == [
        ("1", "node\x1b"),
        ("33", "a:1"),  # may be gone
        ("31", "c:1"),
        ("1", "actor"),
        ("33", "b:1/1"),  # something waits
        ("1;31", "a:1/2"),  # and nothing was handled
    ]


def test_a_live_screen_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(shown(monkeypatch, Terminal))
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1
    assert text.index("\x1b[?1049h") < text.index("b:1/1") < text.index("\x1b[?1049l")


def test_what_a_terminal_would_obey_is_not_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(data := io.BytesIO(), "utf-8", write_through=True)
    monkeypatch.setattr("sys.stdout", out)
    bad = look(report("a:1", 5, actor(1, 1, 1, name="\x1b[2J\nx")))
    with open_screen(is_json=False, is_live=True) as screen:
        screen.show(node_rows(bad), actor_rows(bad, None, 3))
    assert "?[2J?x" in data.getvalue().decode()
    assert "\x1b" not in data.getvalue().decode()
