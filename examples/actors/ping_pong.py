"""Two processes: an actor of one plays with an actor of the other, and watches it.

    python examples/actors/ping_pong.py

The program starts itself once more, with the word ``pong``; that process prints the reference of
its actor, and ends when the actor does.
"""

import subprocess
import sys
from functools import partial
from typing import Final

import attrs
import trio

from trio440 import actors

HOST: Final = "127.0.0.1"
ROUNDS: Final = 3


@actors.message("ping.Ping")
@attrs.frozen
class Ping:
    """A ball, and who is to have it back."""

    number: int
    sender: "actors.Ref[Pong]"


@actors.message("ping.Pong")
@attrs.frozen
class Pong:
    """The ball is back."""

    number: int


async def return_balls(context: actors.Context[Ping], ping: Ping) -> None:
    """Be the actor of the second process."""
    context.tell(ping.sender, Pong(ping.number))


@actors.message("ping.Serve")
@attrs.frozen
class Serve:
    """Begin, with an actor anywhere."""

    opponent: actors.Ref[Ping]


class Server(actors.Actor[Serve | Pong | actors.Down]):
    """Plays some rounds, then lets its opponent go home, and leaves when it has."""

    opponent: actors.Ref[Ping]

    @actors.handler
    async def serve(self, message: Serve) -> None:
        """Begin."""
        self.opponent = message.opponent
        self.context.watch(self.opponent)
        self.context.tell(self.opponent, Ping(1, self.context.ref))

    @actors.handler
    async def pong(self, message: Pong) -> None:
        """Go on, or end."""
        print("ping", message.number, "pong")
        if message.number < ROUNDS:
            self.context.tell(self.opponent, Ping(message.number + 1, self.context.ref))
        else:
            await self.context.stop(self.opponent)

    @actors.handler
    async def down(self, message: actors.Down) -> None:
        """Hear that the opponent has gone."""
        print("the opponent has", message.reason)
        self.context.leave()


async def run_second() -> None:
    """Run the second process."""
    async with actors.open_actor_system(HOST) as system:
        ref = await system.spawn(return_balls)
        print(ref.address, ref.counter, ref.incarnation, flush=True)
        await system.wait_stopped(ref)


async def run_first() -> None:
    """Run the first process, which starts the second."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, __file__, "pong"]
        second: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdout=subprocess.PIPE)
        )
        assert second.stdout is not None  # noqa: S101 - it is a pipe
        line = b""
        while not line.endswith(b"\n"):
            line += await second.stdout.receive_some()
        address, counter, life = line.decode().split()
        opponent = actors.Ref[Ping](address, int(counter), int(life))
        networking = actors.Networking(seeds=[address])
        async with actors.open_actor_system(HOST, networking=networking) as system:
            server = await system.spawn(Server)
            system.tell(server, Serve(opponent))
            await system.wait_stopped(server)


if __name__ == "__main__":
    trio.run(run_second if sys.argv[1:] == ["pong"] else run_first)
