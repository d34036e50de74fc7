"""The command as a person meets it: real processes, their signals, statuses and words."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest

from tests.support.processes import (
    AN_HOUR_SECONDS,
    PATIENCE_SECONDS,
    TRIO440,
    Program,
    finished,
    finished_here,
    started,
)
from trio440.cli import root

pytestmark = pytest.mark.real

SERVERS = [
    ["linekv", "serve"],
    ["lsp", "echo-server"],
    ["mine", "server"],
]
TCP_SERVERS = [["linekv", "serve"]]
WITH_AN_HOURS_GRACE = ["--grace", str(AN_HOUR_SECONDS)]
NOT_A_HOST = "x" * 64
"""No host by its form alone: nobody is asked for it."""

named = pytest.mark.parametrize


def all_commands() -> Iterator[list[str]]:
    """The words of every command and group."""

    def walk(command: click.Command, words: list[str]) -> Iterator[list[str]]:
        yield words
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, [*words, name])

    return walk(root.command, [])


@contextmanager
def busy_port(kind: socket.SocketKind) -> Iterator[str]:
    """A port of the loopback interface that somebody else has."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield str(sock.getsockname()[1])


def test_version() -> None:
    assert finished([*TRIO440, "--version"], fresh=True) == (
        0,
        f"trio440 {version('trio440')}\n",
        "",
    )


@named("words", list(all_commands()), ids=" ".join)
def test_help_is_complete(words: list[str]) -> None:
    status, out, err = finished_here(*words, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: {' '.join(['trio440', *words])} ")
    options = out.partition("Options:\n")[2].partition("\n\n")[0]
    entry = None
    for line in options.splitlines():
        if line.startswith("  -"):
            assert entry is None or "  " in entry.strip(), f"no help for {entry}"
            entry = line
        elif entry is not None:
            entry += "  " + line.strip()
    assert entry is not None
    assert out.count("  ") > 1


def test_without_a_command_the_help_is_shown() -> None:
    status, out, err = finished(TRIO440, fresh=True)
    assert (status, out) == (2, "")
    assert err.startswith("Usage: trio440 ")


BAD_INPUT = {
    "nonsense": "trio440: error: No such command 'nonsense'.",
    "linekv nonsense": "trio440 linekv: error: No such command 'nonsense'.",
    "linekv serve --port 65536": "'--port': 65536 is no port, they go from 0 to 65535",
    "linekv serve --port -1": "'--port': -1 is no port, they go from 0 to 65535",
    "linekv serve --port http": "'--port': 'http' is not a port number",
    "linekv serve --max-keys 0": "'--max-keys': 0 is not in the range x>=1.",
    "linekv serve --grace soon": "'--grace': 'soon' is not a valid float range.",
    "linekv serve --grace -1": "'--grace': -1.0 is not in the range x>=0.",
    "linekv serve now": "serve: error: Got unexpected extra argument (now)",
    "linekv connect --port 0": "'--port': 0 is no port, they go from 1 to 65535",
    "lsp echo-server --window 0": "'--window': 0 is not in the range x>=1.",
    "lsp echo-server --drop 101": "'--drop': 101.0 is not in the range 0<=x<=100.",
    "mine run msg many": "'MAXNONCE': 'many' is no nonce, they go from 0 to 18446744073709551615",
    f"mine run msg {1 << 64}": "'18446744073709551616' is no nonce, they go from 0 to"
    " 18446744073709551615",
    "mine client 127.0.0.1:99 msg -- -1": "'-1' is no nonce, they go from 0 to"
    " 18446744073709551615",
    "mine run msg 2 --miners 0": "'--miners': 0 is not in the range 1<=x<=64.",
    "mine worker 127.0.0.1:65536": "'HOST:PORT': 65536 is no port, they go from 1 to 65535",
    "mine server --window 0": "'--window': 0 is not in the range x>=1.",
    "lsp echo-client 127.0.0.1": "'HOST:PORT': '127.0.0.1' is not HOST:PORT",
    "lsp echo-client ::1:99": "'HOST:PORT': '::1:99': write an IPv6 address as [HOST]:PORT",
    "lsp echo-client [::1]:0": "'HOST:PORT': 0 is no port, they go from 1 to 65535",
}
"""Command lines that are refused, and the end of the one line that says so."""

BAD_PLACE = {
    f"linekv serve --host {NOT_A_HOST}": f"{NOT_A_HOST}:9999 is an unknown host",
    f"linekv connect --host {NOT_A_HOST}": f"{NOT_A_HOST}:9999 is an unknown host",
    f"lsp echo-server --host {NOT_A_HOST}": f"{NOT_A_HOST}:9999 is an unknown host",
    f"lsp echo-client {NOT_A_HOST}:9999": f"{NOT_A_HOST}:9999 is an unknown host",
    f"mine server --host {NOT_A_HOST}": f"{NOT_A_HOST}:9999 is an unknown host",
    f"mine client {NOT_A_HOST}:9999 msg 2": f"{NOT_A_HOST}:9999 is an unknown host",
    "linekv serve --host 192.0.2.1": (
        "192.0.2.1:9999 cannot be used: cannot assign requested address"
    ),
}
"""Command lines that are right and cannot be carried out here."""


@named("arguments", BAD_INPUT)
def test_bad_input_is_one_line(arguments: str) -> None:
    status, out, err = finished_here(*arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith("trio440")
    assert err.endswith(f"{BAD_INPUT[arguments]}\n")
    assert err.count("\n") == 1


@named("arguments", BAD_PLACE)
def test_a_place_that_cannot_be_used_is_one_line(arguments: str) -> None:
    expected = f"trio440: error: {BAD_PLACE[arguments]}\n"
    assert finished_here(*arguments.split()) == (1, "", expected)


@named("server", SERVERS, ids=" ".join)
def test_a_busy_port_is_one_line(server: list[str]) -> None:
    kind = socket.SOCK_STREAM if server in TCP_SERVERS else socket.SOCK_DGRAM
    with busy_port(kind) as port:
        expected = f"trio440: error: 127.0.0.1:{port} is already in use\n"
        assert finished([*TRIO440, *server, "--port", port]) == (1, "", expected)


def test_nobody_listening_is_one_line() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
        expected = f"trio440: error: 127.0.0.1:{port} cannot be reached: connection refused\n"
        assert finished([*TRIO440, "linekv", "connect", "--port", port]) == (1, "", expected)


@named("server", SERVERS, ids=" ".join)
def test_a_server_listens_where_it_says(server: list[str]) -> None:
    kind = socket.SOCK_STREAM if server in TCP_SERVERS else socket.SOCK_DGRAM
    with started([*TRIO440, *server, "--port", "0"]) as program:
        port = program.port()
        with socket.socket(socket.AF_INET, kind) as sock, pytest.raises(OSError, match="in use"):
            sock.bind(("127.0.0.1", port))


@named("server", SERVERS, ids=" ".join)
def test_ipv6_is_shown_in_brackets(server: list[str]) -> None:
    with started([*TRIO440, *server, "--host", "::1", "--port", "0"]) as program:
        assert program.line().startswith("listening on [::1]:")


@named("server", SERVERS, ids=" ".join)
def test_sigterm_stops_a_server_with_status_0(server: list[str]) -> None:
    with started([*TRIO440, *server, "--port", "0", *WITH_AN_HOURS_GRACE]) as program:
        program.port()
        program.signal(signal.SIGTERM)
        status, out, err = program.end()
    assert (status, out) == (0, "")
    assert err == "" or (server == ["mine", "server"] and err.startswith("jobs: 0 answered, "))


@contextmanager
def silent_linekv_client() -> Iterator[Program]:
    """A client whose server has accepted it and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with started([*TRIO440, "linekv", "connect", "--port", port]) as program:
            listener.settimeout(PATIENCE_SECONDS)
            accepted, _ = listener.accept()
            with accepted:
                program.write(b"Get:a\n")
                assert accepted.recv(100) == b"Get:a\n"
                yield program


@contextmanager
def connecting(*words: str) -> Iterator[Program]:
    """A client of LSP that nobody answers; HOST:PORT stands for the address it is given."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_SECONDS)
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with started(
            [*TRIO440, *(word.replace("HOST:PORT", address) for word in words)]
        ) as program:
            sock.recv(2000)
            yield program


@contextmanager
def mining_alone() -> Iterator[Program]:
    """A search that would take years."""
    with started([*TRIO440, "mine", "run", "msg", str((1 << 64) - 1)]) as program:
        while " done, " not in program.note():
            pass
        yield program


@contextmanager
def raft_peer() -> Iterator[Program]:
    with TemporaryDirectory() as folder:
        words = ["--id", "n1", "--data", f"{folder}/n1", "--listen", "127.0.0.1:0"]
        with started([*TRIO440, "raft", "serve", *words, *WITH_AN_HOURS_GRACE]) as program:
            program.port()
            yield program


@contextmanager
def server(words: list[str]) -> Iterator[Program]:
    with started([*TRIO440, *words, "--port", "0", *WITH_AN_HOURS_GRACE]) as program:
        program.port()
        yield program


@contextmanager
def kv_server() -> Iterator[Program]:
    """With all engines."""
    words = ["--namespace", "exact=linearizable", "--namespace", "here=memory"]
    with server(["kv", "serve", *words]) as program:
        while not program.line().startswith("description "):
            pass
        yield program


@contextmanager
def kv_watch() -> Iterator[Program]:
    with started([*TRIO440, "kv", "serve", "--engine", "memory", "--port", "0"]) as store:
        address = f"127.0.0.1:{store.port()}"
        with started([*TRIO440, "kv", "watch", "--at", address]) as program:
            assert program.note() == "watching"
            yield program


BUSY: dict[str, Callable[[], AbstractContextManager[Program]]] = {
    "linekv serve": lambda: server(["linekv", "serve"]),
    "linekv connect": silent_linekv_client,
    "lsp echo-server": lambda: server(["lsp", "echo-server"]),
    "lsp echo-client": lambda: connecting("lsp", "echo-client", "HOST:PORT"),
    "mine server": lambda: server(["mine", "server"]),
    "mine client": lambda: connecting("mine", "client", "HOST:PORT", "msg", "2"),
    "mine worker": lambda: connecting("mine", "worker", "HOST:PORT", "--engine", "hashlib"),
    "mine run": mining_alone,
    "raft serve": raft_peer,
    "kv serve": kv_server,
    "kv watch": kv_watch,
}
"""Commands in the midst of their work."""


@named("name", BUSY)
def test_ctrl_c_ends_every_command_at_once(name: str) -> None:
    with BUSY[name]() as program:
        program.signal(signal.SIGINT)
        status, out, err = program.end()
    assert (status, out, without_reports(err)) == (130, "", "")


def without_reports(err: str) -> str:
    """What is on standard error beside a miner's introduction and how far its job is."""
    return re.sub(r"^(engine |job 1 ).*\n", "", err, flags=re.MULTILINE)


@pytest.mark.slow
@named("name", [name for name in BUSY if not re.search(r"serve(r|$)", name)])
def test_sigterm_ends_what_is_no_server(name: str) -> None:
    with BUSY[name]() as program:
        program.signal(signal.SIGTERM)
        status, out, err = program.end()
    assert (status, out, without_reports(err)) == (143, "", "")


def test_sigterm_stops_a_raft_peer_with_status_0() -> None:
    with raft_peer() as program:
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "", "")


@named("module", ["trio440.cli.root", "trio", "click", "trio440.cli.mine", "trio440.mining"])
def test_ctrl_c_while_a_command_loads_is_quiet(tmp_path: Path, module: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "from trio440.cli import main\n"
        "class Interrupter:\n"
        "    def find_spec(name, *rest):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupter)\n"
        "sys.argv = ['trio440', 'mine', 'run', 'msg', str(2**64 - 1)]\n"
        "main()\n"
    )
    assert finished([sys.executable, program], fresh=True) == (130, "", "")


def test_ctrl_c_of_a_server_flushes_nothing() -> None:
    with (
        started([*TRIO440, "linekv", "serve", "--port", "0", *WITH_AN_HOURS_GRACE]) as program,
        socket.create_connection(("127.0.0.1", program.port())) as client,
    ):
        client.sendall(b"Put:k:%b\n" % (b"v" * 60_000) + b"Get:k\n" * 2000)
        client.recv(1)
        program.signal(signal.SIGINT)
        assert program.end() == (130, "", "")


def test_a_closed_stdout_ends_quietly() -> None:
    with started([*TRIO440, "linekv", "serve", "--port", "0"]) as server:
        port = str(server.port())
        with started([*TRIO440, "linekv", "connect", "--port", port]) as program:
            program.write(b"Put:a:1\nGet:a\n")
            assert program.line() == "a:1"
            program.close_stdout()
            program.write(b"Get:a\n")
            assert program.end() == (141, "", "")


@pytest.mark.slow
@named("words", ["linekv serve --port 0", "lsp echo-server --port 0", "--help", "--version"])
def test_a_stdout_without_a_reader_is_quiet(words: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*TRIO440, *words.split()],
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    command = f"{' '.join(TRIO440)} linekv serve --port 0 > /dev/full"
    expected = "trio440: error: standard output cannot be written: no space left on device\n"
    assert finished(["bash", "-c", command]) == (1, "", expected)


def test_no_stdout_and_no_stdin_at_all() -> None:
    with started([*TRIO440, "linekv", "serve", "--port", "0"]) as server:
        command = f"{' '.join(TRIO440)} linekv connect --port {server.port()} <&- >&-"
        assert finished(["bash", "-c", command]) == (0, "", "")


def test_a_stdin_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with started([*TRIO440, "linekv", "serve", "--port", "0"]) as server:
        write_only = f"0>{tmp_path / 'file'}"
        command = f"{' '.join(TRIO440)} linekv connect --port {server.port()} {write_only}"
        expected = "trio440: error: standard input cannot be read: bad file descriptor\n"
        assert finished(["bash", "-c", command]) == (1, "", expected)


@pytest.mark.slow
@named("words", ["linekv serve --port 0", "linekv connect --port 1", "lsp echo-server --port 0"])
def test_hardly_any_descriptors_is_one_line(words: str) -> None:
    limited = ["/bin/sh", "-c", 'ulimit -n 6; exec "$@"', "sh", *TRIO440, *words.split()]
    expected = "trio440: error: too many open files; see 'ulimit -n'\n"
    assert finished(limited) == (1, "", expected)


def test_more_hash_processes_than_descriptors_is_one_line() -> None:
    command = f"ulimit -n 40; {' '.join(TRIO440)} mine run msg 2 --engine hashlib --lanes 30"
    expected = "trio440: error: a hash process cannot be started: too many open files\n"
    assert finished(["bash", "-c", command]) == (1, "", expected)


# What follows runs small programs on the runner itself.


def program_of(tmp_path: Path, text: str, *, last_resort: float | None = None) -> list[str]:
    """Write a program; with ``last_resort`` it has so many seconds to end by itself."""
    path = tmp_path / "program.py"
    head = (
        "import sys, time, trio\nfrom trio440.cli.running import *\nfrom trio440.errors import *\n"
    )
    if last_resort is not None:
        head += f"from trio440.cli import running\nrunning.LAST_RESORT_SECONDS = {last_resort}\n"
    path.write_text(f"{head}{text}\nsys.exit(guard(program))\n")
    return [sys.executable, str(path)]


def test_statuses_and_flushing_at_a_normal_end(tmp_path: Path) -> None:
    text = """
async def main():
    emit("first"); emit(b"\\xc3\\xa9"); emit("é"); note("said")
    return 7
def program(): return run(main)
"""
    assert finished(program_of(tmp_path, text)) == (7, "first\né\né\n", "said\n")


def test_errors_inside_groups_are_one_line_each(tmp_path: Path) -> None:
    text = """
async def fail(error): raise error
async def main():
    async with trio.open_nursery() as outer:
        outer.start_soon(fail, AddressInUse("::1", 7, "is already\\nin use"))
        async with trio.open_nursery() as inner:
            inner.start_soon(fail, SendBufferFull(3))
            inner.start_soon(fail, SendBufferFull(3))
def program(): return run(main)
"""
    status, out, err = finished(program_of(tmp_path, text))
    assert (status, out) == (1, "")
    assert sorted(err.splitlines()) == [
        "trio440: error: [::1]:7 is already in use",
        "trio440: error: the send buffer is full, its limit is 3 bytes",
    ]


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    text = """
async def fail(error): raise error
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail, SendBufferFull(3))
        nursery.start_soon(fail, ZeroDivisionError("bug"))
def program(): return run(main)
"""
    status, out, err = finished(program_of(tmp_path, text))
    assert (status, out) == (1, "")
    assert "Traceback" in err
    assert "ZeroDivisionError: bug" in err


COMPUTES = "    while True: pass"


@named(
    "stubborn",
    [
        "    with trio.CancelScope(shield=True): await trio.sleep(3600)",
        "    time.sleep(3600)",
        COMPUTES,
        "    while True: emit('x' * 1000)",
        "    await trio.to_thread.run_sync(time.sleep, 3600)",
        "    sys.stdin.read()",
    ],
)
def test_ctrl_c_ends_what_does_not_let_itself_be_cancelled(tmp_path: Path, stubborn: str) -> None:
    text = f"async def main():\n    emit('ready')\n{stubborn}\ndef program(): return run(main)\n"
    with started(program_of(tmp_path, text)) as program:
        assert program.line() == "ready"
        if stubborn != COMPUTES:
            # Python hears no signal between its last look for one and the call that blocks.
            program.wait_blocked()
        program.signal(signal.SIGINT)
        program.close_stdout()
        status, _, err = program.end()
    assert (status, err) in [(130, ""), (141, "")]


def test_an_alarm_that_interrupts_nothing_is_followed_by_others(tmp_path: Path) -> None:
    """``qsort`` calls ``pause`` for each comparison: signals wake it, and Python sees none."""
    text = """
import ctypes
async def main():
    libc = ctypes.CDLL(None)
    emit("ready")
    libc.pause()
    emit("interrupted")
    libc.qsort(b"abc", ctypes.c_size_t(3), ctypes.c_size_t(1), libc.pause)
    emit("not reached")
def program(): return run(main)
"""
    with started(program_of(tmp_path, text)) as program:
        assert program.line() == "ready"
        program.wait_blocked()
        program.signal(signal.SIGINT)
        assert program.end() == (130, "interrupted\n", "")


def test_ctrl_c_runs_the_cleaning_up_but_waits_for_none_of_it(tmp_path: Path) -> None:
    text = """
async def main():
    try:
        emit("ready")
        await trio.sleep(3600)
    finally:
        emit("cleaning")
        await trio.sleep(3600)
        emit("not reached")
def program(): return run(main)
"""
    with started(program_of(tmp_path, text, last_resort=AN_HOUR_SECONDS)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGINT)
        assert program.end() == (130, "cleaning\n", "")


SERVER = """
async def main(stop):
    emit("ready")
    await stop.wait()
    emit(f"stopping {stop.requested}")
    await trio.sleep(SECONDS)
    emit("flushed")
def program(): return run_server(main, grace_seconds=GRACE)
"""


def server_program(tmp_path: Path, *, seconds: float, grace: str) -> list[str]:
    text = SERVER.replace("SECONDS", str(seconds)).replace("GRACE", grace)
    return program_of(tmp_path, text, last_resort=AN_HOUR_SECONDS)


@named("grace", ["3600", "float('inf')"])
def test_sigterm_leaves_time_to_finish(tmp_path: Path, grace: str) -> None:
    with started(server_program(tmp_path, seconds=0.2, grace=grace)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "stopping True\nflushed\n", "")


def test_sigterm_leaves_no_more_than_the_grace_period(tmp_path: Path) -> None:
    with started(server_program(tmp_path, seconds=AN_HOUR_SECONDS, grace="0.2")) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "stopping True\n", "")


@named(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@named("grace", ["3600", "float('inf')"])
def test_a_second_signal_ends_the_grace_period(
    tmp_path: Path, number: signal.Signals, status: int, grace: str
) -> None:
    with started(server_program(tmp_path, seconds=AN_HOUR_SECONDS, grace=grace)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGTERM)
        assert program.line() == "stopping True"
        program.signal(number)
        assert program.end() == (status, "", "")


@named("number", [signal.SIGTERM, signal.SIGINT])
@named("late", ["now()", "atexit.register(now)"])
def test_a_second_signal_after_the_end_changes_no_status(
    tmp_path: Path, number: signal.Signals, late: str
) -> None:
    text = f"""
import atexit, os, signal
async def main(stop):
    emit("ready")
    await stop.wait()
def now():
    os.kill(os.getpid(), {number:d})
def program():
    status = run_server(main)
    {late}
    return status
"""
    with started(program_of(tmp_path, text)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "", "")


def test_errors_of_a_command_that_was_cut_short_are_its_own_affair(tmp_path: Path) -> None:
    text = """
async def work():
    try:
        await trio.sleep(3600)
    finally:
        raise SendBufferFull(3)
async def main():
    emit("ready")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await trio.sleep(3600)
def program(): return run(main)
"""
    with started(program_of(tmp_path, text, last_resort=AN_HOUR_SECONDS)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGINT)
        assert program.end() == (130, "", "")


def test_a_bug_that_shows_while_cut_short_keeps_its_traceback(tmp_path: Path) -> None:
    text = """
async def main():
    emit("ready")
    try:
        await trio.sleep(3600)
    finally:
        raise ZeroDivisionError("bug")
def program(): return run(main)
"""
    with started(program_of(tmp_path, text, last_resort=AN_HOUR_SECONDS)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGINT)
        status, _, err = program.end()
    assert status == 1
    assert "ZeroDivisionError: bug" in err


def test_a_body_can_be_cut_short_by_the_stop(tmp_path: Path) -> None:
    text = """
async def main(stop):
    with stop.cuts_short() as scope:
        emit("ready")
        await trio.sleep(3600)
    emit(f"after {scope.cancelled_caught}")
    with stop.cuts_short():
        await trio.sleep(3600)
    emit("again")
def program(): return run_server(main)
"""
    with started(program_of(tmp_path, text, last_resort=AN_HOUR_SECONDS)) as program:
        assert program.line() == "ready"
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "after True\nagain\n", "")
