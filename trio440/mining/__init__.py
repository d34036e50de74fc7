"""The miner: a server that shares the search for least hashes among miners, over LSP."""
