#!/usr/bin/env python3
"""A mining client in the course's form: ``mine_client.py HOST:PORT MESSAGE MAXNONCE``."""

import sys

from trio440.cli import course_flags, mining, running
from trio440.cli.mine import NONCE
from trio440.cli.options import ENDPOINT
from trio440.cli.protocol import LspOptions


def main() -> int:
    """Parse the arguments, ask the server, print ``Result HASH NONCE`` or ``Disconnected``."""
    parser = course_flags.make_parser("Asks for the least hash of MESSAGE and 0 to MAXNONCE.")
    parser.add_argument("server", metavar="HOST:PORT", help="the mining server")
    parser.add_argument("message", metavar="MESSAGE", help="what is hashed with each nonce")
    parser.add_argument("max_nonce", metavar="MAXNONCE", help="the highest nonce")
    flags = parser.parse_args()
    server = ENDPOINT.convert(flags.server, None, None)
    max_nonce = NONCE.convert(flags.max_nonce, None, None)

    async def ask() -> None:
        await mining.run_client(*server, flags.message, max_nonce, LspOptions())

    return running.run(ask)


if __name__ == "__main__":
    sys.exit(running.guard(main, name="mine_client"))
