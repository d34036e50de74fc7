"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""

from tests.ablations import core, journal, linekv, lsp, miner, raft

ABLATIONS = [
    *core.ABLATIONS,
    *journal.ABLATIONS,
    *linekv.ABLATIONS,
    *lsp.ABLATIONS,
    *miner.ABLATIONS,
    *raft.ABLATIONS,
]
