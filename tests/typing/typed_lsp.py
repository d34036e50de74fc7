"""The types that users of LSP see; mypy reads this file, nothing runs it."""

from typing import Never, assert_type

import trio

from trio440 import lsp
from trio440.core.host import Address


async def a_client_is_a_channel_of_bytes() -> None:
    async with lsp.connect("127.0.0.1", 9999, params=lsp.Params(window_size=5), isn=1) as client:
        assert_type(client, lsp.Client)
        channel: trio.abc.Channel[bytes] = client
        assert_type(await channel.receive(), bytes)
        assert_type(await client.read(), bytes)
        assert_type(client.conn_id, int)
        assert_type(client.statistics(), lsp.ConnectionStatistics)
        assert_type(client.local_address, Address)
        async for message in client:
            assert_type(message, bytes)
        client.write("text")  # type: ignore[arg-type]  # bytes only
    lsp.connect("127.0.0.1")  # type: ignore[call-arg]  # no port
    lsp.connect("127.0.0.1", 1, lsp.Params())  # type: ignore[call-arg]  # params by its name


async def a_server_speaks_of_ids() -> None:
    async with lsp.open_server(0, limits=lsp.Limits(max_connections=5)) as server:
        assert_type(server, lsp.Server)
        assert_type(await server.read(), tuple[int, bytes])
        assert_type(server.conn_ids, tuple[int, ...])
        assert_type(server.statistics(), lsp.EndpointStatistics)
        server.write(1, b"payload")
        server.write(b"payload")  # type: ignore[call-arg, arg-type]  # to whom?
    lsp.Limits(5)  # type: ignore[call-arg]  # limits by their names


async def serving_never_returns() -> None:
    async def handle(connection: lsp.Connection) -> None:
        await connection.send(await connection.receive())

    async def takes_nothing() -> None: ...

    lsp.serve(takes_nothing, 0)  # type: ignore[arg-type, unused-coroutine]  # no connection taken
    assert_type(await lsp.serve(handle, 0), Never)


def errors_carry_what_a_caller_needs(
    lost: lsp.ConnectionLost, large: lsp.PayloadTooLarge, full: lsp.SendBufferFull
) -> None:
    assert_type(lost.conn_id, int)
    assert_type((large.size, large.limit), tuple[int, int])
    assert_type(full.limit, int)
    broken: trio.BrokenResourceError = lost
    assert_type(broken, trio.BrokenResourceError)
