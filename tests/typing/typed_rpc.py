"""The types that users of RPC see; mypy reads this file, nothing runs it."""

from typing import Never, assert_type

import attrs

from trio440 import rpc
from trio440.core.host import Address
from trio440.wire.codec import Codec


@attrs.frozen
class Add:
    a: int
    b: int


@attrs.frozen
class Sum:
    value: int


@attrs.frozen
class Refusal:
    why: str


class Calculator(rpc.Service):
    add = rpc.method(Add, Sum)
    maybe = rpc.method(Add, Codec[Sum | Refusal](Sum, Refusal))
    note = rpc.one_way(Add)


async def a_client_knows_what_goes_in_and_out(client: rpc.Client) -> None:
    calculator = Calculator(client)
    assert_type(await calculator.add(Add(1, 2)), Sum)
    assert_type(await calculator.add(Add(1, 2), timeout_seconds=1.5), Sum)
    assert_type(await calculator.maybe(Add(1, 2)), Sum | Refusal)
    assert_type(await client.call(Calculator.add, Add(1, 2)), Sum)
    assert_type(calculator.note(Add(1, 2)), bool)
    assert_type(client.tell(Calculator.note, Add(1, 2)), bool)
    assert_type(Calculator.add, rpc.Method[Add, Sum])
    assert_type(Calculator.note, rpc.OneWay[Add])
    assert_type(await client.wait_connected(), rpc.Peer)
    assert_type(client.statistics(), rpc.ClientStatistics)
    await calculator.add(Sum(1))  # type: ignore[arg-type]  # no question
    await calculator.add(Add(1, 2), 5)  # type: ignore[call-arg]  # the time by its name
    await calculator.subtract(Add(1, 2))  # type: ignore[attr-defined]  # there is none
    client.tell(Calculator.add, Add(1, 2))  # type: ignore[arg-type]  # it has an answer
    await client.call(Calculator.note, Add(1, 2))  # type: ignore[arg-type]  # and this has none


def handlers_are_checked(routes: rpc.Routes) -> None:
    @routes.answers(Calculator.add)
    async def add(request: Add, peer: rpc.Peer) -> Sum:
        return Sum(request.a + request.b)

    @routes.answers(Calculator.add)
    def add_now(request: Add, peer: rpc.Peer) -> Sum:
        return Sum(request.a + request.b)

    @routes.answers(Calculator.maybe)
    def maybe(request: Add, peer: rpc.Peer) -> Sum | Refusal:
        return Refusal("no")

    @routes.takes(Calculator.note)
    async def note(message: Add, peer: rpc.Peer) -> None: ...

    @routes.answers(Calculator.add)  # type: ignore[arg-type]  # takes another question
    def takes(request: Sum, peer: rpc.Peer) -> Sum:
        return request

    @routes.answers(Calculator.add)  # type: ignore[arg-type]  # gives another answer
    def gives(request: Add, peer: rpc.Peer) -> Add:
        return request

    routes.add(Calculator.note, note)  # type: ignore[arg-type]  # a message without an answer


async def a_server_has_an_address(routes: rpc.Routes) -> None:
    async with rpc.open_server(0, routes) as server:
        assert_type(server, rpc.Server)
        assert_type(server.address, Address)
        assert_type(server.statistics(), rpc.ServerStatistics)
    rpc.open_server(routes)  # type: ignore[call-arg, arg-type]  # no port
    assert_type(await rpc.serve(0, routes), Never)
