#!/usr/bin/env python3
"""A server of the store: ``kv_srunner.py -count 3 -port 6000 [DESCRIPTION ...]``.

It prints where it is reached, and its description: further servers are given those of all servers
before them. The exit status is 3 where a port cannot be had.
"""

import sys

from trio440.cli import course_flags, running
from trio440.cli.kv_runners import serve_store


def main() -> int:
    """Parse the flags and serve until SIGTERM or Ctrl-C."""
    parser = course_flags.make_parser("A server of the key-value store on actors.")
    parser.add_argument("-host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "-port", type=int, default=6000, help="of the actors; query actors have those behind (6000)"
    )
    parser.add_argument("-count", type=int, default=1, metavar="N", help="of query actors (1)")
    parser.add_argument(
        "descriptions", nargs="*", metavar="DESCRIPTION", help="of a server that is there already"
    )
    flags = parser.parse_args()
    return running.run_server(
        lambda stop: serve_store(stop, flags.host, flags.port, flags.count, flags.descriptions)
    )


if __name__ == "__main__":
    sys.exit(running.guard(main, name="kv_srunner"))
