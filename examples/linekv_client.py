"""Talk to a line-protocol store: ``python examples/linekv_client.py [--host H] [--port P]``.

Sends the lines of standard input and prints what the server answers; netcat does the same.
"""

import argparse
import sys

import trio

from trio440 import linekv
from trio440.cli.running import emit, guard, read_stdin, run


def main() -> int:
    """Read the arguments and talk until both sides have ended."""
    parser = argparse.ArgumentParser(description="A client of the key-value server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=linekv.DEFAULT_PORT)
    arguments = parser.parse_args()

    async def talk() -> None:
        async with (
            linekv.connect(arguments.host, arguments.port) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(send_input, client)
            while (line := await client.receive_line()) is not None:
                emit(line)
            nursery.cancel_scope.cancel()

    return run(talk)


async def send_input(client: linekv.Client) -> None:
    """Send standard input to its end."""
    while data := await read_stdin():
        await client.send(data)
    await client.send_eof()


if __name__ == "__main__":
    sys.exit(guard(main, name="linekv_client"))
