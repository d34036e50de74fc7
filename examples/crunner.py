#!/usr/bin/env python3
"""An LSP client that sends its input and prints the echoes, with the course's flags."""

import sys

from trio440.cli import course_flags, echo, running


def main() -> int:
    """Parse the flags and talk to the server until the input ends."""
    parser = course_flags.make_parser(
        "Sends the words of standard input to an LSP server and prints what comes back."
    )
    course_flags.add_lsp_flags(parser, host_help="the server's host (127.0.0.1)")
    parser.add_argument(
        "-lines", type=int, metavar="N", help="send lines instead, with up to N on their way"
    )
    flags = parser.parse_args()
    options = course_flags.lsp_options(flags)
    return running.run(lambda: echo.run_client(options, flags.lines))


if __name__ == "__main__":
    sys.exit(running.guard(main, name="crunner"))
