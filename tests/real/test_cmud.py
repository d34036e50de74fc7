"""``trio440 cmud`` from a pipe and from a file, in one process and on servers of the store."""

import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.net import free_port
from tests.support.processes import (
    PATIENCE_SECONDS,
    TRIO440,
    Program,
    finished,
    finished_here,
    started,
)

pytestmark = pytest.mark.real

GAME = [*TRIO440, "cmud", "--name", "ada", "--seed", "1", "--fast"]
SLOW = pytest.mark.slow
TRIES = 10
"""So often a busy machine may be in the way of what is to take two seconds at most."""
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


@SLOW
def test_each_engine_of_the_store_in_this_process_plays_the_same_game() -> None:
    outs = {}
    for engine in ("eventual", "linearizable", "memory"):
        status, outs[engine], err = finished([*GAME, "--engine", engine], stdin=LINES)
        assert (status, err) == (0, "")
    assert outs["linearizable"] == outs["memory"]
    notice = re.compile(r"^The clocks on this campus .*\n.*count once\.\n", re.MULTILINE)
    assert notice.sub("", outs["eventual"]) == outs["memory"] != outs["eventual"]
    assert finished(GAME, stdin=LINES)[1] == outs["eventual"]


@SLOW
def test_a_game_from_a_file_is_that_from_a_pipe(tmp_path: Path) -> None:
    script = tmp_path / "evening.txt"
    script.write_bytes(LINES.replace(b"\n", b"\r\n"))
    from_file = finished_here("cmud", *GAME[len(TRIO440) + 1 :], "--script", str(script))
    assert from_file == finished(GAME, stdin=LINES)


@SLOW
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


@SLOW
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--name", "a/b"], "'--name': name must be without a slash, which divides the keys of"),
        (["--name", ""], "'--name': name must be not empty, not ''"),
        (["--name", "x" * 25], "'--name': name must be at most 24 characters, not 'xxxx"),
        ([], "a script needs --name"),
        (["--name", "a", "--script", "/no/such/file"], "'--script': File '/no/such/file' does not"),
        (["--name", "a", "--script", "/"], "'--script': File '/' is a directory."),
        (["--name", "a", "--engine", "x"], "'--engine': 'x' is not one of 'eventual', 'lin"),
        (["--name", "a", "--at", "a:1", "--engine", "memory"], "--engine is for a store in this"),
        (["--name", "a", "--seed", "x"], "'--seed': 'x' is not a valid integer."),
    ],
)
def test_bad_input_is_one_line(words: list[str], problem: str) -> None:
    status, out, err = finished([*TRIO440, "cmud", *words])
    assert (status, out) == (2, "")
    assert err.startswith("trio440 cmud: error: ")
    assert problem in err
    assert err.count("\n") == 1


# On servers


@contextmanager
def servers(count: int, *options: str) -> Iterator[tuple[list[Program], list[str]]]:
    """Servers of one store, and where they answer clients."""
    with ExitStack() as stack:
        programs: list[Program] = []
        addresses: list[str] = []
        for _ in range(count):
            join = ["--join", addresses[0]] if addresses else []
            words = ["kv", "serve", "--port", str(free_port()), *join, *options]
            program = stack.enter_context(started([*TRIO440, *words]))
            addresses.append(f"127.0.0.1:{program.port()}")
            while not program.line().startswith("description "):
                pass
            programs.append(program)
        yield programs, addresses


def player(name: str, *addresses: str) -> AbstractContextManager[Program]:
    words = ["cmud", "--at", ",".join(addresses), "--name", name, "--seed", "1", "--fast"]
    return started([*TRIO440, *words])


def heard(game: Program, text: str) -> float:
    """Read until a line has a text in it; return when it came."""
    while text not in game.line():
        pass
    return time.monotonic()


@pytest.mark.parametrize("engine", ["eventual", pytest.param("linearizable", marks=SLOW)])
def test_players_of_two_processes_see_and_hear_each_other_within_two_seconds(engine: str) -> None:
    with servers(1, "--engine", engine) as (_, [address]), player("ada", address) as ada:
        heard(ada, "Type help")
        with player("bob", address) as bob:
            heard(ada, "bob comes in.")
            heard(bob, "Type help")
            for count in range(TRIES):
                bob.write(f"say number {count}\n".encode())
                start = heard(bob, f'You: "number {count}"')
                if heard(ada, f'bob: "number {count}"') - start < 2.0:
                    break
            else:
                pytest.fail(f"it took longer each of {TRIES} times")
            ada.write(b"look\n")
            heard(ada, "With you: bob (Undergraduate).")
            assert bob.end()[0] == 0
        heard(ada, "bob is gone.")
        status, _, err = ada.end()
        assert (status, err) == (0, "")


@SLOW
def test_a_lost_server_is_left_for_another_and_nothing_is_lost() -> None:
    with servers(2) as ([first, _], addresses), player("ada", *addresses) as ada:
        ada.write(b"mine 5\n")
        heard(ada, "Altogether")
        ada.write(b"buy cpu\ninv\n")
        heard(ada, "ada on floor 5> inv")
        before = [ada.line(), ada.line()]
        first.signal(signal.SIGKILL)
        ada.write(b"inv\nmove fence\nmine 3\n")
        heard(ada, "The line crackles and goes dead. Trying another way in...")
        heard(ada, "The line hums again: the campus is back.")
        assert [ada.line(), ada.line()] == before
        heard(ada, "Altogether")
        status, _, err = ada.end()
        assert (status, err) == (0, "")


def wait_for_voters(addresses: Sequence[str]) -> None:
    """Wait until a Raft cluster can lose one of its peers."""
    words = [*TRIO440, "raft", "status", "--cluster", "kv", "--json", "--at", addresses[0]]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = json.loads(finished(words)[1])
        if [(row["member"], row["lag"]) for row in rows] == [("voter", 0)] * len(addresses):
            return
        assert time.monotonic() < deadline, rows


@SLOW
def test_a_linearizable_campus_outlives_any_one_of_its_servers() -> None:
    with (
        servers(3, "--engine", "linearizable") as (programs, addresses),
        player("ada", *addresses) as here,
        player("ada", *addresses) as there,
    ):
        wait_for_voters(addresses)
        for ada in (here, there):
            ada.write(b"mine 10\n")
        programs[0].signal(signal.SIGKILL)
        found = 0
        for ada in (here, there):
            while not (total := re.match(r"Altogether (\d+) coins", ada.line())):
                pass
            found += int(total[1])
        here.write(b"inv\n")
        heard(here, "ada on floor 5> inv")
        heard(here, f" {found}  coins")
        for ada in (here, there):
            status, _, err = ada.end()
            assert (status, err) == (0, "")


@pytest.mark.slow
def test_where_no_server_is_there_is_one_line() -> None:
    words = [*TRIO440, "cmud", "--name", "ada", "--at"]
    status, out, err = finished([*words, "127.0.0.1"])
    assert (status, out) == (2, "")
    assert err == "trio440 cmud: error: Invalid value for '--at': '127.0.0.1' is not HOST:PORT\n"
    address = f"127.0.0.1:{free_port()}"
    status, out, err = finished([*words, address])
    assert (status, out) == (1, "")
    problem = f"the store cannot be reached: nobody listens at {address}"
    assert err == f"trio440: error: {problem}\n"


@SLOW
def test_the_examples() -> None:
    status, out, err = finished([sys.executable, "examples/cmud/evening.py"])
    assert (status, err) == (0, "")
    assert out.count('hears  al: "al is done"') == 2
    assert out.count("has heard all three") == 3
    assert len(re.findall(r"^player/\w+ +\w+$", out, re.MULTILINE)) == 3
    status, out, err = finished(
        [sys.executable, "-m", "examples.cmud", *GAME[len(TRIO440) + 1 :]], stdin=LINES
    )
    assert (status, out, err) == finished(GAME, stdin=LINES)
