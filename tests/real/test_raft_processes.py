"""Raft in real processes: the commands, and a leader that is killed under load."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.processes import TRIO440, finished
from tests.support.raft_processes import NAMES, cluster_in

pytestmark = pytest.mark.real


def test_the_commands_do_what_they_say(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        cluster.run("put", "k", "v 1")
        assert cluster.run("get", "k") == "v 1\n"
        cluster.run("cas", "k", "v 1", "v 2")
        cluster.run("cas", "k", "v 1", "v 3", status=1)
        cluster.run("cas", "--absent", "j", "", "w")
        assert cluster.run("list") == "j\tw\nk\tv 2\n"
        cluster.run("delete", "j")
        cluster.run("delete", "j", status=1)
        assert cluster.run("get", "j", status=1) == ""
        item = json.loads(cluster.run("get", "k", "--json"))
        assert (item["value"], item["version"]) == ("v 2", 2)
        leader = cluster.leader()
        other = next(name for name in NAMES if name != leader)
        cluster.run("transfer", other)
        assert cluster.leader() == other
        assert int(cluster.run("snapshot")) > 0
        assert cluster.run("members") == "voters: n1, n2, n3\nlearners: -\n"
        rows = json.loads(cluster.run("status", "--json"))
        assert [row["id"] for row in rows] == list(NAMES)
        assert all(row["reachable"] for row in rows)
        assert {"id", "role", "term", "commit", "applied", "reachable"} <= set(rows[0])
        assert "leader" in cluster.run("status")
        cluster.processes["n1"].signal(signal.SIGTERM)
        assert cluster.processes["n1"].end() == (0, "", "")
        directory = tmp_path / "n1"
        command = [*TRIO440, "raft", "serve", "--id", "n9", "--data", str(directory)]
        code, _, err = finished([*command, "--listen", "127.0.0.1:0"])
        assert code == 1
        assert "belongs to node 'n1'" in err
