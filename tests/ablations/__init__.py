"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""

from tests.ablations import core, lsp, miner

ABLATIONS = [*core.ABLATIONS, *lsp.ABLATIONS, *miner.ABLATIONS]
