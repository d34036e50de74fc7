"""linekv over real sockets: netcat as the client, the client class, the commands."""

import signal
import socket
import subprocess
import sys
import time

import pytest
import trio

from tests.support.net import until
from tests.support.processes import PATIENCE_SECONDS, TRIO440, finished, started
from tests.support.tools import require_tool
from trio440 import linekv
from trio440.linekv import session

pytestmark = pytest.mark.real

SERVE = [*TRIO440, "linekv", "serve", "--port", "0"]


async def netcat(arguments: list[str], stdin: bytes) -> bytes:
    command = [require_tool("nc"), *arguments]
    with trio.fail_after(PATIENCE_SECONDS):
        done = await trio.run_process(command, stdin=stdin, capture_stdout=True)
    return done.stdout


async def test_netcat_gets_its_answers() -> None:
    async with linekv.open_server(0) as server:
        port = str(server.address[1])
        requests = b"Put:a:1\nPut:a:2\nGet:a\n"
        assert await netcat(["-q0", "127.0.0.1", port], requests) == b"a:1\na:2\n"
        assert await netcat(["-N", "127.0.0.1", port], b"Get:a\r\nFly\n") == (
            b"a:1\na:2\nError: unknown command 'Fly'\n"
        )


async def test_netcat_gets_a_long_answer_to_the_end_after_its_half_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "STALL_SECONDS", PATIENCE_SECONDS)
    limits = linekv.Limits(flush_seconds=PATIENCE_SECONDS)
    async with linekv.open_server(0, limits=limits) as server:
        values = [b"%d" % number * 100 for number in range(2000)]
        requests = b"".join(b"Put:k:%b\n" % value for value in values) + b"Get:k\n"
        answer = await netcat(["-N", "127.0.0.1", str(server.address[1])], requests)
        assert answer == b"".join(b"k:%b\n" % value for value in values)
        assert server.statistics().messages_dropped == 0


async def test_many_clients_at_once() -> None:
    async with linekv.open_server(0) as server:
        _, port = server.address[:2]

        async def work(number: int) -> None:
            key = b"key %d" % number
            async with linekv.connect(port=port) as client:
                for value in range(50):
                    await client.put(key, b"%d" % value)
                    assert len(await client.get(key)) == value + 1

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(work, number)
        await until(lambda: server.count_active() == 0)
        assert server.count_dropped() == 20


async def test_a_client_that_does_not_read_slows_nobody() -> None:
    async with linekv.open_server(0) as server:
        _, port = server.address[:2]
        async with linekv.connect(port=port) as slow, linekv.connect(port=port) as normal:
            await slow.put(b"k", b"v" * 60_000)
            await slow.send(b"Get:k\n" * 2000)
            while not server.statistics().messages_dropped:
                await normal.put(b"n", b"1")
                with trio.fail_after(PATIENCE_SECONDS):
                    assert await normal.get(b"n") == [b"1"]
                await normal.delete(b"n")
            assert await normal.get(b"n") == []


def test_the_server_command_and_the_client_command() -> None:
    with started(SERVE) as server:
        port = str(server.port())
        connect = [*TRIO440, "linekv", "connect", "--port", port]
        assert finished(connect, stdin=b"Put:a:1\nGet:a\nPut:half a line") == (0, "a:1\n", "")
        assert finished(connect, stdin=b"") == (0, "", "")
        with started(connect) as client:
            client.write(b"Put:a:2\nGe")
            client.write(b"t:a\nnonsense\n")
            lines = [client.line() for _ in range(3)]
            assert lines == ["a:1", "a:2", "Error: unknown command 'nonsense'"]
            server.signal(signal.SIGTERM)
            assert server.end() == (0, "", "")
            status, out, err = client.end()
        assert (status, out, err) == (0, "", "")


def test_a_server_that_vanishes_is_one_line_for_the_client() -> None:
    with started(SERVE) as server:
        port = server.port()
        with started([*TRIO440, "linekv", "connect", "--port", str(port)]) as client:
            client.write(b"Put:a:1\nGet:a\n")
            assert client.line() == "a:1"
            with socket.create_connection(("127.0.0.1", port)):
                server.signal(signal.SIGKILL)
                server.end()
            status, out, err = client.end()
    assert (status, out, err) in [
        (0, "", ""),  # the kernel closed the stream as the server would have
        (1, "", f"trio440: error: the connection to 127.0.0.1:{port} is broken\n"),
    ]


def test_the_examples_talk_to_each_other() -> None:
    python = TRIO440[0]
    with started([python, "examples/linekv_server.py", "--port", "0"]) as server:
        command = [python, "examples/linekv_client.py", "--port", str(server.port())]
        assert finished(command, stdin=b"Put:a:1\nGet:a\n") == (0, "a:1\n", "")
        server.signal(signal.SIGTERM)
        assert server.end() == (0, "", "")


@pytest.mark.parametrize("name", ["linekv_server", "linekv_client"])
@pytest.mark.parametrize("flags", [["--port", "abc"], ["--port", "70000"], ["--nonsense"]])
def test_wrong_flags_of_the_examples_are_one_line(name: str, flags: list[str]) -> None:
    status, out, err = finished([TRIO440[0], f"examples/{name}.py", *flags], stdin=b"")
    assert status != 0
    assert out == ""
    assert err.startswith(f"{name}: error: ")
    assert err.count("\n") == 1


async def test_a_refused_client_that_has_sent_something_reads_the_refusal() -> None:
    async with linekv.open_server(0, limits=linekv.Limits(clients=1)) as server:
        _, port = server.address[:2]
        async with linekv.connect(port=port) as first:
            assert await first.get(b"a") == []
            for _ in range(20):
                async with linekv.connect(port=port) as refused:
                    await refused.send(b"Put:a:1\nGet:a\n" * 100)
                    line = await refused.receive_line()
                    assert line == b"Error: too many clients, the limit is 1"
                    assert await refused.receive_line() is None


PATIENT = """if True:
    import sys
    from functools import partial
    from trio440.cli import linekv
    from trio440.cli.running import guard
    linekv.Limits = partial(linekv.Limits, flush_seconds=3600)
    [grace] = [each for each in linekv.serve.params if each.name == "grace"]
    grace.default = 3600
    sys.exit(guard(lambda: linekv.serve(sys.argv[1:], standalone_mode=False)))
"""
"""The command that serves, and waits for an hour where nothing else is said."""


def test_stopping_flushes_what_a_reading_client_has_asked_for() -> None:
    with started([sys.executable, "-c", PATIENT, "--port", "0"]) as server:
        with socket.create_connection(("127.0.0.1", server.port())) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.sendall(b"Put:k:%b\n" % (b"v" * 60_000) + b"Get:k\n" * 400)
            received = len(client.recv(1))
            server.signal(signal.SIGTERM)
            while data := client.recv(1 << 20):
                received += len(data)
        assert server.end()[0] == 0
    assert received > 0
    assert received % 60_003 == 0


def test_stopping_is_over_after_the_grace_period() -> None:
    with (
        started([sys.executable, "-c", PATIENT, "--port", "0", "--grace", "0.3"]) as server,
        socket.create_connection(("127.0.0.1", server.port())) as client,
    ):
        client.sendall(b"Put:k:%b\n" % (b"v" * 60_000) + b"Get:k\n" * 2000)
        client.recv(1)
        start = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.end() == (0, "", "")
        assert time.monotonic() - start > 0.25


def test_the_tool_is_the_real_netcat() -> None:
    help_ = subprocess.run(
        [require_tool("nc"), "-h"], capture_output=True, text=True, check=False
    ).stderr
    assert "OpenBSD netcat" in help_
