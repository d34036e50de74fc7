"""What the tests have in common in which somebody speaks to a system of actors as they like."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.support.actors_world import Add, Counter, Get
from trio440 import actors, rpc
from trio440.actors.remote.parcels import (
    Batch,
    Parcel,
    encode,
    join,
)
from trio440.actors.remote.service import (
    Systems,
)
from trio440.core import Chan
from trio440.core.host import Host


class Enemy:
    """Speaks to one system, in the name of one node."""

    def __init__(self, client: rpc.Client, target: actors.ActorSystem, address: str) -> None:
        self.client = client
        self.life = target.incarnation
        self.address = address
        self.next = {True: 1, False: 1}
        """Of each stream, its next parcel's number."""
        self.batches: list[Batch] = []

    def say(self, *parcels: Parcel, sure: bool = True) -> None:
        """Send parcels as they are sent by the rules."""
        data = join([encode(parcel) for parcel in parcels])
        self.send(Batch(self.life, 1, self.next[sure], sure, data))
        self.next[sure] += len(parcels)

    def send(self, batch: Batch) -> None:
        """Send a batch."""
        self.batches.append(batch)
        assert self.client.tell(Systems.deliver, batch)


@asynccontextmanager
async def open_enemy(
    ports: Host, target: actors.ActorSystem, name: str | None = None, life: int = 1
) -> AsyncIterator[Enemy]:
    """Connect in the name of a node."""
    host, _, port = target.address.rpartition(":")
    address = name or "10.9.9.9:9"
    who = rpc.Identity("actors", address, life)
    async with rpc.open_client(host, int(port), identity=who, ports=ports) as client:
        await client.wait_connected()
        yield Enemy(client, target, address)


def receiver_of(system: actors.ActorSystem) -> Any:
    return network_of(system).receiver


def network_of(system: actors.ActorSystem) -> Any:
    front: Any = system._front
    return front.network


async def serves(system: actors.ActorSystem, other: actors.ActorSystem) -> bool:
    """Whether two systems do for each other what they should."""
    counter = await other.spawn(Counter)
    system.tell(counter, Add(7))
    answer = await system.ask(counter, Get())
    await system.stop(counter)
    return answer == 7


def all_of(letters: Chan[actors.DeadLetter]) -> list[actors.DeadLetter]:
    """Take what has been heard of so far."""
    found = []
    while True:
        try:
            found.append(letters.receive_nowait())
        except trio.WouldBlock:
            return found


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what takes minutes."""
    with trio.fail_after(300):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(0.1)
