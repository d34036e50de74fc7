"""A cluster's messages in datagrams: a tag of 8 bytes, then the message. Pure.

The tag is a hash of the cluster's name and of the version of the protocol, so that clusters that
meet on one network, or take over each other's ports, do not mix. It keeps out mistakes, no
attackers: who knows the name can make it.
"""

import hashlib
from typing import Final

from trio440.actors.cluster.messages import CODEC, Message
from trio440.errors import BadMessage

__all__ = ["TAG_BYTES", "VERSION", "Datagrams", "Dropped"]

VERSION: Final = 1
"""Members of different versions do not hear each other."""
TAG_BYTES: Final = 8


class Dropped(BadMessage):
    """A datagram is none of this cluster's; ``reason`` is one of a few words to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Datagrams:
    """Turns messages of one cluster into datagrams and back."""

    def __init__(self, cluster: str, max_datagram_bytes: int) -> None:
        """Take a cluster's name, any text, and the length of its longest message."""
        name = f"trio440 membership {VERSION} {cluster}".encode(errors="surrogatepass")
        self._tag = hashlib.blake2b(name, digest_size=TAG_BYTES).digest()
        self._longest = TAG_BYTES + max_datagram_bytes

    def encode(self, message: Message) -> bytes:
        """Return the datagram of a message."""
        return self._tag + CODEC.encode(message)

    def decode_untrusted(self, datagram: bytes) -> Message:
        """Read a datagram that came from anywhere.

        Raises:
            Dropped: it is longer than any of this cluster's ("too long"), another cluster's or no
                cluster's ("another cluster"), or begins as it should and goes on otherwise ("no
                message").
        """
        if len(datagram) > self._longest:
            raise Dropped("too long")
        if not datagram.startswith(self._tag):
            raise Dropped("another cluster")
        try:
            return CODEC.decode_untrusted(datagram[TAG_BYTES:])
        except BadMessage:
            raise Dropped("no message") from None
