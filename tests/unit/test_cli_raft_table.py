"""The table of a cluster's members, on a terminal and elsewhere."""

import io
from typing import Any

import pytest

from trio440.cli.raft_table import show_members


def row(name: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": name,
        "member": "voter",
        "role": "follower",
        "term": 3,
        "commit": 1234,
        "applied": 1234,
        "lag": 0,
        "snapshot": 0,
        "reachable": True,
    }
    return fields | changes


GONE = dict.fromkeys(("role", "term", "commit", "applied", "lag", "snapshot")) | {
    "reachable": False
}
ROWS = [row("n1", role="leader"), row("n2", applied=1200, lag=34), row("n3", **GONE)]


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, kind: type[io.TextIOWrapper]) -> str:
    out = kind(data := io.BytesIO(), "utf-8", write_through=True)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show_members(ROWS)
    return data.getvalue().decode()


def test_a_pipe_gets_aligned_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.TextIOWrapper).splitlines() == [
        "id  member  role      term  commit  applied  lag  snapshot  reachable",
        "n1  voter   leader    3     1234    1234     0    0         yes",
        "n2  voter   follower  3     1234    1200     34   0         yes",
        "n3  voter   -         -     -       -        -    -         no",
    ]


def test_a_terminal_shows_at_a_glance_who_leads_who_is_gone_and_who_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, leader, behind, gone = shown(monkeypatch, Terminal).splitlines()
    assert leader.startswith("\x1b[1;32mn1")
    assert behind.startswith("\x1b[33mn2")
    assert gone.startswith("\x1b[31mn3")
