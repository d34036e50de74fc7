"""``trio440 cmud`` from a pipe and from a file."""

from pathlib import Path

import pytest

from tests.support.processes import TRIO440, finished, finished_here, started

pytestmark = pytest.mark.real

GAME = [*TRIO440, "cmud", "--name", "ada", "--seed", "1", "--fast"]
LINES = b"look\nmine 3\nshop\nbuy cpu\ninv\nquit\n"


def test_a_game_from_a_pipe_goes_the_same_way_twice() -> None:
    status, out, err = finished(GAME, stdin=LINES)
    assert (status, err) == (0, "")
    assert out.startswith('The registrar looks up. "ada? Never heard of you.')
    for line in LINES.decode().splitlines():
        assert f"\nada on floor 5> {line}\n" in out
    assert out.endswith("The campus keeps your desk warm.\n")
    assert "\x1b" not in out
    assert finished(GAME, stdin=LINES) == (status, out, err)
    other = [*GAME[:-2], "2", "--fast"]
    assert finished(other, stdin=LINES)[1] != out


def test_a_game_from_a_file_is_that_from_a_pipe(tmp_path: Path) -> None:
    script = tmp_path / "evening.txt"
    script.write_bytes(LINES.replace(b"\n", b"\r\n"))
    from_file = finished_here("cmud", *GAME[len(TRIO440) + 1 :], "--script", str(script))
    assert from_file == finished(GAME, stdin=LINES)


def test_the_end_of_input_ends_the_game_and_bad_bytes_do_not() -> None:
    status, out, err = finished(GAME, stdin=b"\xff\xfe\n" + b"mine" * 3_000 + b"\ninv\nmap")
    assert (status, err) == (0, "")
    assert "CMUD, the campus" in out
    assert out.endswith("The campus keeps your desk warm.\n")
    assert finished(GAME, stdin=b"solve\n")[0] == 0


def test_lines_are_played_as_they_come() -> None:
    with started(GAME) as game:
        while "Type help" not in game.line():
            pass
        game.write(b"inv\n")
        assert game.line() == "ada on floor 5> inv"
        assert game.line().split() == ["1", "cpu", "power", "1"]
        status, _, err = game.end()
        assert (status, err) == (0, "")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--name", "a/b"], "'--name': name must be without a slash, which divides the keys of"),
        (["--name", ""], "'--name': name must be not empty, not ''"),
        (["--name", "x" * 25], "'--name': name must be at most 24 characters, not 'xxxx"),
        ([], "a script needs --name"),
        (["--name", "a", "--script", "/no/such/file"], "'--script': File '/no/such/file' does not"),
        (["--name", "a", "--script", "/"], "'--script': File '/' is a directory."),
        (["--name", "a", "--seed", "x"], "'--seed': 'x' is not a valid integer."),
    ],
)
def test_bad_input_is_one_line(words: list[str], problem: str) -> None:
    status, out, err = finished([*TRIO440, "cmud", *words])
    assert (status, out) == (2, "")
    assert err.startswith("trio440 cmud: error: ")
    assert problem in err
    assert err.count("\n") == 1
