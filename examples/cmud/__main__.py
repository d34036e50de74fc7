"""The game: ``python -m examples.cmud``, with the options of ``trio440 cmud``."""

import sys

from trio440.cli import running
from trio440.cli.cmud import command

sys.exit(running.guard(lambda: command.main(standalone_mode=False), name="cmud"))
