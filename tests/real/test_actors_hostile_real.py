"""Whoever speaks nonsense to a system of actors on real sockets keeps it from nobody."""

import random
import socket

import attrs
import pytest
import trio

from tests.support.net import until
from trio440 import actors, rpc
from trio440.actors.remote.parcels import Batch, Unwatch, encode, join
from trio440.actors.remote.service import Systems
from trio440.core.host import parse_address
from trio440.rpc.hello import ANONYMOUS, Expected, Identity, encode_hello

pytestmark = pytest.mark.real


@actors.message("hostile.Ping")
@attrs.frozen
class Ping(actors.Question[int]):
    pass


async def answer(_: actors.Context[Ping], question: Ping) -> int:
    return 7


async def speak_as(name: str, system: actors.ActorSystem, garbage: bytes) -> None:
    """Send garbage, and then something that wants an acknowledgement."""
    life, who = system.incarnation, Identity("actors", name, 1)
    async with rpc.open_client(*parse_address(system.address), identity=who) as client:
        await client.wait_connected()
        for data in (garbage, join([encode(Unwatch(1, life))])):
            client.tell(Systems.deliver, Batch(life, 1, 1, sure=True, parcels=data))


@pytest.mark.slow
async def test_garbage_half_open_connections_and_many_names_keep_nobody_out() -> None:
    rng = random.Random(0)
    async with actors.open_actor_system("127.0.0.1") as one:
        seeds = actors.Networking(seeds=[one.address])
        where = parse_address(one.address)
        async with actors.open_actor_system("127.0.0.1", networking=seeds) as two:
            ref = await one.spawn(answer)
            half_open = [await trio.open_tcp_stream(*where) for _ in range(30)]
            hello = encode_hello(ANONYMOUS, Expected(), silence_us=10**7, frame_bytes=1 << 20)
            for place, stream in enumerate(half_open):
                if place % 3 == 0:
                    await stream.send_all(rng.randbytes(1000))
                elif place % 3 == 1:
                    await stream.send_all(hello[: rng.randrange(1, len(hello))])
                else:  # and then never read
                    await stream.send_all(hello)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                for _ in range(200):
                    udp.sendto(rng.randbytes(rng.randrange(1400)), where)
            async with trio.open_nursery() as nursery:
                for place in range(70):
                    nursery.start_soon(speak_as, f"127.0.0.1:{place + 1}", one, rng.randbytes(1000))
            assert await two.ask(ref, Ping()) == 7
            await until(lambda: len(one.members) == len(two.members) == 2)
            assert len(one.links()) <= 65
            for stream in half_open:
                await stream.aclose()
