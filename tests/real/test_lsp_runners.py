import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import ROOT, TRIO440, Program, finished, started

pytestmark = pytest.mark.real

SRUNNER: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "srunner.py")
CRUNNER: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "crunner.py")
QUICK = ("-ems=50", "-elim=40", "-wsize=5", "-maxUnackMessages=5")


@pytest.fixture
def server() -> Iterator[Program]:
    with started([*SRUNNER, "-port=0", *QUICK]) as program:
        yield program


def test_eight_clients_get_all_their_lines_back_in_order_over_a_lossy_network() -> None:
    lines = "".join(f"line {number} of many\n" for number in range(100))
    with ExitStack() as stack:
        lossy = stack.enter_context(
            started([*SRUNNER, "-port", "0", "-rdrop=20", "-wdrop=20", "-seed=7", *QUICK])
        )
        port = lossy.port()
        clients = [
            stack.enter_context(started([*CRUNNER, f"-port={port}", *QUICK, "-lines", "20"]))
            for _ in range(8)
        ]
        for client in clients:
            client.write(lines.encode())
        for client in clients:
            status, out, err = client.end()
            assert (status, err) == (0, "")
            assert out == lines


def test_words_go_one_at_a_time(server: Program) -> None:
    status, out, err = finished(
        [*CRUNNER, "-port", str(server.port()), *QUICK], stdin=b"one two\n\n  three\r\nfour"
    )
    assert (status, out, err) == (0, "one\ntwo\nthree\nfour\n", "")


def test_bytes_that_are_no_text_and_empty_lines_come_back(server: Program) -> None:
    data = b"\xff\xfe\n\n\x00\n"
    client = [*CRUNNER, f"-port={server.port()}", *QUICK, "-lines=3"]
    assert finished(client, stdin=data) == (0, data.decode(errors="surrogateescape"), "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["drop", "duplicate", "reorder", "corrupt", "shorten", "lengthen"]
)
def test_every_fault_flag_is_survived(fault: str) -> None:
    flags = ["-port=0", *QUICK, f"-r{fault}=30", f"-w{fault}=30", "-seed=3", "-v"]
    lines = "".join(f"{number}\n" for number in range(20))
    with started([*SRUNNER, *flags]) as server:
        client = [*CRUNNER, f"-port={server.port()}", *QUICK, "-lines=9"]
        assert finished(client, stdin=lines.encode()) == (0, lines, "")


def test_the_command_echoes_too() -> None:
    numbers = ["--epoch-millis=50", "--epoch-limit=40", "--window=5", "--max-unacked=5"]
    with started([*TRIO440, "lsp", "echo-server", "--port=0", "--drop=10", *numbers]) as server:
        at = f"127.0.0.1:{server.port()}"
        client = [*TRIO440, "lsp", "echo-client", at, "--lines=5", *numbers]
        assert finished(client, stdin=b"a\nb\nc\n") == (0, "a\nb\nc\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-wsize=0"], "window_size must be a whole number of at least 1, not 0"),
        (["-elim=0"], "epoch_limit must be a whole number of at least 1, not 0"),
        (["-ems=0"], "epoch_millis must be a whole number of at least 1, not 0"),
        (["-maxbackoff=-1"], "max_backoff_interval must be a whole number of at least 0, not -1"),
        (["-maxUnackMessages=0"], "max_unacked_messages must be a whole number of at least 1"),
        (["-port=65536"], "port must be 0 to 65535, not 65536"),
        (["-port=x"], "argument -port: invalid int value: 'x'"),
        (["-rdrop=101"], "-rdrop must be from 0 to 100 percent, not 101.0"),
        (["-host=no.such.host.invalid"], "no.such.host.invalid:9999 is an unknown host"),
        (["-nonsense"], "unrecognized arguments: -nonsense"),
    ],
    ids=str,
)
def test_bad_flags_get_one_line(arguments: list[str], message: str) -> None:
    status, out, err = finished([*SRUNNER, *arguments])
    assert status != 0
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_an_unknown_host_is_one_line_for_the_client_too() -> None:
    status, out, err = finished([*CRUNNER, "-host=no.such.host.invalid", "-port=1"])
    assert (status, out) == (1, "")
    assert err == "crunner: error: no.such.host.invalid:1 is an unknown host\n"


def test_nobody_there_is_one_line() -> None:
    status, out, err = finished([*CRUNNER, "-port=1", "-ems=20", "-elim=2"], stdin=b"x\n")
    assert (status, out) == (1, "")
    assert err == "crunner: error: no answer from 127.0.0.1:1 within 2 epochs\n"


def test_a_lost_server_is_one_line(server: Program) -> None:
    port = server.port()
    with started([*CRUNNER, f"-port={port}", "-ems=50", "-elim=16"]) as client:
        client.write(b"hello\n")
        assert client.line() == "hello"
        server.signal(signal.SIGKILL)
        client.write(b"again\n")
        status, out, err = client.end()
    assert (status, out) == (1, "")
    assert err == "crunner: error: connection 1 is lost: the other side fell silent\n"


def test_a_line_that_fits_no_datagram_is_one_line(server: Program) -> None:
    client = [*CRUNNER, f"-port={server.port()}", *QUICK, "-lines=2"]
    status, out, err = finished(client, stdin=b"x" * 2000 + b"\n")
    assert (status, out) == (1, "")
    assert err.startswith("crunner: error: a payload of 2000 bytes is too large, the limit is ")
    assert err.count("\n") == 1
