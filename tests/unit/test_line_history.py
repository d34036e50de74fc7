"""The lines of earlier sessions: where they are, what is taken of them, files of all kinds."""

import os
import stat
from pathlib import Path

import pytest

from trio440.cli import line_history
from trio440.cli.line_history import LineHistory, parse_history, state_path

named = pytest.mark.parametrize


@named(
    ("environment", "path"),
    [
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, Path("/s/trio440/lines")),
        ({"XDG_STATE_HOME": "s", "HOME": "/h"}, Path("/h/.local/state/trio440/lines")),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, Path("/h/.local/state/trio440/lines")),
        ({"HOME": "h"}, None),
        ({}, None),
    ],
)
def test_where_state_is(environment: dict[str, str], path: Path | None) -> None:
    assert state_path("lines", environment) == path


def test_what_cannot_be_typed_is_left_out() -> None:
    data = "one\n\n  \none\none\ntwo\x1b[2J\n\xe9\n".encode() + b"\xff\n\x00\nlast"
    assert parse_history(data) == ["one", "é", "\ufffd", "last"]


def test_lines_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "trio440" / "lines"
    one, two = LineHistory(path), LineHistory(path)
    for history, line in ((one, "get a"), (two, "get b"), (one, "get a"), (one, " "), (one, "é")):
        history.add(line)
    assert LineHistory(path).lines == ["get a", "get b", "é"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    LineHistory(path).add("é")  # which repeats the last one of before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "get a\nget b\né\n"


def test_a_file_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_history, "MAX_BYTES", 100)
    path = tmp_path / "lines"
    history = LineHistory(path)
    for number in range(200):
        history.add(f"put k {number}")
        assert path.stat().st_size <= 200 + 12
    assert history.problem is None
    assert LineHistory(path).lines[-3:] == ["put k 197", "put k 198", "put k 199"]
    assert [*tmp_path.iterdir()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@named("kind", ["folder", "pipe", "below a file", "below nothing"])
def test_a_session_goes_on_without_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lines"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "below a file":
        path.touch()
        path /= "lines"
    else:
        path = Path("/proc/nothing/lines")
    history = LineHistory(path)
    assert history.problem is not None
    assert history.problem.startswith(f"the lines of this session are not kept: {path}: ")
    history.add("get a")
    assert history.lines == []


def test_a_file_that_goes_wrong_later_ends_the_keeping(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    history = LineHistory(path)
    history.add("get a")
    path.unlink()
    path.mkdir()
    history.add("get b")
    assert history.problem is not None
    assert "is a directory" in history.problem
    assert LineHistory(None).problem is None
