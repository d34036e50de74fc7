"""The store's runners as processes: what they print, how they fail, and that servers sync."""

import shlex
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_SECONDS, ROOT, Program, finished, started
from trio440.kv.description import parse_description

pytestmark = pytest.mark.real

SRUNNER: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "kv_srunner.py")
CRUNNER: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "kv_crunner.py")


def read_start(server: Program, count: int) -> tuple[list[str], str]:
    """Read what a server says at its start: where it answers clients, and its description."""
    assert server.line() == "starting"
    assert server.line().startswith("actor system on 127.0.0.1:")
    addresses = [server.line().removeprefix("query actor on ") for _ in range(count)]
    (description,) = shlex.split(server.line())[1:]
    assert list(parse_description(description).clients) == addresses
    return addresses, description


def ask(client: Program, *commands: str) -> list[str]:
    """Say commands of one line of answer each."""
    client.write("".join(f"{command}\n" for command in commands).encode())
    return [client.line() for _ in commands]


@pytest.mark.slow
def test_two_servers_and_their_clients() -> None:
    with ExitStack() as stack:
        one = stack.enter_context(started([*SRUNNER, "-count", "2", "-port", "0"]))
        addresses, description = read_start(one, 2)
        two = stack.enter_context(started([*SRUNNER, "-count=1", "-port=0", description]))
        addresses += read_start(two, 1)[0]
        here, there = (
            stack.enter_context(started([*CRUNNER, address])) for address in addresses[1:]
        )
        assert ask(here, "Get k", "Put k v", "get k", "list") == ["no such key", "ok", "v", "k v"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ask(there, "Get k") != ["v"]:
            assert time.monotonic() < deadline
        usages = ["usage: Get key", "usage: List [prefix]", "usage: Put key value"]
        assert ask(here, "Get", "\nList a b", "Put a") == usages
        assert ask(here, "hello") == ["commands: Get key, List [prefix], Put key value"]
        long = "error: a key of 5000 bytes is too long, the limit is 4096"
        assert ask(here, f"Put {'k' * 5000} v", "List x\nList k") == [long, "k v"]
        for client in (here, there):
            assert client.end() == (0, "", "")
        for server in (one, two):
            server.signal(signal.SIGTERM)
            assert server.end() == (0, "", "")


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line_and_status_3() -> None:
    with started([*SRUNNER, "-port", "0"]) as server:
        (address,), _ = read_start(server, 1)
        port = int(address.rpartition(":")[2])
        for taken in (port, port - 1):
            status, out, err = finished([*SRUNNER, "-port", str(taken)])
            assert (status, out) == (3, "starting\n")
            assert err.startswith("kv_srunner: error: ")
            assert f":{port}" in err or f":{taken}" in err  # somebody else may have that one
            assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([*SRUNNER, "-count=0"], "count must be 1 to 256, not 0"),
        ([*SRUNNER, "-port=65535"], "start_port must be 0 to 65534, not 65535"),
        ([*SRUNNER, "-port=0", "{}"], "description must be what a server"),
        ([*SRUNNER, "-port=x"], "invalid int value"),
        ([*CRUNNER, "nowhere"], "address must be HOST:PORT"),
        ([*CRUNNER], "required: HOST:PORT"),
    ],
)
def test_a_bad_command_line_is_one_line(command: list[str | Path], said: str) -> None:
    status, out, err = finished(command)
    assert status in (1, 2)
    assert said in err
    assert err.count("\n") == 1
    assert out in ("", "starting\n")
