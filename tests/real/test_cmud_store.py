"""The store that ``trio440 cmud`` opens where none is named: three servers in its own process."""

import logging

import pytest
import trio

from tests.support.processes import PATIENCE_SECONDS
from trio440 import kv, raft
from trio440.cli.cmud_store import open_world
from trio440.core.host import parse_address

pytestmark = pytest.mark.real


async def test_each_of_three_servers_comes_to_hold_the_campus() -> None:
    async with open_world([], "campus", "eventual") as world:
        assert isinstance(world.namespace, kv.EventualNamespace)
        assert len(world.doors) == 3
        await world.namespace.put(b"player/ada", b"Masters")
        with trio.fail_after(PATIENCE_SECONDS):
            for door in world.doors:
                async with open_world([door], "campus", "memory") as other:
                    while (entry := await other.namespace.get(b"player/ada")) is None:
                        pass
                    assert entry.value == b"Masters"


@pytest.mark.slow
async def test_on_the_linearizable_engine_the_servers_are_one_cluster_of_three() -> None:
    async with open_world([], "campus", "linearizable") as world:
        assert isinstance(world.namespace, kv.AtomicNamespace)
        assert len(world.doors) == 3
        await world.namespace.put(b"player/ada", b"Masters")
        places = [parse_address(door) for door in world.doors]
        async with raft.open_client(places, cluster="kv") as client:
            with trio.fail_after(PATIENCE_SECONDS):
                while all(len(report.voters) < 3 for report in await client.status()):
                    pass
        for door in world.doors:
            async with open_world([door], "campus", "memory") as other:
                entry = await other.namespace.get(b"player/ada")
                assert entry is not None
                assert entry.value == b"Masters"


async def test_the_memory_engine_needs_no_server() -> None:
    async with open_world([], "campus", "memory") as world:
        assert isinstance(world.namespace, kv.MemoryNamespace)
        assert world.doors == ()


async def test_what_the_servers_log_waits_for_the_end_of_the_game(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_world([], "default", "eventual"):
        for number in range(200):
            logging.getLogger("trio440.actors").warning("worker %d has failed", number)
        assert capsys.readouterr() == ("", "")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"worker {number} has failed" for number in range(100)]
    logger = logging.getLogger("trio440")
    assert (logger.handlers, logger.propagate) == ([], True)
