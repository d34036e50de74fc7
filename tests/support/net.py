"""Small helpers for tests on real sockets."""

import socket
from collections.abc import Callable

import trio


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of the loopback interface that was free a moment ago.

    For what must know a port before it is bound; whatever can should bind port 0 instead.
    """
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


async def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for something that only the kernel or another process knows the moment of.

    Raises:
        trio.TooSlowError: it has not come true within ``seconds``.
    """
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.01)
