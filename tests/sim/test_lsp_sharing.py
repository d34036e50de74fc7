"""What connections of one port owe each other."""

import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.sim_network import SimNetwork, open_sim_network
from trio440 import lsp
from trio440.core.host import Address, Host
from trio440.lsp.message import Ack, CAck, Connect, Data, decode_untrusted, encode

SERVER: Address = ("10.0.0.1", 9999)


def somebody(number: int) -> Address:
    return (f"10.2.{number // 256}.{number % 256}", 5000)


def server_ports(network: SimNetwork) -> Host:
    return network.host(SERVER[0], seed=1)


async def test_reading_many_ready_connections_lets_other_tasks_run() -> None:
    runs = 0

    async def run_along() -> None:
        nonlocal runs
        while True:
            await trio.lowlevel.checkpoint()
            runs += 1

    async with open_sim_network(1) as network:
        ports = server_ports(network)
        async with lsp.open_server(9999, host=SERVER[0], ports=ports) as server:
            for number in range(300):
                network.inject(encode(Connect(0)), somebody(number), SERVER)
            await wait_all_tasks_blocked()
            for number in range(300):
                data = Data.of(number + 1, 1, b"x")
                network.inject(encode(data), somebody(number), SERVER)
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_along)
                await trio.lowlevel.checkpoint()
                before = runs
                for _ in range(300):
                    await server.read()
                assert runs - before >= 300 // 64 - 1
                nursery.cancel_scope.cancel()


async def test_nobody_gives_way_to_a_newcomer_who_is_refused_all_the_same() -> None:
    """A handler that lingers keeps its connection's place, so dropping it would help nobody."""

    async def linger(_connection: lsp.Connection) -> None:
        await trio.Event().wait()

    async with open_sim_network(2) as network, trio.open_nursery() as nursery:
        ports = server_ports(network)
        limits = lsp.Limits(max_connections=2, max_half_open=2)

        async def serve(task_status: trio.TaskStatus[Address]) -> None:
            await lsp.serve(
                linger, 9999, host=SERVER[0], limits=limits, ports=ports, task_status=task_status
            )

        await nursery.start(serve)
        for number in range(3):
            network.inject(encode(Connect(7)), somebody(number), SERVER)
            await wait_all_tasks_blocked()
        await trio.sleep(2.5)
        said = [(r.destination, decode_untrusted(r.data)) for r in network.wire[3:]]
        nursery.cancel_scope.cancel()
    heard = [(somebody(0), Ack(1, 0)), (somebody(1), Ack(2, 0))]
    assert [each for each in said if each[1] in {Ack(1, 0), Ack(2, 0)}] == heard
    assert not [address for address, _ in said if address == somebody(2)]


async def test_one_cumulative_ack_lets_every_waiting_send_go_on() -> None:
    sent: list[int] = []
    async with open_sim_network(3) as network, trio.open_nursery() as nursery:
        ports = server_ports(network)
        limits = lsp.Limits(send_buffer=2 * (10 + 64))
        params = lsp.Params(window_size=9, max_unacked_messages=9)
        async with lsp.open_server(
            9999, host=SERVER[0], params=params, limits=limits, ports=ports
        ) as server:
            network.inject(encode(Connect(0)), somebody(0), SERVER)
            await wait_all_tasks_blocked()

            async def send(number: int) -> None:
                await server.send(1, b"%10d" % number)
                sent.append(number)

            for number in range(4):
                nursery.start_soon(send, number)
            await wait_all_tasks_blocked()
            assert len(sent) == 2
            network.inject(encode(CAck(1, 2)), somebody(0), SERVER)
            await wait_all_tasks_blocked()
            assert len(sent) == 4
            network.inject(encode(CAck(1, 4)), somebody(0), SERVER)


async def test_what_a_full_socket_refuses_is_counted_and_resent() -> None:
    async with open_sim_network(4) as network:
        ports = server_ports(network)
        params = lsp.Params(window_size=9, max_unacked_messages=9)
        async with lsp.open_server(9999, host=SERVER[0], params=params, ports=ports) as server:
            network.inject(encode(Connect(0)), somebody(0), SERVER)
            await wait_all_tasks_blocked()
            network.send_limit = 3
            for number in range(5):
                server.write(1, b"%d" % number)
            assert server.statistics().dropped == {"socket buffer full": 2}
            network.send_limit = None
            await trio.sleep(2.5)
            assert server.statistics().resent == 5
            network.inject(encode(CAck(1, 5)), somebody(0), SERVER)
