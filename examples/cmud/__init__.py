"""CMUD, the game on the store: its entry, and an evening of three players in one process.

The game itself is the package ``trio440.cmud``, so that the command ``trio440 cmud`` has it
wherever this project is installed. ``python -m examples.cmud`` is that command; ``evening.py``
shows how the parts are put together by hand.
"""
