"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""

from tests.ablations import (
    actors,
    actors_shell,
    core,
    journal,
    kv,
    kv_shell,
    linekv,
    lsp,
    miner,
    raft,
    raft_shell,
    raft_snapshots,
    raft_time,
)

ABLATIONS = [
    *actors.ABLATIONS,
    *actors_shell.ABLATIONS,
    *core.ABLATIONS,
    *journal.ABLATIONS,
    *kv.ABLATIONS,
    *kv_shell.ABLATIONS,
    *linekv.ABLATIONS,
    *lsp.ABLATIONS,
    *miner.ABLATIONS,
    *raft.ABLATIONS,
    *raft_shell.ABLATIONS,
    *raft_snapshots.ABLATIONS,
    *raft_time.ABLATIONS,
]
