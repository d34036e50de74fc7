"""Serve the line-protocol store: ``python examples/linekv_server.py [--host H] [--port P]``.

Try it with ``nc 127.0.0.1 9999`` and lines like ``Put:a:1`` and ``Get:a``.
"""

import sys

from trio440 import linekv
from trio440.cli.course_flags import make_parser
from trio440.cli.linekv import serve_lines
from trio440.cli.running import guard, run_server


def main() -> int:
    """Read the arguments and serve until SIGTERM or Ctrl-C."""
    parser = make_parser("A key-value server that speaks in lines.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=linekv.DEFAULT_PORT)
    arguments = parser.parse_args()
    return run_server(lambda stop: serve_lines(stop, arguments.host, arguments.port))


if __name__ == "__main__":
    sys.exit(guard(main, name="linekv_server"))
