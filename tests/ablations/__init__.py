"""Deliberate bugs that the simulator has to find: ``trio440 sim ablations``."""

from tests.ablations import lsp

ABLATIONS = [*lsp.ABLATIONS]
