"""The mining client: asks a server for a least hash and waits for the answer."""

from trio440 import lsp
from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.errors import MiningError, ServerLost
from trio440.mining.hashing import Found, hash_of
from trio440.mining.messages import Message, Request, Result, check_text, decode_untrusted, encode
from trio440.mining.ranges import NonceRange

__all__ = ["find_least_hash"]


async def find_least_hash(
    host: str,
    port: int,
    text: str,
    nonces: NonceRange,
    *,
    params: lsp.Params | None = None,
    ports: Host = REAL_HOST,
) -> Found:
    """Ask a mining server for the least hash of ``text`` over ``nonces``.

    Cancelled: the connection is aborted and the server drops the job once it notices.

    Args:
        host: the server's name or literal.
        port: the server's UDP port.
        text: at most about 870 bytes of UTF-8, see ``messages.MAX_REQUEST_BYTES``.
        nonces: what to search.
        params: the numbers of LSP, equal on all sides; None: the course's defaults.
        ports: the machine to run on.

    Raises:
        ConnectFailed: there is no server.
        ServerLost: the server fell silent before it answered.
        MiningError: the answer is none: outside the range, or not the hash of its nonce.
        BadMessage: the server sent what is no message.
        InvalidParameter: the text is too long.
        ResolutionFailed: the host has no address.
    """
    text = check_text(text)
    message: Message | None = None
    try:
        async with lsp.connect(host, port, params=params, ports=ports) as client:
            client.write(encode(Request(text, nonces)))
            message = decode_untrusted(await client.receive())
    except lsp.ConnectionLost:
        if message is None:
            raise ServerLost("the mining server fell silent") from None
    if not isinstance(message, Result):
        raise MiningError(f"the server answered with a {type(message).__name__}")
    found = Found(message.hash, message.nonce)
    if found.nonce not in nonces or found.hash != hash_of(text, found.nonce):
        raise MiningError(f"the server's answer is wrong: {found.hash} is no hash of {found.nonce}")
    return found
