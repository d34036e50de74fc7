"""The demo does what it says, without a terminal and on one, and cleans up after itself."""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.processes import (
    PATIENCE_SECONDS,
    ROOT,
    TRIO440,
    children_of,
    finished,
    is_running,
    started,
    wait_until,
)
from trio440.mining import hash_of

pytestmark = pytest.mark.real


def directories_of(pid: int) -> list[Path]:
    """What the raft part of a process has left of its peers' state."""
    return [*Path(tempfile.gettempdir()).glob(f"trio440-demo-{pid}-*")]


def demo(part: str, changes: str = "") -> list[str]:
    """The command that shows a part, with slower miners and more patience than for a person."""
    program = f"""if True:
        import sys
        from trio440.cli import demo, running
        from trio440.cli.demo import actors, kv, linekv, mining, raft
        demo.LIMIT_SECONDS = dict.fromkeys(demo.PARTS, {PATIENCE_SECONDS})
        mining.SHARES, mining.HUGE_SECONDS = (0.1, 0.06, 0.03), 4.0
        {changes}
        sys.exit(running.guard(lambda: demo.command([{part!r}], standalone_mode=False)))
    """
    return [sys.executable, "-c", program]


@pytest.mark.slow
def test_the_linekv_part() -> None:
    status, out, err = finished(demo("linekv"))
    assert (status, err) == (0, ""), err
    assert re.search(r"^A server listens on 127\.0\.0\.1:\d+; ", out, re.MULTILINE)
    rounds = re.search(r"Meanwhile 3 clients did (\d+) rounds", out)
    assert rounds is not None
    assert int(rounds[1]) > 0
    woken = re.search(r"The sleeper wakes and gets (\d+) lines; (\d+) found", out)
    assert woken is not None
    assert int(woken[1]) >= 500
    assert int(woken[1]) + int(woken[2]) == 2000
    assert "SIGTERM: the server ended with status 0.\n" in out


@pytest.mark.slow
@pytest.mark.mines
def test_the_mining_part() -> None:
    with started(demo("mining")) as program:
        assert program.line().startswith("== mining: ")
        status, out, err = program.end()
    assert (status, err) == (0, ""), err
    results = re.findall(r"^(a \w+ job), after ([\d.]+) s: Result (\d+) (\d+)$", out, re.MULTILINE)
    assert sorted(result[0] for result in results) == ["a huge job", "a small job"]
    for text, _, found_hash, nonce in results:
        assert hash_of(text, int(nonce)) == int(found_hash)
    assert out.count(" is ready: engine ") == 3
    assert "SIGKILL for miner 1, in the midst of its work.\n" in out
    seen = re.search(r"answered 2 jobs in (\d+) chunks; (\d+) of the killed miner's", out)
    assert seen is not None
    assert int(seen[2]) >= 1
    assert re.search(r"^It resent \d+ datagrams. The miners did [\d,]+ hashes", out, re.MULTILINE)
    assert out.count("   a huge job: ") >= 2
    assert "Now one engine computes both alone.\nBoth answers are right.\n" in out


@pytest.mark.campaign
def test_a_wrong_answer_ends_the_raft_part_with_a_line() -> None:
    program = demo("raft", "raft.decode_result = lambda _: None")
    status, _, err = finished(program)
    assert status == 1
    lines = err.splitlines()  # of each client that has met it
    assert 1 <= len(lines) <= 3, err
    for line in lines:
        assert re.fullmatch(r"trio440: error: the write of \S+ was answered with None", line), err


@pytest.mark.slow
def test_the_raft_part() -> None:
    with started(demo("raft", "raft.WORK_SECONDS = 0.3")) as program:
        pid = program.pid
        status, out, err = program.end()
    assert (status, err) == (0, ""), err
    leader = re.search(r"^(n\d) leads in term (\d+); 3 clients write\.$", out, re.MULTILINE)
    assert leader is not None
    killed = re.search(rf"SIGKILL for {leader[1]}, the leader, after (\d+) writes", out)
    assert killed is not None
    new = re.search(
        r"^([\d.]+) s without a leader; now (n\d) leads, in term (\d+)", out, re.MULTILINE
    )
    assert new is not None
    assert new[2] != leader[1]
    assert int(new[3]) > int(leader[2])
    counts = re.findall(r"(\d+) acknowledged writes", out)
    assert int(killed[1]) < int(counts[0]) < int(counts[1])
    [header, *rows] = re.findall(r"^   (\S+ +(?:voter|member) .*)$", out, re.MULTILINE)
    lag = header.split().index("lag")
    assert [(row.split()[0], row.split()[lag], row.split()[-1]) for row in rows] == [
        (name, "0", "yes") for name in ("n1", "n2", "n3")
    ]
    assert "SIGTERM: all three ended with status 0.\n" in out
    assert directories_of(pid) == []


@pytest.mark.slow
def test_the_help_has_a_line_for_each_part() -> None:
    status, out, _ = finished([*TRIO440, "demo", "--help"])
    assert status == 0
    for name in ("linekv", "mining", "raft", "actors", "kv"):
        assert re.search(rf"^  {name} +(a|three) [^.]+$", out, re.MULTILINE), out


@pytest.mark.slow
def test_the_actors_part() -> None:
    status, out, err = finished(demo("actors", "actors.WORK_SECONDS = 0.4"))
    assert (status, err) == (0, ""), err
    for job in (50, 150, 250, 350):
        assert f"Job {job} has crashed 3 lives of workers: it is given up.\n" in out
    done = re.search(r"^([\d,]+) jobs are done, each once; 4 are given up\.$", out, re.MULTILINE)
    assert done is not None
    assert int(done[1].replace(",", "")) >= 350
    assert "12 crashes, 12 restarts; all 32 workers are alive.\n" in out
    assert "no actor outlives it.\n" in out


@pytest.mark.slow
def test_the_kv_part() -> None:
    status, out, err = finished(demo("kv", "kv.KEYS = 60"))
    assert (status, err) == (0, ""), err
    assert "3 servers, 2 query actors each: 6 replicas.\n" in out
    assert re.search(r"^60 keys put, through each in turn, in [\d.]+ s; ", out, re.MULTILINE)
    assert '   here:  6 keys are written, here/0 to here/5, and contested = "here"\n' in out
    assert "   there: 6 keys are written, there/0 to there/5, and contested = " in out
    healed = re.search(
        r"^It is healed: ([\d.]+) s later, of 15 that it may take, ", out, re.MULTILINE
    )
    assert healed is not None
    assert float(healed[1]) < 15
    assert 'contested = "there, later" everywhere: the last writer has won.\n' in out
    assert re.search(r"^ +level +Undergraduate$", out, re.MULTILINE)
    coins, cpus = (re.search(rf"^ +(\d+)  {kind}", out, re.MULTILINE) for kind in ("coin", "cpu"))
    assert coins is not None
    assert cpus is not None
    assert (
        "In the store, the same at all 6 replicas:\n"
        f"   balance/ada = {coins[1]}, comp/ada/cpu = {cpus[1]}, loc/ada = fence, "
        "player/ada = Undergraduate\n"
    ) in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pretend", "problem"),
    [
        (
            "kv.CONVERGED_SECONDS = 0.5; kv.Replica.put = lambda *_: kv.REAL_HOST.clock.sleep(0)",
            "after 0 s a replica lacks 60 keys",
        ),
        (
            "kv.Partition.cut = lambda *_: None",
            r"(here/0|there/0|contested) has come to server \d, across the cut",
        ),
        (
            "kv.CONVERGED_SECONDS = 2.0; kv.Partition.heal = lambda _: None",
            r"after 2 s a replica lacks \d+ keys",
        ),
    ],
    ids=["no write", "no cut", "no healing"],
)
def test_a_store_that_is_not_as_it_should_be_is_noticed(pretend: str, problem: str) -> None:
    status, _, err = finished(demo("kv", f"kv.KEYS = 60; {pretend}"))
    assert status == 1
    assert re.fullmatch(rf"trio440: error: {problem}\n", err), err


def test_a_job_that_is_lost_is_noticed() -> None:
    pretend = "actors.Pool.note_crash = lambda pool, number: None"
    status, _, err = finished(demo("actors", f"actors.WORK_SECONDS = 0.1; {pretend}"))
    assert status == 1
    assert re.fullmatch(r"trio440: error: of \d+ jobs, \d+ have ended\n", err)


@pytest.mark.campaign
def test_a_write_that_is_lost_is_noticed() -> None:
    pretend = "real = raft._check; raft._check = lambda c, n, k: real(c, n, [*k, b'lost'])"
    status, _, err = finished(demo("raft", f"raft.WORK_SECONDS = 0.1; {pretend}"))
    assert status == 1
    assert re.fullmatch(r"trio440: error: n\d has lost 1 writes, and has 0 twice\n", err)


@pytest.mark.slow
def test_a_terminal_is_drawn_on() -> None:
    controller, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            demo("linekv"),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        ) as process:
            os.close(terminal)
            drawn = bytearray()
            while True:
                try:
                    data = os.read(controller, 65_536)
                except OSError:  # the last one that had the terminal open is gone
                    break
                drawn += data
            assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        os.close(controller)
    assert b"\x1b[" in drawn
    assert b"SIGTERM: the server ended with status 0." in drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "sign", "processes", "number"),
    [
        ("linekv", "A client asks", 1, signal.SIGTERM),
        ("mining", "miner 0 is ready", 4, signal.SIGINT),
        ("raft", "SIGKILL", 2, signal.SIGINT),
    ],
)
def test_a_demo_that_is_interrupted_leaves_no_process(
    part: str, sign: str, processes: int, number: signal.Signals
) -> None:
    with started(demo(part, "mining.ENGINE = 'hashlib'")) as program:
        while not program.line().startswith(sign):
            pass
        children = children_of(program.pid)
        assert len(children) >= processes
        program.signal(number)
        status, _, err = program.end()
    assert (status, err) == (128 + number, "")
    wait_until(lambda: not any(map(is_running, children)))
    assert directories_of(program.pid) == []


@pytest.mark.slow
def test_a_demo_that_is_killed_leaves_no_process() -> None:
    with started(demo("mining", "mining.ENGINE = 'hashlib'")) as program:
        while not program.line().startswith("miner 0 is ready"):
            pass
        children = children_of(program.pid)
        children += [grandchild for child in children for grandchild in children_of(child)]
        assert len(children) >= 4
        program.signal(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, children)))


def test_an_unknown_part_is_one_line() -> None:
    status, out, err = finished([*TRIO440, "demo", "nonsense"])
    assert (status, out) == (2, "")
    assert err.startswith("trio440 demo: error: Invalid value for '[")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_part_that_fails_is_one_line() -> None:
    status, _, err = finished(demo("linekv", "linekv.KEPT = 3000"))
    assert status == 1
    assert re.fullmatch(r"trio440: error: the sleeper got \d+ lines\n", err)


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_given_up() -> None:
    status, _, err = finished(demo("linekv", "demo.LIMIT_SECONDS['linekv'] = 1"))
    assert (status, err) == (1, "trio440: error: linekv: not over after 1 s\n")


def test_the_help_tells_when_a_part_is_given_up() -> None:
    status, out, _ = finished([*TRIO440, "demo", "--help"])
    assert status == 0
    assert "not over after 30 seconds is given up" in " ".join(out.split())
