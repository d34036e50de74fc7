"""The miner in real processes: killed, interrupted, left alone, and right all the same."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.support.net import until
from tests.support.processes import (
    PATIENCE_SECONDS,
    ROOT,
    TRIO440,
    children_of,
    cpu_ticks,
    finished,
    finished_here,
    is_running,
    started,
    wait_until,
)
from trio440 import lsp
from trio440.errors import EngineFailed
from trio440.mining import ChunkSizes, NonceRange, find_least_hash, least_hash, open_mining_server
from trio440.mining.engines import open_engine
from trio440.mining.engines.numba_engine import is_numba_installed
from trio440.mining.ranges import MAX_NONCE

pytestmark = [pytest.mark.real, pytest.mark.mines]

MINE = (*TRIO440, "mine")
CHILD = ROOT / "trio440" / "mining" / "engines" / "hashlib_child.py"
QUICK = ("--epoch-millis=50", "--epoch-limit=40", "--window=5", "--max-unacked=5")
QUICK_PARAMS = lsp.Params(epoch_limit=40, epoch_millis=50, window_size=5, max_unacked_messages=5)
HASHLIB = ("--engine=hashlib", "--lanes=1")

needs_numba = pytest.mark.skipif(not is_numba_installed(), reason="the extra fast is absent")


def example(name: str) -> tuple[str, str]:
    return sys.executable, str(ROOT / "examples" / f"{name}.py")


# the whole


def test_everything_in_one_process() -> None:
    status, out, err = finished([*MINE, "run", "msg", "2", "--miners", "1"])
    assert (status, out) == (0, "Result 4754799531757243342 1\n")
    assert re.search(r"^engine \w+, \d+ lanes?, [\d.]+ (million )?hashes/s$", err, re.MULTILINE)


def test_several_miners_with_the_plain_engine() -> None:
    status, out, _ = finished([*MINE, "run", "bradfitz", "9999", "--miners=2", "--engine=hashlib"])
    assert (status, out) == (0, "Result 1419516646206828 9898\n")


async def test_a_killed_miner_costs_no_answer() -> None:
    """A huge job and a small one, 10 % of all datagrams lost, one of three miners SIGKILLed."""
    huge, small = NonceRange(0, 400_000), NonceRange(0, 5_000)
    answers: dict[str, tuple[int, int]] = {}
    async with (
        open_mining_server(params=QUICK_PARAMS, sizes=ChunkSizes(first=2000)) as server,
        trio.open_nursery() as nursery,
    ):
        host, port = server.address[:2]
        worker = [*MINE, "worker", f"{host}:{port}", *HASHLIB, *QUICK, "--drop=10"]

        async def ask(text: str, nonces: NonceRange) -> None:
            answers[text] = await find_least_hash(host, port, text, nonces, params=QUICK_PARAMS)

        with ExitStack() as stack:
            workers = [
                stack.enter_context(
                    started(
                        [*worker, f"--limit={limit}", f"--seed={limit}"],
                    )
                )
                for limit in (30_000, 60_000, 90_000)
            ]
            await until(lambda: server.miners == 3)
            nursery.start_soon(ask, "huge", huge)
            await until(lambda: server.statistics().chunks_assigned >= 9)
            os.kill(workers[1].pid, signal.SIGKILL)
            nursery.start_soon(ask, "small", small)
            await until(lambda: len(answers) == 2)
        assert answers["huge"] == least_hash("huge", 0, 400_000)
        assert answers["small"] == least_hash("small", 0, 5_000)
        seen = server.statistics()
        assert seen.jobs_answered == 2
        assert seen.chunks_reassigned >= 1


@pytest.mark.slow
def test_the_courses_scripts() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(started([*example("mine_server"), "0"]))
        address = f"127.0.0.1:{server.port()}"
        miner = stack.enter_context(started([*example("mine_miner"), address]))
        client = [*example("mine_client"), address]
        assert finished([*client, "bradfitz", "9999"]) == (0, "Result 1419516646206828 9898\n", "")
        assert finished([*client, "", "0"])[1] == "Result 17297653956949303043 0\n"
        waiting = stack.enter_context(started([*client, "endless", str(MAX_NONCE)]))
        before = cpu_ticks(miner.pid)
        wait_until(lambda: cpu_ticks(miner.pid) > before + 30)
        server.signal(signal.SIGKILL)
        miner.signal(signal.SIGSTOP)  # it would compute for ten seconds more
        assert waiting.end() == (0, "Disconnected\n", "")
        miner.signal(signal.SIGCONT)
        status, out, err = miner.end()
        assert (status, out) == (0, "")
        assert err.startswith("engine ")


@pytest.mark.slow
def test_the_commands_report_a_lost_server() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(started([*MINE, "server", "--port=0", *QUICK]))
        address = f"127.0.0.1:{server.port()}"
        worker = stack.enter_context(started([*MINE, "worker", address, *HASHLIB, *QUICK]))
        client = stack.enter_context(
            started([*MINE, "client", address, "endless", str(MAX_NONCE), *QUICK])
        )
        wait_until(lambda: cpu_ticks(worker.pid) > 100)  # more than measuring its speed takes
        (child,) = children_of(worker.pid)
        server.signal(signal.SIGKILL)
        assert client.end() == (1, "Disconnected\n", "")
        status, out, err = worker.end()
        assert (status, out) == (1, "")
        assert err.splitlines()[-1] == "trio440: error: the mining server fell silent"
        wait_until(lambda: not is_running(child))


def test_a_server_that_is_told_to_stop_says_what_happened() -> None:
    with started([*MINE, "server", "--port=0", *QUICK]) as server:
        address = f"127.0.0.1:{server.port()}"
        with started([*MINE, "worker", address, *HASHLIB, *QUICK]):
            client = [*MINE, "client", address, "bradfitz", "9999", *QUICK]
            assert finished(client) == (0, "Result 1419516646206828 9898\n", "")
            server.signal(signal.SIGTERM)
            status, out, err = server.end()
    assert (status, out) == (0, "")
    assert "jobs: 1 answered, 0 dropped" in err
    assert "hashes: 10000;" in err


@pytest.mark.parametrize(
    "engine",
    [pytest.param("hashlib", marks=pytest.mark.slow), pytest.param("numba", marks=needs_numba)],
)
def test_ctrl_c_stops_a_miner_in_the_middle_of_a_chunk(engine: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(started([*MINE, "server", "--port=0", *QUICK]))
        address = f"127.0.0.1:{server.port()}"
        worker = stack.enter_context(
            started([*MINE, "worker", address, f"--engine={engine}", "--lanes=1", *QUICK])
        )
        stack.enter_context(started([*MINE, "client", address, "x", str(MAX_NONCE), *QUICK]))
        wait_until(lambda: cpu_ticks(worker.pid) > 100)
        children = children_of(worker.pid)
        assert bool(children) == (engine == "hashlib")
        worker.signal(signal.SIGINT)
        wait_until(lambda: not is_running(worker.pid))
        status, out, err = worker.end()
        assert (status, out) == (130, "")
        assert "Traceback" not in err
        wait_until(lambda: not any(map(is_running, children)))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["run", "x", "ten"], "'ten' is no nonce"),
        (["run", "x", str(2**64)], f"'{2**64}' is no nonce, they go from 0 to {MAX_NONCE}"),
        (["run", "x", "9" * 5000], "so long a number is no nonce"),
        (["run", "x", "1", "--miners=0"], "0 is not in the range"),
        (["run", "x", "1", "--engine=gpu"], "'gpu' is not one of"),
        (["run", "x" * 2000, "1"], "message must be at most"),
        (["client", "127.0.0.1", "x", "1"], "is not HOST:PORT"),
        (["client", "127.0.0.1:70000", "x", "1"], "70000 is no port"),
        (["client", "no.such.host.invalid:1", "x", "1"], "is an unknown host"),
        (["client", "127.0.0.1:1", "x", "1", "--epoch-millis=20"], "no answer from 127.0.0.1:1"),
        (["worker", "127.0.0.1:1", "--limit=0"], "0.0 is not in the range"),
        (["worker", "127.0.0.1:1", "--lanes=1000"], "lanes must be from 1 to 256, not 1000"),
        (["server", "--port=-2"], "-2 is no port"),
        (["server", "--window=0"], "0 is not in the range"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line(arguments: list[str], problem: str) -> None:
    status, out, err = finished_here("mine", *arguments)
    assert status != 0
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("engine ")]
    assert len(lines) == 1
    assert problem in lines[0]


# the processes of the plain engine


def start_child() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_a_hash_process_ignores_ctrl_c_and_ends_with_its_input_amid_a_search() -> None:
    with start_child() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"1 20 5 5\n")
        child.stdin.flush()
        number, value, nonce = map(int, child.stdout.readline().split())
        assert (number, (value, nonce)) == (1, least_hash("", 5, 5))
        child.send_signal(signal.SIGINT)
        child.stdin.write(b"2 20 0 %d\n" % MAX_NONCE)
        child.stdin.flush()
        wait_until(lambda: cpu_ticks(child.pid) > 15)
        child.stdin.close()
        assert child.wait(PATIENCE_SECONDS) == 0
        assert child.stdout.read() == b""


def test_a_new_request_ends_the_search_of_the_one_before() -> None:
    with start_child() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"1 20 0 %d\n" % MAX_NONCE)
        child.stdin.flush()
        wait_until(lambda: cpu_ticks(child.pid) > 15)
        child.stdin.write(b"2 20 7 7\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"2 %d %d\n" % least_hash("", 7, 7)
        child.stdin.close()


def test_hash_processes_end_when_their_parent_is_killed_amid_a_search() -> None:
    program = """if True:
        import trio
        from trio440.mining import NonceRange
        from trio440.mining.engines import open_engine

        async def main():
            async with open_engine("hashlib", lanes=2) as engine:
                await engine.search("endless", NonceRange(0, 2**64 - 1))

        trio.run(main)
    """
    with started([sys.executable, "-c", program]) as parent:
        wait_until(lambda: len(children_of(parent.pid)) == 2)
        children = children_of(parent.pid)
        wait_until(lambda: cpu_ticks(parent.pid) > 60)
        assert all(map(is_running, children))
        parent.signal(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, children)))


async def test_a_hash_process_that_dies_fails_the_engine() -> None:
    before = set(children_of(os.getpid()))
    async with open_engine("hashlib", lanes=2) as engine:
        victim, _ = sorted(set(children_of(os.getpid())) - before)

        async def kill() -> None:
            await until(lambda: cpu_ticks(victim) > 5)
            os.kill(victim, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(EngineFailed, match=f"process {victim} died"):
                await engine.search("endless", NonceRange(0, MAX_NONCE))
        with pytest.raises(EngineFailed):
            await engine.search("again", NonceRange(0, MAX_NONCE))


# compiling


@needs_numba
def test_compiling_beforehand() -> None:
    assert finished([sys.executable, "-m", "trio440.mining.engines.warm"]) == (0, "", "")


def compilers(pid: int) -> Iterator[int]:
    for child in children_of(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"engines.warm" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield child


@pytest.mark.slow
@needs_numba
def test_ctrl_c_ends_the_first_compilation_too(tmp_path: Path) -> None:
    command = [*MINE, "run", "msg", "2", "--engine=numba", "--miners=1"]
    with started(command, env={"NUMBA_CACHE_DIR": str(tmp_path)}, fresh=True) as program:
        wait_until(lambda: [*compilers(program.pid)])
        (compiler,) = compilers(program.pid)
        wait_until(lambda: cpu_ticks(compiler) > 100)
        program.signal(signal.SIGINT)
        wait_until(lambda: not is_running(program.pid))
        status, out, err = program.end()
        assert (status, out) == (130, "")
        assert "Traceback" not in err
        wait_until(lambda: not is_running(compiler))
