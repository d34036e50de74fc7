"""The ``trio440`` command.

Each sub-command lives in a module of its own that is imported when it is called for, so that
``--help`` and the start of every other one stay fast. A module gives a ``click`` command (or
group) called ``command``; how its work is run, ended and reported is
:mod:`trio440.cli.running`'s business.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its status."""
    try:
        # Imported here, so that Ctrl-C is met while everything loads, too.
        from trio440.cli.root import run_command_line  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run_command_line())
