"""Raft in real processes: a first start, and a directory that is gone."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.support.net import free_port
from tests.support.processes import finished, finished_here
from tests.support.raft_processes import NAMES, Cluster, cluster_in

pytestmark = pytest.mark.real


@pytest.mark.slow
def test_a_peer_whose_directory_is_gone_is_refused_and_joins_with_a_new_id(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as cluster:
        cluster.run("put", "k", "v")
        lost = next(name for name in NAMES if name != cluster.leader())
        cluster.kill(lost)
        shutil.rmtree(cluster.data(lost))
        code, _, err = finished(cluster.serve(lost))
        assert (code, err.count("\n")) == (1, 1), err
        assert f"peer '{lost}' comes with another storage than" in err
        assert f"remove '{lost}' from the members" in err
        rest = [word for name in NAMES if name != lost for word in ("--voter", name)]
        cluster.run("members", *rest)
        cluster.ports["n4"] = free_port()
        cluster.options = [*cluster.options, "--join"]
        cluster.start("n4")
        cluster.run("members", *rest, "--learner", "n4")
        cluster.wait_rows(lambda rows: rows["n4"]["member"] == "learner" and rows["n4"]["applied"])
        promotion = ("raft", "members", *rest, "--voter", "n4", "--at", cluster.at)
        while (done := finished_here(*promotion))[0]:
            assert "no learner that has caught up" in done[2]
        rows = cluster.wait_rows(lambda rows: rows["n4"]["applied"] == rows["n4"]["commit"])
        assert {name for name, row in rows.items() if row["member"] == "voter"} == (
            {*NAMES, "n4"} - {lost}
        )
        assert cluster.run("get", "k") == "v\n"


@pytest.mark.slow
def test_a_first_start_says_whom_it_waits_for_unless_its_id_is_sworn_to_be_new(
    tmp_path: Path,
) -> None:
    cluster = Cluster(tmp_path)
    with cluster.stack:
        cluster.start("n1")
        line = "n1 starts for the first time and waits for n2, n3 to say that its id is new"
        assert cluster.processes["n1"].note() == line
        cluster.processes["n1"].signal(signal.SIGTERM)
        assert cluster.processes["n1"].end() == (0, "", "")
        cluster.options = [*cluster.options, "--new"]
        cluster.start("n1", "n2")
        cluster.run("put", "k", "v")
