"""Clients of Redis, unchanged, against a RESP server on loopback: redis-cli, -benchmark, -py."""

import csv
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import redis
import trio
from redis.client import Pipeline

from tests.support.net import free_port, until
from tests.support.processes import PATIENCE_SECONDS, started
from tests.support.resp_model import RespModel
from tests.support.resp_script import Connection, Step, play, read_record
from tests.support.tools import require_tool
from trio440 import kv, raft
from trio440.kv.resp import RespServer, open_resp_server

pytestmark = pytest.mark.real

SERVER_PROGRAM = """
import trio
from trio440 import kv
from trio440.kv.resp import open_resp_server

async def main():
    async with kv.open_memory() as namespace, open_resp_server(namespace, 0) as server:
        print(f"listening on 127.0.0.1:{server.address[1]}", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.fixture
async def server() -> AsyncIterator[RespServer]:
    async with kv.open_memory() as namespace, open_resp_server(namespace, 0) as server:
        yield server


async def run(tool: str, server: RespServer, *words: str, stdin: bytes = b"") -> str:
    """Run a tool of Redis against a server to its end, and return what it prints."""
    command = [require_tool(tool), "-p", str(server.address[1]), *words]
    with trio.fail_after(PATIENCE_SECONDS):
        done = await trio.run_process(command, stdin=stdin, capture_stdout=True)
    return done.stdout.decode()


async def test_redis_cli_works(server: RespServer) -> None:
    assert await run("redis-cli", server, "set", "a", "1") == "OK\n"
    assert await run("redis-cli", server, "-3", "get", "nosuch") == "\n"
    script = b"incr a\nget a\nmulti\nset b 2\nget b\nexec\nnosuch x\nconfig get save\nscan 0\n"
    assert await run("redis-cli", server, stdin=script) == (
        "2\n2\nOK\nQUEUED\nQUEUED\nOK\n2\n"
        "ERR unknown command 'nosuch', with args beginning with: 'x' \n\n"
        "save\n\n0\na\nb\n"
    )
    assert await run("redis-cli", server, "--scan", "--pattern", "a*") == "a\n"


async def test_redis_cli_sends_much_at_once(server: RespServer) -> None:
    data = b"".join(b"SET k%d v%d\r\n" % (at, at) for at in range(5000))
    assert "errors: 0, replies: 5000" in await run("redis-cli", server, "--pipe", stdin=data)
    assert await run("redis-cli", server, "dbsize") == "5000\n"


@pytest.mark.parametrize("pipeline", [1, 16])
async def test_redis_benchmark_works(server: RespServer, pipeline: int) -> None:
    words = ["-t", "ping,set,get,incr,mset", "-n", "200", "-P", str(pipeline), "--csv", "-r", "50"]
    printed = await run("redis-benchmark", server, *words)
    rows = list(csv.DictReader(printed.splitlines()))
    names = ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"]
    assert [row["test"] for row in rows] == names
    statistics = server.statistics()
    assert statistics.commands >= 1200
    assert statistics.protocol_errors == statistics.clients_refused == 0
    await until(lambda: server.statistics().clients == 0)


# What is left in the store, compared with a dictionary

DRAWN = 1600
"""A multiple of the pipelines, of which redis-benchmark sends whole ones."""
WRITTEN = {"set": "abc", "a": "1", "b": "2"}


@attrs.frozen
class Front:
    """A RESP server over one of the engines."""

    server: RespServer
    is_atomic: bool

    async def everything(self) -> dict[str, str]:
        """Ask redis-cli for all keys and values; both without line ends."""
        keys = (await run("redis-cli", self.server, "--scan")).split()
        values: list[str] = []
        for start in range(0, len(keys), 100):
            part = keys[start : start + 100]
            values += (await run("redis-cli", self.server, "mget", *part)).splitlines()
        assert int(await run("redis-cli", self.server, "dbsize")) == len(keys) == len(set(keys))
        return dict(zip(keys, values, strict=True))


@pytest.fixture(params=["memory", "eventual", "linearizable"])
async def front(request: pytest.FixtureRequest) -> AsyncIterator[Front]:
    config = kv.StoreConfig(namespaces={"default": request.param})
    async with kv.open_store(config) as store:
        namespace = store.namespaces["default"]
        async with open_resp_server(namespace, 0) as server:
            yield Front(server, isinstance(namespace, kv.AtomicNamespace))


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["1", "16"])
async def test_what_redis_benchmark_leaves_is_what_it_has_written(
    front: Front, pipeline: str
) -> None:
    """Keys are drawn at random, so a dictionary says what there may be, and what they add up to."""
    words = ["-n", str(DRAWN), "-r", "100", "-P", pipeline, "-c", "20", "--csv"]

    async def benchmark(*command: str) -> None:
        printed = await run("redis-benchmark", front.server, *words, *command)
        assert len(list(csv.DictReader(printed.splitlines()))) == 1

    await benchmark("set", "set:__rand_int__", "abc")
    await benchmark("mset", "a:__rand_int__", "1", "b:__rand_int__", "2")
    wanted = {f"{name}:{at:012}": value for name, value in WRITTEN.items() for at in range(100)}
    found = await front.everything()
    assert found.items() <= wanted.items()
    assert len(found) > 0.99 * len(wanted), "each key was drawn 16 times"
    await benchmark("del", "set:__rand_int__")
    found = await front.everything()
    assert sum(key.startswith("set:") for key in found) <= 2
    if front.is_atomic:
        await benchmark("incrby", "n:__rand_int__", "3")
        await benchmark("append", "text:__rand_int__", "xyz")
        found = await front.everything()
        assert sum(int(found[key]) for key in found if key.startswith("n:")) == 3 * DRAWN
        texts = [found[key] for key in found if key.startswith("text:")]
        assert sum(map(len, texts)) == 3 * DRAWN
        assert {text.replace("xyz", "") for text in texts} == {""}
    assert front.server.statistics().protocol_errors == 0


@pytest.mark.slow
async def test_each_answer_is_that_of_a_dictionary(front: Front) -> None:
    """Of several clients at the same time, each with keys of its own."""
    wanted: dict[str, str] = {}

    async def play_one(number: int) -> None:
        model = RespModel(f"c{number}/", random.Random(number), is_atomic=front.is_atomic)
        steps = [model.step() for _ in range(800)]
        script = "".join(f"{command}\n" for command, _ in steps)
        printed = await run("redis-cli", front.server, stdin=script.encode())
        answers = "".join(f"{answer}\n" for _, answer in steps)
        assert printed.splitlines() == answers.splitlines()
        wanted.update(model.values)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(play_one, number)
    assert await front.everything() == wanted


@pytest.mark.slow
async def test_what_is_sent_without_waiting_leaves_what_a_dictionary_has(front: Front) -> None:
    wanted: dict[str, str] = {}
    rng, lines = random.Random(1), []
    for number in range(20_000):
        key = f"k{rng.randrange(500)}"
        if rng.random() < 0.8:
            wanted[key] = f"v{number}"
            lines.append(f"set {key} v{number}\r\n")
        else:
            wanted.pop(key, None)
            lines.append(f"del {key}\r\n")
        if rng.random() < 0.1:
            lines.append(f"get {key}\r\n")
    printed = await run("redis-cli", front.server, "--pipe", stdin="".join(lines).encode())
    assert f"errors: 0, replies: {len(lines)}" in printed
    assert await front.everything() == wanted


@pytest.mark.parametrize("protocol", [2, 3])
async def test_redis_py_works(server: RespServer, protocol: int) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        await trio.to_thread.run_sync(use_redis_py, server.address[1], protocol)
    assert server.statistics().protocol_errors == 0


def use_redis_py(port: int, protocol: int) -> None:
    """Use a namespace as a program with redis-py would."""
    with redis.Redis(port=port, protocol=protocol, client_name="tests") as client:
        assert client.set("a", "1", ex=100)
        assert client.set("a", "2", nx=True) is None
        assert client.get("a") == b"1"
        assert client.ttl("a") == 100
        assert client.incrby("a", 5) == 6
        assert client.mget("a", "nosuch") == [b"6", None]
        assert client.client_getname() in ("tests", b"tests")
        assert client.config_get("maxclients") == {"maxclients": "10000"}
        assert client.info("server")["redis_mode"] == "standalone"
        with client.pipeline(transaction=True) as pipe:
            assert pipe.set("b", "1").incr("b").get("b").execute() == [True, 2, b"2"]
        assert client.transaction(increment_b, "b") == [3]
        with client.pipeline() as pipe, pytest.raises(redis.WatchError):
            pipe.watch("b")
            client.set("b", "other")
            pipe.multi()
            pipe.set("b", "mine")
            pipe.execute()
        with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
            client.incr("b")
        client.mset({f"k{at}": "v" for at in range(100)})
        assert sum(1 for _ in client.scan_iter("k*", count=7)) == 100
        with client.pubsub() as heard:
            heard.psubscribe("__keyspace@0__:k*")
            assert heard.get_message(timeout=PATIENCE_SECONDS)
            client.delete("k1")
            message = heard.get_message(timeout=PATIENCE_SECONDS)
            assert message is not None
            assert message["channel"] == b"__keyspace@0__:k1"
            assert message["data"] == b"del"


def increment_b(pipe: Pipeline) -> None:
    pipe.multi()
    pipe.incr("b")


@pytest.mark.slow
def test_redis_still_answers_as_recorded(tmp_path: Path) -> None:
    program = require_tool("redis-server")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    if " v=7.0." not in version.stdout:
        pytest.skip(f"the record is of Redis 7.0, this is {version.stdout.split()[2]}")
    port = free_port()
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with started([program, *words]) as process:
        while "Ready to accept connections" not in process.line():
            pass
        for name, steps in read_record().items():
            for step, wanted in zip(play(port, steps), steps, strict=True):
                if not step.command.startswith("hello"):
                    assert step == wanted, name


@pytest.mark.slow
async def test_the_linearizable_engine_answers_as_recorded() -> None:
    config = raft.PeerConfig(id="n1", members=("n1",))
    async with (
        kv.open_linearizable_peer(config) as peer,
        kv.open_linearizable([peer.address[:2]]) as namespace,
        open_resp_server(namespace, 0) as server,
    ):
        for name, steps in read_record().items():
            with trio.fail_after(PATIENCE_SECONDS):
                played = await trio.to_thread.run_sync(play_all, server.address[1], steps)
            for step, wanted in zip(played, steps, strict=True):
                if not step.command.startswith("hello"):
                    assert step == wanted, name


def play_all(port: int, steps: list[Step]) -> list[Step]:
    return list(play(port, steps))


@pytest.mark.slow
def test_ctrl_c_ends_a_server_with_clients_at_once(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(SERVER_PROGRAM)
    with started([sys.executable, program]) as process:
        port = process.port()
        connections = [Connection(port) for _ in range(3)]
        assert connections[0].say(b"ping\r\n", 1) == [b"+PONG\r\n"]
        assert connections[1].say(b"subscribe a\r\n", 1)
        process.signal(signal.SIGINT)
        status, _, err = process.end()
        assert status != 0
        assert "KeyboardInterrupt" in err
        assert [connection.say(b"", 1) for connection in connections] == [[], [], []]
        for connection in connections:
            connection.close()
