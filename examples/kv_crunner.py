#!/usr/bin/env python3
"""A client of the store: ``kv_crunner.py HOST:PORT``, with the address of a query actor.

It carries out the lines of its input: ``Get key``, ``List [prefix]``, ``Put key value``.
"""

import sys

from trio440.cli import course_flags, running
from trio440.cli.kv_runners import ask_store


def main() -> int:
    """Parse the address and ask until the input ends."""
    parser = course_flags.make_parser("A prompt for the key-value store on actors.")
    parser.add_argument("address", metavar="HOST:PORT", help="of a query actor")
    flags = parser.parse_args()
    return running.run(lambda: ask_store(flags.address))


if __name__ == "__main__":
    sys.exit(running.guard(main, name="kv_crunner"))
