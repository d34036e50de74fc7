"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""

from tests.ablations import core, lsp

ABLATIONS = [*core.ABLATIONS, *lsp.ABLATIONS]
