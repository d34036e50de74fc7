"""Turning clients away for whom there is no room, in words that they can read."""

from typing import Final, final

import trio

from trio440.core.host import ByteStream, Clock

__all__ = ["REFUSALS_AT_A_TIME", "REFUSAL_SECONDS", "Refusals"]

REFUSAL_SECONDS: Final = 1.0
"""How long a client that is one too many may take to be told so and to close."""
REFUSALS_AT_A_TIME: Final = 64
"""How many such clients are waited for at a time; more are told so and closed at once."""
READ_BYTES: Final = 65_536


@final
class Refusals:
    """The clients of one server that are turned away at present."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting = 0

    async def refuse(self, stream: ByteStream, words: bytes, nursery: trio.Nursery) -> None:
        """Say why and close; a task of the nursery does so, where few enough are at it.

        A connection that is closed with bytes unread is reset, and then the client may never
        read why: so what it sends is read until it has closed, too.
        """
        if self._waiting < REFUSALS_AT_A_TIME:
            self._waiting += 1
            nursery.start_soon(self._refuse_patiently, stream, words)
        else:
            await self._say(stream, words, linger=False)

    async def _refuse_patiently(self, stream: ByteStream, words: bytes) -> None:
        try:
            await self._say(stream, words, linger=True)
        finally:
            self._waiting -= 1

    async def _say(self, stream: ByteStream, words: bytes, *, linger: bool) -> None:
        try:
            with self._clock.move_on_after(REFUSAL_SECONDS):
                await stream.send_all(words)
                if linger:
                    await stream.send_eof()
                    while await stream.receive_some(READ_BYTES):
                        pass
        except trio.BrokenResourceError:
            pass
        finally:
            await stream.aclose()
