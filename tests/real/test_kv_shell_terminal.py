"""The store's shell as a person meets it: from a pipe, and on a real terminal."""

import re
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import TRIO440, Program, finished, started
from tests.support.terminals import Terminal, on_terminal

pytestmark = pytest.mark.real

KV = (*TRIO440, "kv")
PROMPT = r"default \(memory\)> "


STUCK = """if True:
    import sys
    import trio
    from trio440.cli import line_terminal, running

    async def main():
        async with line_terminal.open_line_terminal():
            running.emit("stuck")
            with trio.CancelScope(shield=True):
                await trio.sleep(3600)

    sys.exit(running.guard(lambda: running.run(main)))
"""


@contextmanager
def server() -> Iterator[tuple[Program, list[str]]]:
    """A server, and the command that is a shell at it."""
    with started([*KV, "serve", "--port", "0", "--engine", "memory"]) as program:
        yield program, [*KV, "shell", "--at", f"127.0.0.1:{program.port()}"]


@contextmanager
def shell(command: list[str], state: Path, *, columns: int = 80, **env: str) -> Iterator[Terminal]:
    """A shell on a terminal, with its first prompt."""
    environment = {"XDG_STATE_HOME": str(state), **env}
    with on_terminal(command, columns=columns, env=environment) as terminal:
        terminal.wait_for(PROMPT + r"\Z")
        yield terminal


@pytest.mark.slow
def test_a_pipe_goes_on_behind_what_fails_and_ends_with_its_status() -> None:
    with server() as (_, command):
        lines = b'put k \xff\x00\x1b\n\nget k\nget \'k\nput l "a b"\nget x\nlist'
        status, out, err = finished(command, stdin=lines)
        assert (status, out.encode(errors="surrogateescape")) == (
            1,
            b"ok\n\xff\x00\x1b\nok\nk\t\xff\x00\x1b\nl\ta b\n",
        )
        assert err == "line 4: error: No closing quotation.\nline 6: error: there is no key 'x'\n"
        assert finished(command, stdin=b"count\nquit\nget x\n") == (0, "2\n", "")


@pytest.mark.slow
def test_a_pipe_whose_store_is_away_or_has_no_such_namespace() -> None:
    command = [*KV, "shell", "--at", "127.0.0.1:1"]
    status, out, err = finished(command, stdin=b"help get\n")
    assert (status, out.splitlines()[0]) == (1, "Usage: get KEY [--siblings]")
    assert re.fullmatch("error: the store cannot be reached: .*\n", err)
    with server() as (_, command):
        status, out, err = finished([*command, "--namespace", "nix"], stdin=b"count\n")
        assert (status, out) == (1, "")
        assert err == "trio440: error: namespace must be one of default, not 'nix'\n"


@pytest.mark.slow
def test_keys_tab_history_and_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    with server() as (_, command):
        with shell(command, tmp_path) as terminal:
            assert terminal.mode() == (False, False)
            terminal.type("put greeting/en 'hello you'\rput greeting/de hallo\r")
            terminal.wait_for(rf"ok\n(.*\n)*ok\n{PROMPT}\Z")
            terminal.type("get gr\t")
            terminal.wait_for(rf"^{PROMPT}get greeting/\Z")
            terminal.type("\t")
            terminal.wait_for(rf"^greeting/de  greeting/en\n{PROMPT}get greeting/\Z")
            terminal.type("e\t\r")
            terminal.wait_for(rf"^{PROMPT}get greeting/en \nhello you\n{PROMPT}\Z")
            terminal.type("nonsense")
            terminal.wait_for(r"nonsense\Z")
            terminal.type("\x03")
            terminal.wait_for(rf"nonsense\^C\n{PROMPT}\Z")
            terminal.type("watch\r")
            terminal.wait_for(r"^watching\n\Z")
            terminal.type("\x03")
            terminal.wait_for(rf"^watching\n{PROMPT}\Z")
            terminal.type("\x1c\x1b[A\x1b[A")  # Ctrl-backslash is nothing
            terminal.wait_for(rf"{PROMPT}get greeting/en \Z")
            terminal.type("\x12put")
            terminal.wait_for(r"^\(looking for: put\) put greeting/de hallo\Z")
            terminal.type("zz")
            terminal.wait_for(r"^\(not found: putzz\) put greeting/de hallo\Z")
            terminal.type("\x07\x1b[A\x1b[A")
            terminal.wait_for(rf"{PROMPT}get greeting/en \Z")
            terminal.type("and so on")
            terminal.wait_for(r"and so on\Z")
            terminal.resize(36)
            terminal.wait_for(rf"^{PROMPT}ing/en and so on\Z")
            terminal.type("\x17\x17\x17\r")
            terminal.wait_for(rf"hello you\n{PROMPT}\Z")
            terminal.type("\x04")
            assert terminal.end() == 0
            assert terminal.mode() == (True, True)
        file = tmp_path / "trio440" / "kv_shell_history"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().splitlines()[2:] == [
            "get greeting/en ",
            "watch",
            "get greeting/en ",
        ]
        with shell(command, tmp_path) as terminal:
            terminal.type("\x1b[A\x1b[A")
            terminal.wait_for(rf"{PROMPT}watch\Z")
            terminal.process.send_signal(signal.SIGTERM)
            assert terminal.end() == 128 + signal.SIGTERM
            assert terminal.mode() == (True, True)
            assert "Traceback" not in terminal.text


@pytest.mark.slow
def test_a_server_that_is_stopped_leaves_the_shell_usable(tmp_path: Path) -> None:
    state = tmp_path / "file"
    state.touch()
    with server() as (program, command), shell(command, state) as terminal:
        assert "the lines of this session are not kept" in terminal.text
        terminal.type("count\r")
        terminal.wait_for(rf"^0\n{PROMPT}\Z")
        program.signal(signal.SIGSTOP)
        terminal.type("put k v\rcount\r")
        terminal.wait_for(r"put k v\n\Z")
        terminal.type("\x03")
        terminal.wait_for(rf"^error: cancelled; it may have been carried out\n{PROMPT}\Z")
        terminal.type("get k\t")  # nobody answers
        terminal.wait_for(rf"{PROMPT}get k\Z")
        program.signal(signal.SIGCONT)
        terminal.type("\x15put k w\rget k\r")
        terminal.wait_for(rf"^w\n{PROMPT}\Z")
        program.signal(signal.SIGKILL)
        program.end()
        terminal.type("get k\r")
        terminal.wait_for(r"^error: the store cannot be reached: .*\ndefault \(memory, away\)> \Z")
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.slow
def test_what_is_pasted_is_carried_out_in_its_order(tmp_path: Path) -> None:
    with server() as (_, command), shell(command, tmp_path, columns=200) as terminal:
        digits = "0123456789" * 15
        terminal.type("".join(f"append k {digit}\r" for digit in digits) + "get k\r")
        terminal.wait_for(rf"^{digits}\n{PROMPT}\Z")
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.slow
def test_a_dumb_terminal_edits_the_line_itself(tmp_path: Path) -> None:
    with server() as (_, command), shell(command, tmp_path, TERM="dumb") as terminal:
        assert terminal.mode() == (True, True)
        terminal.type("put k v\n")
        terminal.wait_for(rf"^ok\n{PROMPT}\Z")
        terminal.type("nonsense\x03")
        terminal.wait_for(rf"\^C\n{PROMPT}\Z")
        terminal.type("get k\n")
        terminal.wait_for(rf"^v\n{PROMPT}\Z")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_a_program_that_does_not_let_itself_be_ended_gives_the_terminal_back() -> None:
    with on_terminal([sys.executable, "-c", STUCK]) as terminal:
        terminal.wait_for("stuck")
        assert terminal.mode() == (False, False)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 128 + signal.SIGTERM
        assert terminal.mode() == (True, True)
