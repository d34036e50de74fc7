"""A question or two to another system, from somebody who keeps no link to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio440.actors.remote.service import Systems
from trio440.core.host import Host, parse_address
from trio440.rpc import Identity, open_client

__all__ = ["open_visit"]


@asynccontextmanager
async def open_visit(address: str, cluster: str, ports: Host) -> AsyncIterator[Systems]:
    """Connect to a system, to ask it while the body runs.

    Raises:
        AddressError: nobody is there; that is not tried again, as a client would.
        InvalidParameter: it is no address.
    """
    host, port = parse_address(address)
    stream = await ports.net.connect_tcp(host, port)
    await stream.aclose()
    async with open_client(host, port, identity=Identity(cluster), ports=ports) as client:
        yield Systems(client)
