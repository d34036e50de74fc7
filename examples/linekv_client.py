"""Talk to a line-protocol store: ``python examples/linekv_client.py [--host H] [--port P]``.

Sends the lines of standard input and prints what the server answers; netcat does the same.
"""

import sys

from trio440 import linekv
from trio440.cli.course_flags import make_parser
from trio440.cli.linekv import talk
from trio440.cli.running import guard, run


def main() -> int:
    """Read the arguments and talk until both sides have ended."""
    parser = make_parser("A client of the key-value server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=linekv.DEFAULT_PORT)
    arguments = parser.parse_args()
    return run(lambda: talk(arguments.host, arguments.port))


if __name__ == "__main__":
    sys.exit(guard(main, name="linekv_client"))
