"""Small helpers for tests on real sockets."""

import random
import socket
from collections.abc import Callable
from contextlib import suppress

import trio

from tests.support.processes import PATIENCE_SECONDS

RARE_PORTS = range(10_000, 32_000)
"""Below those that the kernel gives to whoever connects, or binds port 0: so nobody else takes one
while the process that had it is down."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of the loopback interface that was free a moment ago.

    For what must know a port before it is bound; whatever can should bind port 0 instead.
    """
    while True:
        port = random.choice(RARE_PORTS)
        with socket.socket(socket.AF_INET, kind) as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that only the kernel or another process knows the moment of.

    Raises:
        trio.TooSlowError: it has not come true within ``seconds``.
    """
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.01)
