"""The commands of Raft: what they do, what they say where they cannot, and how they end."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    TRIO440,
    Program,
    finished_here,
    started,
    wait_until,
)
from tests.support.raft_processes import NAMES, Cluster, cluster_in

pytestmark = pytest.mark.real

CLIENTS = ("put", "get", "delete", "list", "cas", "watch", "status", "members", "transfer")
FORGETFUL = """
import sys
from functools import partial
from trio440.raft import kv
kv.KvLimits = partial(kv.KvLimits, history_revisions=3)
from trio440.cli.root import run_command_line
sys.exit(run_command_line())
"""
"""The command, with a map that remembers three revisions."""


@pytest.mark.slow
def test_the_commands_do_what_they_say(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        cluster.run("put", "k", "v 1")
        assert cluster.run("get", "k") == "v 1\n"
        cluster.run("cas", "k", "v 1", "v 2")
        cluster.run("cas", "k", "v 1", "v 3", status=1)
        cluster.run("cas", "--absent", "j", "", "w")
        assert cluster.run("list") == "j\tw\nk\tv 2\n"
        more = (0, "j\tw\n", "there are more keys than these 1\n")
        assert finished_here("raft", "list", "--limit", "1", "--at", cluster.at) == more
        cluster.run("delete", "j")
        cluster.run("delete", "j", status=1)
        assert cluster.run("get", "j", status=1) == ""
        leader = cluster.leader()
        other = next(name for name in NAMES if name != leader)
        cluster.run("transfer", other)
        assert cluster.leader() == other
        assert int(cluster.run("snapshot")) > 0
        assert cluster.run("members") == "voters: n1, n2, n3\nlearners: -\n"
        check_json(cluster, leader)
        cluster.run("put", "\udcff", "no text")  # an argument that is no text is bytes all the same
        assert cluster.run("get", "\udcff") == "no text\n"
        cluster.kill(other)
        rows = cluster.wait_rows(lambda rows: rows[leader]["role"] == "leader")
        assert list(rows) == list(NAMES)
        assert rows[other]["reachable"] is False
        assert rows[other]["role"] is None
        [line] = [each for each in cluster.run("status").splitlines() if each.startswith(other)]
        assert line.split() == [other, "voter", *"------", "no"]
        cluster.processes[leader].signal(signal.SIGTERM)
        assert cluster.processes[leader].end() == (0, "", "")


def check_json(cluster: Cluster, leader: str) -> None:
    """Every client's command writes JSON that says the same."""

    def told(*words: str) -> Any:
        return json.loads(cluster.run(*words, "--json"))

    assert told("put", "a", "1") == {"done": True, "revision": 5}
    assert told("cas", "a", "1", "2") == {"done": True, "revision": 6}
    item = {"key": "a", "value": "2", "created": 5, "modified": 6, "version": 2}
    assert told("get", "a") == item
    assert told("list", "a") == [item]
    assert told("delete", "a") == {"done": True, "revision": 7}
    assert told("members") == {"voters": list(NAMES), "learners": []}
    assert told("snapshot")["index"] > 0
    assert told("transfer", leader) == {"to": leader}
    rows = told("status")
    assert [row["id"] for row in rows] == list(NAMES)
    assert all(row["reachable"] for row in rows)
    assert {"id", "role", "term", "commit", "applied", "lag", "reachable"} <= set(rows[0])


@pytest.mark.slow
def test_a_watch_goes_on_where_its_peer_is_killed(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        cluster.run("put", "a1", "before")
        command = [*TRIO440, "raft", "watch", "a", "--at", cluster.at]
        with started(command) as watch, started([*command, "--json", "--after", "0"]) as other:
            assert watch.note() == "watching behind revision 1"
            assert json.loads(other.line())["value"] == "before"
            revision = 1
            for name in NAMES:  # each peer is lost once, the one that is listened to included
                cluster.run("put", "a2", f"without {name}\tor with")
                cluster.run("put", "b", "of no interest")
                assert watch.line() == f"{revision + 1}\tput\ta2\twithout {name}\tor with"
                cluster.kill(name)
                cluster.run("delete", "a2")
                assert watch.line() == f"{revision + 3}\tdelete\ta2"
                revision += 3
                cluster.start(name)
            seen = [json.loads(other.line()) for _ in range(6)]
            assert [(event["revision"], event["type"]) for event in seen] == [
                (2, "put"), (4, "delete"), (5, "put"), (7, "delete"), (8, "put"), (10, "delete")
            ]  # fmt: skip
            assert seen[0]["key"] == "a2"
            assert (seen[0]["created"], seen[0]["version"]) == (2, 1)
            assert "value" not in seen[1]
            assert_ctrl_c_ends(watch)


def assert_ctrl_c_ends(program: Program) -> None:
    program.signal(signal.SIGINT)
    status, _, err = program.end()
    assert (status, err) == (128 + signal.SIGINT, "")


@pytest.mark.slow
def test_a_watch_of_what_is_forgotten_says_compacted_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORGETFUL, "raft", "serve", "--id", "n1", "--data"]
    with started([*command, str(tmp_path), "--listen", "127.0.0.1:0", "--new"]) as peer:
        at = ("--at", f"127.0.0.1:{peer.port()}")
        for number in range(5):
            assert finished_here("raft", "put", "k", f"{number}", *at) == (0, "", "")
        assert finished_here("raft", "watch", "--after", "1", *at) == (
            1,
            "",
            "trio440: error: the changes behind revision 1 are compacted, up to revision 2\n",
        )


@pytest.mark.slow
def test_every_command_has_help_and_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    for name in (*CLIENTS, "snapshot", "serve"):
        status, out, err = finished_here("raft", name, "--help")
        assert (status, err) == (0, "")
        assert out.startswith(f"Usage: trio440 raft {name} ")
        assert ("--json" in out) == (name != "serve")
        status, out, err = finished_here("raft", name)
        assert (status, out) == (2, "")
        assert err.startswith(f"trio440 raft {name}: error: Missing ")
        assert err.count("\n") == 1
    at = ("--at", "127.0.0.1:1", "--timeout", "0.2")
    words = {
        "put": ("k", "v"), "get": ("k",), "delete": ("k",), "list": (), "cas": ("k", "v", "w"),
        "watch": (), "status": (), "members": (), "transfer": ("n1",), "snapshot": (),
    }  # fmt: skip
    for name, arguments in words.items():
        status, out, err = finished_here("raft", name, *arguments, *at)
        assert (status, out) == (1, ""), name
        assert err.startswith("trio440: error: ")
        assert err.count("\n") == 1
    serve = ("raft", "serve", "--id", "n1", "--data", tmp_path, "--listen")
    for bad, problem in (
        (("127.0.0.1",), "'127.0.0.1' is not HOST:PORT"),
        (("127.0.0.1:99999",), "99999 is no port"),
        (("127.0.0.1:0", "--peer", "n2"), "'n2' is not ID=HOST:PORT"),
        (("127.0.0.1:0", "--peer", "n2=:5"), "':5' is not HOST:PORT"),
        (("127.0.0.1:0", "--election-seconds", "0.01"), "0.01 is not in the range"),
        (("127.0.0.1:0", "--election-seconds", "nan"), "'nan' is not in the range"),
        (("127.0.0.1:0", "--peer", "n2=h:5", "--peer", "n2=h:6"), "'n2' is there twice"),
    ):
        status, out, err = finished_here(*serve, *bad)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert problem in err


@pytest.mark.parametrize("words", [("put", "k", "v"), ("watch",), ("transfer", "n1")])
def test_ctrl_c_ends_what_waits_for_a_cluster(words: tuple[str, ...]) -> None:
    command = [*TRIO440, "raft", *words, "--at", "127.0.0.1:1", "--timeout", "3600"]
    with started(command) as program:
        await_handler(program)
        assert_ctrl_c_ends(program)


def await_handler(program: Program) -> None:
    """Wait until a program handles Ctrl-C by itself."""

    def is_there() -> int:
        status = Path(f"/proc/{program.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("SigCgt")]
        return int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1)

    wait_until(is_there)


def test_a_start_with_what_is_not_its_own_is_refused(tmp_path: Path) -> None:
    listen = ("--listen", "127.0.0.1:0", "--new")
    serve = (*TRIO440, "raft", "serve", "--id", "n1", "--data", str(tmp_path))
    with started([*serve, *listen]) as peer:
        peer.port()
        code, out, err = finished_here("raft", *serve[4:], *listen)
        busy = f"trio440: error: the journal in {tmp_path}/journal is open elsewhere\n"
        assert (code, out, err) == (1, "", busy)
        peer.signal(signal.SIGTERM)
        assert peer.end() == (0, "", "")
    for changes, problem in (
        (
            ("--id", "n9"),
            "belongs to node 'n1' of cluster 'raft', not to node 'n9' of cluster 'raft'",
        ),
        (
            ("--cluster", "other"),
            "belongs to node 'n1' of cluster 'raft', not to node 'n1' of cluster 'other'",
        ),
    ):
        code, out, err = finished_here("raft", *serve[4:], *listen, *changes)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert problem in err
    segment = next((tmp_path / "journal").glob("segment-*"))
    segment.write_bytes(os.urandom(500))
    code, out, err = finished_here("raft", *serve[4:], *listen)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"{segment} is damaged" in err


@pytest.mark.slow
def test_a_peer_list_that_contradicts_the_directory_does_not_count(tmp_path: Path) -> None:
    serve = [*TRIO440, "raft", "serve", "--id", "n1", "--data", str(tmp_path)]
    serve += ["--listen", "127.0.0.1:0", "--new"]
    with started(serve) as peer:
        port = peer.port()
        assert finished_here("raft", "put", "k", "v", "--at", f"127.0.0.1:{port}")[0] == 0
        peer.signal(signal.SIGTERM)
        peer.end()
    with started([*serve, "--peer", "n2=127.0.0.1:1"]) as peer:
        port = peer.port()
        assert peer.note() == f"the members are n1: so says {tmp_path}"
        assert finished_here("raft", "get", "k", "--at", f"127.0.0.1:{port}") == (0, "v\n", "")


@pytest.mark.slow
def test_a_name_that_does_not_resolve_yet_keeps_no_peer_from_starting(tmp_path: Path) -> None:
    """What becomes of it when it does resolve: ``tests/sim/test_raft_peer_regressions.py``."""
    serve = [*TRIO440, "raft", "serve", "--id", "n1", "--data", str(tmp_path)]
    serve += ["--listen", "127.0.0.1:0", "--peer", "n2=nobody.invalid:7000"]
    with started(serve) as peer:
        at = f"127.0.0.1:{peer.port()}"
        [row] = [r for r in json.loads(finished_here("raft", "status", "--json", "--at", at)[1])
                 if r["id"] == "n1"]  # fmt: skip
        assert row["reachable"]
        assert peer.returncode is None
