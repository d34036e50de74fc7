"""The client's side: one connection on a UDP port of its own."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio440.core.host import Address, Host, format_address
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import ConnectFailed, InvalidParameter
from trio440.lsp.connection import Connection
from trio440.lsp.endpoint import Endpoint, EndpointStatistics
from trio440.lsp.message import MAX_ISN
from trio440.lsp.params import Limits, Params
from trio440.lsp.session import Event, Session, State

__all__ = ["Client", "connect"]

MAX_RANDOM_ISN: Final = 2**31 - 1


class Client(Connection):
    """A connection to a server; made by :func:`connect`.

    ``close`` also stops the port: once it has returned nothing is left running.
    """

    def __init__(self, session: Session, remote_address: Address, endpoint: Endpoint) -> None:
        """Wrap a session on ``endpoint``; use :func:`connect` instead."""
        super().__init__(session, remote_address, endpoint.transmit, endpoint.turn)
        self._endpoint = endpoint

    @property
    def local_address(self) -> Address:
        """The address of the client's own port."""
        return self._endpoint.local_address

    def endpoint_statistics(self) -> EndpointStatistics:
        """Return the counts of the client's port."""
        return self._endpoint.statistics()

    async def close(self) -> None:
        """Close, wait until everything written is acknowledged, and stop the port.

        See :meth:`Connection.close`, also for whom it waits for ever.
        """
        try:
            await super().close()
        finally:
            await self._endpoint.stop_and_wait()


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    params: Params | None = None,
    limits: Limits | None = None,
    isn: int | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Client]:
    """Connect to an LSP server; the server may start up to ``epoch_limit`` epochs later.

    Leaving the context normally waits until everything written is acknowledged, as
    :meth:`Client.close` does, and perhaps for ever; leaving it by an exception or cancellation
    aborts at once.

    Args:
        host: the server's name or literal; of a name's addresses the first, IPv4 before IPv6.
        port: the server's UDP port, 1 to 65535.
        params: the protocol's numbers, equal on both sides; None: the course's defaults.
        limits: the buffers' sizes.
        isn: the initial sequence number, 0 to 2**32 - 1; None draws one from 1 to 2**31 - 1.
        ports: the machine to run on.

    Raises:
        ConnectFailed: nobody answered within ``epoch_limit`` epochs.
        ResolutionFailed: the host has no address.
        AddressUnavailable: this machine gives no socket.
        InvalidParameter: the port or the initial sequence number is out of range.
        ConnectionLost: on leaving, see :meth:`Connection.close`.
    """
    params = params or Params()
    if isn is None:
        isn = ports.rng.randint(1, MAX_RANDOM_ISN)
    if not 0 <= isn <= MAX_ISN:
        raise InvalidParameter("isn", isn, f"0 to {MAX_ISN}")
    if port == 0:
        raise InvalidParameter("port", port, "1 to 65535")
    remote = (await ports.net.resolve(host, port, kind="udp"))[0]
    socket = await ports.net.bind_udp(_local_host(remote), 0)
    handshake = trio.Event()

    def on_event(_: Connection, event: Event) -> None:
        if event is Event.CONNECTED or event is Event.FAILED:
            handshake.set()

    endpoint = Endpoint(socket, params, ports, on_event=on_event)
    client = Client(Session(params, limits or Limits(), isn), remote, endpoint)
    try:
        async with open_service_nursery() as nursery:
            nursery.start_soon(endpoint.run)
            endpoint.add(client)
            await handshake.wait()
            if client.session.state is State.FAILED:
                raise ConnectFailed(format_address(remote), params.epoch_limit)
            yield client
            await client.close()
    finally:
        endpoint.stop()


def _local_host(remote: Address) -> str:
    """Choose what to bind: for a peer on this machine the loopback address alone."""
    address = ipaddress.ip_address(remote[0].partition("%")[0])
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return "127.0.0.1" if address.is_loopback else "0.0.0.0"  # noqa: S104 - replies must reach it
    return "::1" if address.is_loopback else "::"
