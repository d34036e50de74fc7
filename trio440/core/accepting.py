"""Accepting connections until a listener is closed, through what goes wrong meanwhile."""

from typing import Final

import trio

from trio440.core.host import ByteStream, Clock, StreamListener

__all__ = ["accept_next"]

ACCEPT_AGAIN_SECONDS: Final = 0.1
"""How long a server that has no descriptor free waits until it tries again."""


async def accept_next(listener: StreamListener, clock: Clock) -> ByteStream | None:
    """Return the next connection, None once the listener is closed.

    Where the machine cannot give one, for want of descriptors for example, it is asked again.
    Cancelled: no connection was taken.
    """
    while True:
        try:
            return await listener.accept()
        except trio.ClosedResourceError:
            return None
        except OSError:
            await clock.sleep(ACCEPT_AGAIN_SECONDS)
