"""Real peers under strace: nothing that depends on a write leaves before the sync of that write."""

import os
import shlex
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.support.processes import PATIENCE_SECONDS, Program, started
from tests.support.raft_processes import NAMES, Cluster
from tests.support.raft_trace import STRACE, Findings
from tests.support.tools import require_tool
from trio440 import raft
from trio440.raft.kv import Put, encode

pytestmark = pytest.mark.real

COMMANDS = 10
LATE = """
import os, sys, threading

sync = os.fdatasync

def sync_later(fd):
    def finish():
        sync(copy)
        os.close(copy)
    copy = os.dup(fd)
    threading.Timer(0.3, finish).start()

os.fdatasync = sync_later
from trio440.cli.root import run_command_line
sys.exit(run_command_line())
"""
"""The command, on a disk whose syncs are over before they have begun."""


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def trace_of(cluster: Cluster, program: list[str]) -> str:
    """Let three peers work under one strace, and return what it saw."""
    strace, trace = require_tool("strace"), cluster.directory / "trace"
    words = len(program)
    peers = [shlex.join([*program, *cluster.serve(name)[words:]]) for name in NAMES]
    shell = " & ".join([*peers, "wait"])
    with started([strace, *STRACE, "-o", trace, "sh", "-c", shell], new_session=True) as tracer:
        try:
            try:
                listening = {tracer.port() for _ in NAMES}
            except AssertionError:
                pytest.skip("strace may not trace processes here")
            assert listening == set(cluster.ports.values())
            trio.run(put_some, cluster)
            stop(tracer)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(tracer.pid, signal.SIGKILL)
    return trace.read_text()


async def put_some(cluster: Cluster) -> None:
    async with raft.open_client(cluster.addresses) as client:
        with trio.fail_after(PATIENCE_SECONDS):
            for number in range(COMMANDS):
                await client.propose(encode(Put(b"k%d" % number, b"precious")))


def stop(tracer: Program) -> None:
    """End the peers themselves: they would live on without their tracer."""
    [shell] = children_of(tracer.pid)
    for peer in children_of(shell):
        os.kill(peer, signal.SIGTERM)
    tracer.end()


@pytest.mark.slow
def test_pysyncobj_84_nothing_leaves_before_the_sync_that_covers_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    found = Findings(trace_of(cluster, [sys.executable, "-m", "trio440"]), cluster.ports)
    assert found.early == []
    assert found.said["candidate"] >= 1
    assert found.said["vote"] >= 1
    assert found.said["append reply"] >= COMMANDS
    assert found.said["yes"] >= COMMANDS
    assert found.said["consent"] >= 6


@pytest.mark.campaign
def test_a_peer_that_speaks_before_its_sync_is_found_out(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    found = Findings(trace_of(cluster, [sys.executable, "-c", LATE]), cluster.ports)
    early = Counter(kind for kind, _ in found.early)
    # The sync of the few votes and candidates may be over in time by chance.
    assert {"append reply", "yes"} <= set(early), (early, found.said)
