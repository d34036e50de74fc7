#!/usr/bin/env python3
"""A miner in the course's form: ``mine_miner.py HOST:PORT``."""

import sys

from trio440.cli import course_flags, mining, running
from trio440.cli.options import ENDPOINT
from trio440.cli.protocol import LspOptions
from trio440.errors import ServerLost


def main() -> int:
    """Parse the server's address and mine until the server is lost."""
    parser = course_flags.make_parser("Mines for a server until the server is lost.")
    parser.add_argument("server", metavar="HOST:PORT", help="the mining server")
    server = ENDPOINT.convert(parser.parse_args().server, None, None)

    async def mine() -> None:
        try:
            await mining.run_worker(*server, mining.EngineOptions(), LspOptions())
        except ServerLost:
            return  # the end that the course wants

    return running.run(mine)


if __name__ == "__main__":
    sys.exit(running.guard(main, name="mine_miner"))
