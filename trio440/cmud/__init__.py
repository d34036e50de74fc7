"""CMUD, the game on the store: students of one campus who share nothing but keys.

``play`` plays one player's game; all state is in the store, all rules are here. The command
``trio440 cmud`` gives it a terminal, or a script.
"""

from trio440.cmud.face import Face, Tone
from trio440.cmud.game import play
from trio440.cmud.names import checked_name

__all__ = ["Face", "Tone", "checked_name", "play"]
