"""The client of the eventual engine: where a call goes that finds nobody, and what is repeated."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.support.kv_world import PORT, KvWorld, open_kv_world
from trio440 import kv, rpc
from trio440.core.host import Host
from trio440.errors import RemoteError, StoreUnavailable
from trio440.kv import Count, Get, GetSiblings, List, Put
from trio440.kv.client import MOST_TRIES
from trio440.kv.discovery import IDENTITY
from trio440.kv.packing import unpack_operation
from trio440.kv.service import Execute, Executed, Queries
from trio440.kv.unanswered import MOST_NAMED
from trio440.sim.faults import Weather

DEAD = tuple(f"10.0.0.1:{7100 + number}" for number in range(12))
"""On a machine that is up: nobody listens there."""
SILENT = "10.0.0.77:7001"
"""There is no such machine."""


class Asked:
    """A router that notes what it has named."""

    def __init__(self, *addresses: str) -> None:
        self.names: list[str] = []
        self._round = kv.RoundRobin(addresses)

    def next_address(self) -> str:
        self.names.append(address := self._round.next_address())
        return address


async def value_of(client: kv.EventualNamespace, key: bytes) -> bytes | None:
    entry = await client.get(key)
    return None if entry is None else entry.value


# Routers


async def test_a_router_is_asked_before_each_call() -> None:
    async with open_kv_world((3,)) as world:
        _, ports = world.machine()
        there = world.servers[0].client_addresses
        router = Asked(*there)
        async with kv.open_client(router, ports=ports) as client:
            for _ in range(4):
                await client.get(b"k")
        assert router.names == [*there, there[0]]


async def test_a_router_is_asked_once_more_for_each_other_try() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        (there,) = world.servers[0].client_addresses
        router = Asked(*DEAD[:2], there)
        async with kv.open_client(router, ports=ports) as client:
            await client.put(b"k", b"v")
            assert router.names == [*DEAD[:2], there]
            await client.execute([Put(b"k", b"w"), Get(b"k")])
            assert router.names == [*DEAD[:2], there] * 2


async def test_a_router_that_names_one_address_is_where_a_call_ends() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        router = Asked(DEAD[0])
        async with kv.open_client(router, ports=ports) as client:
            with pytest.raises(StoreUnavailable, match=f"reached: nobody listens at {DEAD[0]}$"):
                await client.put(b"k", b"v")
        assert len(router.names) <= 1 + MOST_TRIES


async def test_a_call_tries_three_addresses_of_a_router_that_may_know_any_number() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        router = Asked(*DEAD)
        async with kv.open_client(router, ports=ports) as client:
            with pytest.raises(StoreUnavailable) as caught:
                await client.put(b"k", b"v")
        assert router.names == [*DEAD[:MOST_TRIES]]
        assert caught.value.reason == "; ".join(
            f"nobody listens at {address}" for address in DEAD[:MOST_TRIES]
        )


# Calls that have come to nothing


async def test_where_a_server_is_lost_a_call_goes_to_the_next_one() -> None:
    async with open_kv_world((1,)) as world:
        address, ports = world.machine()
        _, near = world.machine()
        async with kv.open_server(
            PORT, 1, host=address, descriptions=[world.servers[0].description], ports=ports
        ) as second:
            addresses = [*second.client_addresses, *world.servers[0].client_addresses]
        async with kv.open_client(addresses, ports=near) as client:
            await client.put(b"k", b"v")
            began = trio.current_time()
            for number in range(6):
                await client.put(b"k", b"%d" % number)
                assert await value_of(client, b"k") == b"%d" % number
            # An answer takes 0.4 s, and to hear that nobody listens as long.
            assert trio.current_time() - began < 12 * 0.8


@pytest.mark.parametrize("alone", [False, True])
async def test_where_nobody_listens_a_client_waits_only_if_it_has_no_other_address(
    *, alone: bool
) -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        nobody = [DEAD[0], DEAD[0]] if alone else DEAD[:2]
        async with kv.open_client(nobody, ports=ports) as client:
            for _ in range(2):
                began = trio.current_time()
                with pytest.raises(StoreUnavailable, match=DEAD[0]) as caught:
                    await client.put(b"k", b"v")
                assert not caught.value.may_have_happened
                took = trio.current_time() - began
                assert took == pytest.approx(2.0) if alone else took < 1
            with pytest.raises(StoreUnavailable, match=DEAD[0]):
                async with client.watch():
                    raise AssertionError("not reached")  # pragma: no cover


async def test_where_all_have_failed_each_is_named_with_its_problem() -> None:
    async with open_kv_world() as world:
        address, ports = world.machine()
        stranger = rpc.Identity("another")
        async with rpc.open_server(
            0, rpc.Routes(), host=address, identity=stranger, ports=ports
        ) as other:
            elsewhere = f"{address}:{other.address[1]}"
            async with kv.open_client([DEAD[0], elsewhere, SILENT], ports=ports) as client:
                with pytest.raises(StoreUnavailable) as caught:
                    await client.put(b"k", b"v")
    problems = caught.value.reason.split("; ")
    assert problems[0] == f"nobody listens at {DEAD[0]}"
    assert problems[1].startswith(f"{elsewhere} and this side do not belong together: ")
    assert problems[2].startswith(f"{SILENT} did not answer: nothing came within 2 s")
    assert len(problems) == 3
    assert not caught.value.may_have_happened


async def test_an_only_address_where_nobody_listens_is_said_to_be_one() -> None:
    async with (
        open_kv_world((1,)) as world,
        kv.open_client(DEAD[:1], ports=world.hosts[0]) as client,
    ):
        with pytest.raises(StoreUnavailable, match=f"reached: nobody listens at {DEAD[0]}$"):
            await client.get(b"k")


async def test_what_is_told_of_many_addresses_has_a_bound() -> None:
    async with open_kv_world((1,)) as world:
        async with kv.open_client(DEAD, ports=world.hosts[0]) as client:
            with pytest.raises(StoreUnavailable) as caught:
                await client.put(b"k", b"v")
        *named, rest = caught.value.reason.split("; ")
        assert named == [f"nobody listens at {address}" for address in DEAD[:MOST_NAMED]]
        assert rest == f"and {len(DEAD) - MOST_NAMED} more"


async def test_calls_that_share_a_router_each_find_the_one_that_is_there() -> None:
    """Each other call takes an address from the same round."""
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        addresses = [DEAD[0], *world.servers[0].client_addresses, DEAD[1]]
        async with (
            kv.open_client(addresses, ports=ports) as client,
            trio.open_nursery() as nursery,
        ):
            for number in range(20):
                nursery.start_soon(client.put, b"%d" % number, b"v")
        assert await world.clients[0][0].count() == 20


@pytest.mark.parametrize("seconds", [1.5, 5.0])
async def test_one_who_is_silent_leaves_time_for_the_others(seconds: float) -> None:
    async with open_kv_world((1,), latency_ms=20) as world:
        _, ports = world.machine()
        addresses = [SILENT, *world.servers[0].client_addresses]
        async with kv.open_client(addresses, timeout_seconds=seconds, ports=ports) as client:
            began = trio.current_time()
            await client.put(b"k", b"v")
            assert trio.current_time() - began < seconds
        assert await value_of(world.clients[0][0], b"k") == b"v"


@pytest.mark.parametrize("seconds", [0.5, 3.0])
async def test_all_tries_of_a_call_share_its_time(seconds: float) -> None:
    async with open_kv_world() as world:
        _, ports = world.machine()
        addresses = [f"10.0.0.7{number}:7001" for number in range(9)]
        async with kv.open_client(addresses, timeout_seconds=seconds, ports=ports) as client:
            began = trio.current_time()
            with pytest.raises(StoreUnavailable) as caught:
                await client.get(b"k")
            assert trio.current_time() - began <= seconds + 0.001
        assert caught.value.reason.startswith(
            f"{addresses[0]} did not answer: nothing came within "
        )
        assert f"; {addresses[1]} did not answer" in caught.value.reason


async def test_a_call_is_cancelled_wherever_it_is() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        addresses = [DEAD[0], SILENT, *world.servers[0].client_addresses]
        async with kv.open_client(addresses, ports=ports) as client:
            with trio.move_on_after(1.5) as scope:
                await client.put(b"k", b"v")
            assert scope.cancelled_caught
            assert await world.clients[0][0].get(b"k") is None
            await client.put(b"k", b"w")
            assert await value_of(client, b"k") == b"w"


async def test_calls_that_are_under_way_when_a_client_is_left_try_nobody_else() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        router = Asked(SILENT, *world.servers[0].client_addresses)
        failures: list[Exception] = []

        async def put(client: kv.EventualNamespace) -> None:
            try:
                await client.put(b"k", b"v")
            except StoreUnavailable as error:
                failures.append(error)

        async with trio.open_nursery() as nursery, kv.open_client(router, ports=ports) as client:
            nursery.start_soon(put, client)
            await trio.sleep(0.5)
        assert router.names == [SILENT]
        assert len(failures) == 1
        with pytest.raises(trio.ClosedResourceError):
            await client.get(b"k")


async def test_a_client_that_is_left_takes_no_calls() -> None:
    async with open_kv_world((1,)) as world:
        async with kv.open_client(
            world.servers[0].client_addresses, ports=world.hosts[0]
        ) as client:
            await client.get(b"k")
        with pytest.raises(trio.ClosedResourceError):
            await client.get(b"k")


# Calls that may have happened


async def test_a_call_without_an_answer_may_have_happened() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        async with kv.open_client(world.servers[0].client_addresses, ports=ports) as client:
            await client.put(b"k", b"v")
            world.network.link("10.0.0.1", "10.0.0.2", Weather(loss=1.0))
            began = trio.current_time()
            with pytest.raises(StoreUnavailable, match=r"not answered within 5 s") as caught:
                await client.put(b"k", b"w")
            assert caught.value.may_have_happened
            assert trio.current_time() - began < 5.1
            with pytest.raises(StoreUnavailable) as caught:
                await client.get(b"k")
            assert not caught.value.may_have_happened
        assert await value_of(world.clients[0][0], b"k") == b"w"


class Faulty:
    """Takes calls and gives none an answer that can be read."""

    def __init__(self, how: str) -> None:
        self.taken: list[str] = []
        self._how = how
        self._scope = trio.CancelScope()

    async def serve(
        self, where: str, ports: Host, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        routes = rpc.Routes()
        routes.add(Queries.execute, self._execute)
        with self._scope:
            async with rpc.open_server(PORT, routes, host=where, identity=IDENTITY, ports=ports):
                task_status.started(f"{where}:{PORT}")
                await trio.sleep_forever()

    async def _execute(self, request: Execute, _: rpc.Peer) -> Executed:
        self.taken.append(type(unpack_operation(request.operations[0])).__name__)
        if self._how == "falls":
            self._scope.cancel()
        if self._how in {"falls", "hangs"}:
            await trio.sleep_forever()
        if self._how == "fails":
            raise RemoteError("ActorFailed", "it has failed")
        return Executed(0, ())


@asynccontextmanager
async def one_that_is_faulty(
    how: str,
) -> AsyncIterator[tuple[KvWorld, Faulty, Asked, kv.EventualClient]]:
    """A client that is led to somebody who answers nothing, and then to a server."""
    async with open_kv_world((1,), latency_ms=10) as world, trio.open_nursery() as nursery:
        faulty = Faulty(how)
        where = await nursery.start(faulty.serve, *world.machine())
        router = Asked(where, *world.servers[0].client_addresses)
        _, ports = world.machine()
        async with kv.open_client(router, ports=ports) as client:
            yield world, faulty, router, client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["falls", "fails", "lies"])
async def test_a_write_that_may_have_happened_is_not_repeated(how: str) -> None:
    async with one_that_is_faulty(how) as (world, faulty, router, client):
        with pytest.raises(StoreUnavailable) as caught:
            await client.execute([Put(b"k", b"v"), Get(b"k")])
        assert caught.value.may_have_happened
        assert (faulty.taken, router.names) == (["Put"], router.names[:1])
        assert await world.clients[0][0].count() == 0


@pytest.mark.parametrize("how", ["falls", "fails", "lies"])
@pytest.mark.parametrize(
    "read", [Get(b"k"), List(), Count(), GetSiblings(b"k")], ids=lambda each: type(each).__name__
)
async def test_what_only_reads_is_asked_elsewhere(how: str, read: kv.Operation) -> None:
    async with one_that_is_faulty(how) as (world, faulty, router, client):
        await world.clients[0][0].put(b"k", b"v")
        expected = await world.clients[0][0].execute([read, read])
        assert await client.execute([read, read]) == expected
        assert (len(faulty.taken), len(router.names)) == (1, 2)


@pytest.mark.parametrize("operation", [Put(b"k", b"v"), Get(b"k")], ids=["put", "get"])
async def test_what_is_under_way_when_a_client_is_left_may_have_happened_if_it_writes(
    operation: kv.Operation,
) -> None:
    errors: list[StoreUnavailable] = []

    async def ask(client: kv.EventualNamespace) -> None:
        try:
            await client.execute([operation])
        except StoreUnavailable as error:
            errors.append(error)

    async with (
        trio.open_nursery() as nursery,
        one_that_is_faulty("hangs") as (_, faulty, router, client),
    ):
        nursery.start_soon(ask, client)
        await trio.sleep(1)
        assert len(faulty.taken) == 1
    assert [error.may_have_happened for error in errors] == [isinstance(operation, Put)]
    assert len(router.names) == 1


# Watches


async def test_a_watch_begins_where_somebody_is() -> None:
    async with open_kv_world((2,)) as world:
        _, ports = world.machine()
        one, two = world.servers[0].client_addresses
        router = Asked(*DEAD[:2], one, two)
        async with kv.open_client(router, ports=ports) as client:
            async with client.watch() as changes:
                assert router.names == [*DEAD[:2], one]
                await client.put(b"k", b"v")
                change = await anext(changes)
            assert change.position.decode().split()[0] == one
            async with client.watch(after=change.position) as changes:
                await client.put(b"k", b"w")
                assert (await anext(changes)).value == b"w"


async def test_a_watch_behind_a_position_is_asked_of_nobody_else() -> None:
    async with open_kv_world((1,)) as world:
        _, ports = world.machine()
        router = Asked(*world.servers[0].client_addresses)
        async with kv.open_client(router, ports=ports) as client:
            after = f"{DEAD[0]} life 3".encode()
            with pytest.raises(StoreUnavailable, match=DEAD[0]):
                async with client.watch(after=after):
                    raise AssertionError("not reached")  # pragma: no cover
        assert router.names == []
