"""``trio440 cmud``: the game on the store, on a terminal or from a script."""
