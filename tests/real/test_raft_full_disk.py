"""A peer's disk is really full: it stops loudly, and the others go on without it."""

import re
from pathlib import Path

import pytest
import trio

from tests.support.mounting import small_disk
from tests.support.processes import PATIENCE_SECONDS
from tests.support.raft_processes import NAMES, Cluster
from trio440 import raft
from trio440.errors import NoAnswer
from trio440.raft.kv import Found, Get, List, Put, decode_result, encode

pytestmark = pytest.mark.real

VICTIM = "n1"
ROOM = "200k"
VALUE = bytes(10_000)


@pytest.mark.slow
@pytest.mark.parametrize("leader", ["n1", pytest.param("n2", marks=pytest.mark.campaign)])
def test_pysyncobj_164_a_peer_whose_disk_is_full_stops_and_the_others_go_on(
    tmp_path: Path, leader: str
) -> None:
    cluster = Cluster(tmp_path)
    with small_disk(cluster.data(VICTIM), ROOM), cluster.stack:
        cluster.start(*NAMES)
        if cluster.leader() != leader:
            cluster.run("transfer", leader)
        trio.run(write_until_full_and_on, cluster)
        status, out, err = cluster.processes[VICTIM].end()
        assert (status, out) == (1, "")
        assert re.fullmatch(r"trio440: error: .*: \[Errno 28\] No space left on device\n", err), err
        rows = cluster.wait_rows(lambda rows: any(r["role"] == "leader" for r in rows.values()))
        assert [name for name, row in rows.items() if not row["reachable"]] == [VICTIM]


async def write_until_full_and_on(cluster: Cluster) -> None:
    """Write until the victim is gone, and then some; all that was acknowledged is there."""
    written: list[bytes] = []
    victim = cluster.processes[VICTIM]
    async with raft.open_client(cluster.addresses) as client:
        with trio.fail_after(PATIENCE_SECONDS):
            while victim.returncode is None or len(written) % 10:
                key = b"%03d" % len(written)
                await client.propose(encode(Put(key, VALUE)))
                written.append(key)
        found = decode_result(await client.read(encode(List())))
        assert isinstance(found, Found)
        assert [item.key for item in found.items] == written
    async with raft.open_client([("127.0.0.1", cluster.ports[VICTIM])]) as client:
        with pytest.raises(NoAnswer):
            await client.read(encode(Get(b"000")), timeout_seconds=0.5)
