#!/usr/bin/env python3
"""The mining server in the course's form: ``mine_server.py PORT``."""

import sys

from trio440.cli import course_flags, mining, running
from trio440.cli.options import PORT
from trio440.cli.protocol import LspOptions


def main() -> int:
    """Parse the port and serve until SIGTERM or Ctrl-C."""
    parser = course_flags.make_parser("Shares the requests of mining clients among miners.")
    parser.add_argument("port", metavar="PORT", help="UDP port; 0 takes any free one")
    parser.add_argument("-host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    flags = parser.parse_args()
    port = PORT.convert(flags.port, None, None)
    return running.run_server(lambda stop: mining.run_server(flags.host, port, LspOptions(), stop))


if __name__ == "__main__":
    sys.exit(running.guard(main, name="mine_server"))
