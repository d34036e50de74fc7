#!/usr/bin/env python3
"""An LSP server that echoes, with the course's flags: ``srunner.py -port=9999 -rdrop=20``."""

import sys

from trio440.cli import course_flags, echo, running


def main() -> int:
    """Parse the flags and echo until SIGTERM or Ctrl-C."""
    parser = course_flags.make_parser("An LSP server that sends every message back.")
    course_flags.add_lsp_flags(parser, host_help="address to listen on (127.0.0.1)")
    options = course_flags.lsp_options(parser.parse_args())
    return running.run_server(lambda stop: echo.run_server(options, stop))


if __name__ == "__main__":
    sys.exit(running.guard(main, name="srunner"))
