"""``trio440 kv`` as a person meets it: a server, and what is put into it, read and watched."""

import json
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import pytest
import trio

from tests.support.processes import PATIENCE_SECONDS, TRIO440, Program, finished, started
from tests.support.tools import require_tool
from trio440 import kv
from trio440.cli.kv import command
from trio440.cli.running import guard

pytestmark = pytest.mark.real

KV = (*TRIO440, "kv")


@contextmanager
def store(*words: str) -> Iterator[tuple[Program, str, dict[str, str], str]]:
    """A server, where clients of its default namespace are answered, all such, its description."""
    with started([*KV, "serve", "--port", "0", *words]) as server:
        address = f"127.0.0.1:{server.port()}"
        namespaces: dict[str, str] = {}
        while (line := server.line()).startswith(("namespace ", "resp ")):
            kind, name, what, *addresses = line.split()
            assert len(addresses) == (kind == "namespace")
            namespaces[name if kind == "namespace" else f"resp of {name}"] = what
        word, description = shlex.split(line)
        assert word == "description"
        yield server, address, namespaces, description


def ask(address: str, *words: str) -> tuple[int, str, str]:
    command, *rest = words
    return finished([*KV, command, "--at", address, *rest])


@pytest.mark.slow
def test_a_namespace_of_this_process() -> None:
    with store("--engine", "memory") as (server, address, namespaces, _):
        assert namespaces == {"default": "memory"}
        assert ask(address, "put", "a/1", "one") == (0, "", "")
        assert ask(address, "put", "a/2", "zwei", "--json") == (0, '{"version": 2}\n', "")
        assert ask(address, "get", "a/1") == (0, "one\n", "")
        assert ask(address, "get", "a/3") == (1, "", "")
        assert ask(address, "list", "a/") == (0, "a/1\tone\na/2\tzwei\n", "")
        more = "there are more keys than these 1\n"
        assert ask(address, "list", "--limit", "1") == (0, "a/1\tone\n", more)
        assert ask(address, "delete", "a/1") == (0, "", "")
        assert ask(address, "delete", "a/1", "--json") == (1, '{"existed": false}\n', "")
        with started([*KV, "watch", "--at", address, "a/"]) as watch:
            assert watch.note() == "watching"
            assert ask(address, "put", "a/2", "two") == (0, "", "")
            position, *change = watch.line().split("\t")
            assert change == ["put", "a/2", "two"]
        assert ask(address, "put", "a/2", "due") == (0, "", "")
        with started([*KV, "watch", "--at", address, "--after", position, "--json"]) as watch:
            assert json.loads(watch.line())["value"] == "due"
        server.signal(signal.SIGTERM)
        assert server.end() == (0, "", "")


@contextmanager
def store_in_a_thread(**engines: kv.Engine) -> Iterator[str]:
    """Where clients of a store of this process are answered; it costs no process."""
    started_at: SimpleQueue[tuple[str, trio.lowlevel.TrioToken, trio.CancelScope]] = SimpleQueue()

    async def serve() -> None:
        async with kv.open_store(kv.StoreConfig(namespaces=engines)) as opened:
            address = next(iter(opened.offers.values())).addresses[0]
            with trio.CancelScope() as scope:
                started_at.put((address, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = Thread(target=trio.run, args=(serve,), daemon=True)
    thread.start()
    address, token, scope = started_at.get(timeout=PATIENCE_SECONDS)
    try:
        yield address
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(PATIENCE_SECONDS)


def test_siblings_from_a_terminal(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with store_in_a_thread(default="eventual", exact="linearizable") as address:

        def run(name: str, *words: str) -> tuple[int, list[str], str]:
            arguments = [name, "--at", address, *words]
            status = guard(lambda: command.main(arguments, standalone_mode=False))
            out, err = capfdbinary.readouterr()
            return status, out.decode().splitlines(), err.decode()

        assert run("get", "cart", "--siblings") == (1, [], "")
        assert run("put", "cart", "milk", "--sibling") == (0, [], "")
        assert run("put", "cart", "bread", "--sibling", "--ttl", "900")[0] == 0
        assert run("get", "cart", "--siblings") == (0, ["bread", "milk"], "")
        status, (line,), _ = run("get", "cart", "--siblings", "--json")
        found = json.loads(line)
        assert [entry["value"] for entry in found["entries"]] == ["bread", "milk"]
        assert (status, found["key"]) == (0, "cart")
        assert run("put", "cart", "eggs", "--sibling")[0] == 0
        assert run("put", "cart", "both", "--replacing", found["context"]) == (0, [], "")
        assert run("get", "cart", "--siblings") == (0, ["both", "eggs"], "")
        for words, problem in (
            (("put", "k", "v", "--replacing", "zz"), "'zz' is no context"),
            (("put", "k", "v", "--replacing", "00"), "this is no context of siblings"),
            (("put", "k", "v", "--replacing", "", "--sibling"), "exclude each other"),
            (
                ("put", "k", "v", "--sibling", "--namespace", "exact"),
                "linearizable namespace has no",
            ),
            (("get", "k", "--siblings", "--namespace", "exact"), "linearizable namespace has no"),
        ):
            status, lines, err = run(*words)
            assert status
            assert (lines, len(err.splitlines())) == ([], 1)
            assert problem in err


def test_the_status_names_who_does_not_answer(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with store_in_a_thread(default="memory") as address, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        nobody = f"127.0.0.1:{held.getsockname()[1]}"

        def run(*words: str) -> tuple[int, list[str], str]:
            status = guard(lambda: command.main(["status", *words], standalone_mode=False))
            out, err = capfdbinary.readouterr()
            return status, out.decode().splitlines(), err.decode()

        status, lines, err = run("--at", f"{nobody},{address}")
        assert (status, len(lines), err) == (0, 3, "")
        assert lines[-1] == f"{nobody} does not answer: nobody listens there"
        status, (line,), _ = run("--at", f"{nobody},{address}", "--json")
        expected = [{"address": nobody, "reason": "nobody listens there"}]
        assert (status, json.loads(line)["unanswered"]) == (0, expected)
        problem = f"trio440: error: the store cannot be reached: nobody listens at {nobody}\n"
        assert run("--at", nobody) == (1, [], problem)


@pytest.mark.slow
def test_a_stdout_that_nobody_reads_ends_every_client_quietly() -> None:
    """As it ends all commands; one that was started without any writes nowhere."""
    with store_in_a_thread(default="memory") as address:
        assert ask(address, "put", "a/1", "one") == (0, "", "")
        for words in ("get a/1", "list a/", "list --json", "status", "shell", "delete b --json"):
            name, *rest = words.split()
            command = [*KV, name, "--at", address, *rest]
            read_end, write_end = os.pipe()
            os.close(read_end)
            with os.fdopen(write_end, "wb") as unread:
                done = subprocess.run(
                    command,
                    input=b"get a/1\nlist\n",
                    stdout=unread,
                    stderr=subprocess.PIPE,
                    timeout=PATIENCE_SECONDS,
                    check=False,
                )
            assert (done.returncode, done.stderr) == (141, b""), words
            nowhere = ["bash", "-c", f"{shlex.join(command)} <&- >&-"]
            assert finished(nowhere) == (int(name == "delete"), "", ""), words


@pytest.mark.slow
def test_clients_of_redis_and_a_directory(tmp_path: Path) -> None:
    require_tool("redis-cli")
    data = ("--data", str(tmp_path / "kv"), "--resp", "0", "--resp", "0=exact", "--id", "n1")
    for turn in range(2):
        with store(*data, "--namespace", "exact=linearizable") as (server, address, namespaces, _):
            port = namespaces["resp of exact"].rpartition(":")[2]
            for command, answer in (("INCR n", turn + 1), ("SET k v", "OK"), ("GET k", "v")):
                words = ["redis-cli", "-p", port, *command.split()]
                assert finished(words)[1] == f"{answer}\n"
            port = namespaces["resp of default"].rpartition(":")[2]
            err = finished(["redis-cli", "-p", port, "INCR", "n"])[1]
            assert "needs a linearizable namespace" in err
            kept = ask(address, "get", "k")
            assert kept == ((0, "old\n", "") if turn else (1, "", ""))
            assert ask(address, "put", "k", "old") == (0, "", "")
            server.signal(signal.SIGKILL)
            server.end()


@pytest.mark.slow
def test_servers_join_by_a_description_or_an_address() -> None:
    exact = ("--namespace", "exact=linearizable")
    with (
        store("--count", "2", *exact) as (_, one, namespaces, description),
        store("--join", description, *exact) as (_, two, _, _),
        store("--join", one, *exact) as (_, three, _, _),
    ):
        assert namespaces == {"default": "eventual", "exact": "linearizable"}
        assert ask(one, "put", "k", "v") == (0, "", "")
        assert ask(two, "put", "k", "exactly", "--namespace", "exact", "--timeout", "60")[0] == 0
        assert ask(three, "get", "k", "--namespace", "exact", "--timeout", "60")[1] == "exactly\n"
        while ask(three, "get", "k") != (0, "v\n", ""):
            pass
        everywhere = f"{one},{two},{three}"
        status, out, err = ask(everywhere, "status", "--json")
        assert (status, err) == (0, "")
        found = json.loads(out)
        actors = [row for row in found["replicas"] if row["engine"] == "eventual"]
        assert len(actors) == 4
        assert {row["keys"] for row in actors} == {1}
        assert len([lag for lag in found["lags"] if lag["unit"] == "ms"]) == 12
        lines = ask(everywhere, "status")[1].splitlines()
        assert lines[0].split() == [
            *("namespace", "engine", "address", "server", "role", "keys", "lag")
        ]
        assert len(lines) == 1 + len(found["replicas"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["serve", "--engine", "what"], "'--engine'"),
        (["serve", "--namespace", "a"], "'a' is not NAME=ENGINE"),
        (["serve", "--namespace", "default=memory"], "'default' is there twice"),
        (["serve", "--port", "0", "--join", "x"], "has printed"),
        (["serve", "--port", "65535"], "start_port"),
        (["serve", "--count", "0"], "'--count'"),
        (["serve", "--resp", "0=x"], "there is no namespace 'x', but default"),
        (["serve", "--resp", "x"], "'x' is not a port number"),
        (["get", "k"], "'--at'"),
        (["get", "--at", "x", "k"], "is not HOST:PORT"),
        (["get", "--at", "127.0.0.1:1", "k"], "cannot be reached: nobody listens at 127.0.0.1:1"),
        (["put", "--at", "127.0.0.1:1", "k", "v", "--ttl", "0"], "'--ttl'"),
        (["watch", "--at", "127.0.0.1:1", "--after", "zz"], "127.0.0.1:1|position"),
    ],
)
def test_bad_input_is_one_line(words: list[str], problem: str) -> None:
    status, out, err = finished([*KV, *words])
    assert status in (1, 2)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert any(part in err for part in problem.split("|")), err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--namespace a=eventual", "'a' is a second eventual namespace: 'default' is one"),
        ("--namespace default=memory", "'default' is there twice"),
        ("--engine memory --data d", "a memory namespace keeps nothing"),
        ("--engine memory --durability memory", "there is no eventual namespace"),
        ("--durability synced", "synced does not go without --data"),
        ("--durability memory --data d", "memory does not go with --data"),
    ],
)
def test_what_nobody_would_keep_is_refused(
    words: str, problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "--port", "0", *words.split()]
    assert guard(lambda: command.main(arguments, standalone_mode=False))
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert problem in err


def test_no_server_is_announced_whose_port_for_redis_is_taken(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["serve", "--port", "0", "--engine", "memory", "--resp", port]
        assert guard(lambda: command.main(arguments, standalone_mode=False)) == 1
    assert capfd.readouterr() == ("", f"trio440: error: 127.0.0.1:{port} is already in use\n")


@pytest.mark.slow
def test_a_server_whose_disk_is_full_ends_and_says_so(tmp_path: Path) -> None:
    # Modules are not compiled anew into files that would be cut short, too.
    limited = "ulimit -f 40; exec env PYTHONDONTWRITEBYTECODE=1"
    limited += f" {shlex.join(KV)} serve --port 0 --data {tmp_path / 'kv'}"
    with started(["bash", "-c", limited]) as server:
        address = f"127.0.0.1:{server.port()}"
        status, error = 0, ""
        for number in range(10):
            status, _, error = ask(address, "put", f"k{number}", "v" * 9000)
            if status:
                break
        assert (status, error.count("\n")) == (1, 1)
        status, _, error = server.end()
        assert (status, error.count("\n")) == (1, 1)
        assert "the journal has stopped" in error
        assert "File too large" in error
