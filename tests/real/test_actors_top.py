"""``trio440 actors top`` beside systems on real sockets."""

import json
import signal
from functools import partial

import attrs
import pytest
import trio

from tests.support.net import free_port, until
from tests.support.processes import TRIO440, finished, started
from trio440 import actors

pytestmark = pytest.mark.real

TOP = [*TRIO440, "actors", "top", "--at"]


@actors.message("test.top.Work")
@attrs.frozen
class Work:
    pass


class Stuck(actors.Actor[Work]):
    """Never ends its first message."""

    @actors.handler
    async def work(self, _: Work) -> None:
        await trio.sleep_forever()


async def handle(context: actors.Context[Work], message: Work) -> None:
    del context, message


@pytest.mark.slow
async def test_it_asks_all_systems_of_the_cluster_and_shows_where_most_waits() -> None:
    async with (
        actors.open_actor_system("127.0.0.1") as one,
        actors.open_actor_system(
            "127.0.0.1", networking=actors.Networking(seeds=[one.address])
        ) as two,
    ):
        await until(lambda: len(one.members) == len(two.members) == 2)
        stuck = await two.spawn(Stuck, name="stuck")
        busy = await one.spawn(handle)
        for _ in range(7):
            one.tell(stuck, Work())
        one.tell(busy, Work())
        await until(lambda: waiting(two, stuck) == 6)
        words = [*TOP, one.address, "--once", "--json", "--interval", "0.1"]
        status, out, err = await trio.to_thread.run_sync(finished, words)
        assert (status, err) == (0, "")
        found = json.loads(out)
        assert {row["node"]: row for row in found["nodes"]} == {
            each.address: {
                "node": each.address,
                "life": each.incarnation,
                "state": "alive",
                "actors": 1,
            }
            for each in (one, two)
        }
        assert [[*row.values()] for row in found["actors"]] == [
            [str(stuck), "stuck", "Stuck", 6, 0.0, 0, 0],
            [str(busy), None, "handle", 0, 0.0, 1, 0],
        ]
        await trio.to_thread.run_sync(watch_and_interrupt, one.address, str(stuck))
        await one.stop(stuck, timeout_seconds=0)


def waiting(system: actors.ActorSystem, ref: actors.Ref[Work]) -> int:
    counts = system.actor_statistics(ref)
    return -1 if counts is None else counts.waiting


def watch_and_interrupt(address: str, stuck: str) -> None:
    """Without --once it goes on, until Ctrl-C."""
    with started([*TOP, address, "--interval", "0.1"]) as top:
        lines = [top.line() for _ in range(30)]
        assert sum(line.startswith(stuck) for line in lines) >= 3
        top.signal(signal.SIGINT)
        status, _, err = top.end()
        assert (status, err) == (130, "")


@pytest.mark.slow
def test_where_nobody_answers_there_is_one_line() -> None:
    port = free_port()
    status, out, err = finished([*TOP, f"127.0.0.1:{port}", "--once"])
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith(f"trio440: error: 127.0.0.1:{port} ")


@pytest.mark.slow
async def test_another_cluster_is_one_line() -> None:
    async with actors.open_actor_system("127.0.0.1") as one:
        words = [*TOP, one.address, "--cluster", "other"]
        status, out, err = await trio.to_thread.run_sync(partial(finished, words))
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert err.endswith("; see --cluster\n")
