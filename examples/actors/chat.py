"""A chat with rooms, over as many processes as there are; without arguments, a show of three.

    python examples/actors/chat.py                                         the show
    python examples/actors/chat.py talk kitchen ann                        a first process
    python examples/actors/chat.py talk kitchen bob eve --directory REF    more of them

A first process has the directory of rooms, and prints its reference. Each process has some people,
who enter a room and print what they hear; a line of input such as ``ann: hello`` lets one of them
speak. Rooms and people watch each other. Whoever leaves, at the end of input, is told of as one
who left; whose process is killed, as one who is lost, about a second later.
"""

import argparse
import subprocess
import sys
from functools import partial
from typing import Final

import attrs
import trio

from trio440 import actors
from trio440.actors.cluster import Config
from trio440.cli.running import emit, guard, read_stdin, run

HOST: Final = "127.0.0.1"
MEMBERSHIP: Final = Config(
    probe_interval_us=200_000,
    probe_timeout_us=100_000,
    gossip_interval_us=50_000,
    suspicion_beta=1,
)
"""Five times as quick as usual, and a suspicion lasts one second however few are there."""


@actors.message("chat.Heard")
@attrs.frozen
class Heard:
    """What a person hears in a room."""

    line: str


@actors.message("chat.Speak")
@attrs.frozen
class Speak:
    """What a person is to say."""

    text: str


@actors.message("chat.Enter")
@attrs.frozen
class Enter:
    """Somebody enters a room."""

    name: str
    person: actors.Ref[Heard]


@actors.message("chat.Say")
@attrs.frozen
class Say:
    """Somebody says something there."""

    person: actors.Ref[Heard]
    text: str


@actors.message("chat.Found")
@attrs.frozen
class Found:
    """Where a room is."""

    room: actors.Ref[Enter | Say]


@actors.message("chat.Find")
@attrs.frozen
class Find(actors.Question[Found]):
    """Where is the room of this name?"""

    name: str


class Room(actors.Actor[Enter | Say | actors.Down]):
    """Tells everybody in it what happens."""

    def __init__(self) -> None:
        self.people: dict[actors.Ref[Heard], str] = {}

    @actors.handler
    async def enter(self, message: Enter) -> None:
        """Take in a person, and hear of its end."""
        self.people[message.person] = message.name
        self.context.watch(message.person)
        self.announce(f"{message.name} has entered")

    @actors.handler
    async def say(self, message: Say) -> None:
        """Pass on what a person here says."""
        if (name := self.people.get(message.person)) is not None:
            self.announce(f"{name}: {message.text}")

    @actors.handler
    async def down(self, message: actors.Down) -> None:
        """Hear that a person has left, or that its process is gone."""
        name = self.people.pop(message.ref)
        self.announce(f"{name} is lost" if message.reason == "lost" else f"{name} has left")

    def announce(self, line: str) -> None:
        """Tell everybody here."""
        for person in self.people:
            self.context.tell(person, Heard(line))


class Directory(actors.Actor[Find]):
    """Knows the rooms, which are its children."""

    def __init__(self) -> None:
        self.rooms: dict[str, actors.Ref[Enter | Say]] = {}

    @actors.handler
    async def find(self, message: Find) -> Found:
        """Give a room, a new one if need be."""
        if (room := self.rooms.get(message.name)) is None:
            room = self.rooms[message.name] = await self.context.spawn(Room)
        return Found(room)


class Person(actors.Actor[Heard | Speak | actors.Down]):
    """Prints what it hears in one room."""

    room: actors.Ref[Enter | Say]

    def __init__(self, name: str, room: str, directory: actors.Ref[Find]) -> None:
        self.name = name
        self.room_name = room
        self.directory = directory

    async def on_start(self) -> None:
        """Find the room and enter it."""
        found = await self.context.ask(self.directory, Find(self.room_name))
        self.room = found.room
        self.context.watch(self.room)
        self.context.tell(self.room, Enter(self.name, self.context.ref))

    @actors.handler
    async def heard(self, message: Heard) -> None:
        """Hear something."""
        emit(f"({self.name} hears) {message.line}")

    @actors.handler
    async def speak(self, message: Speak) -> None:
        """Say something."""
        self.context.tell(self.room, Say(self.context.ref, message.text))

    @actors.handler
    async def down(self, _: actors.Down) -> None:
        """Hear that the room is gone."""
        emit(f"({self.name} hears nothing) the room is gone")
        self.context.leave()


def read_ref(text: str) -> actors.Ref[Find]:
    """Read ``HOST:PORT/COUNTER/LIFE``."""
    try:
        address, counter, life = text.split("/")
        return actors.Ref(address, int(counter), int(life))
    except ValueError:
        problem = f"{text!r} is not HOST:PORT/COUNTER/LIFE"
        raise argparse.ArgumentTypeError(problem) from None


async def talk(room: str, names: list[str], directory: actors.Ref[Find] | None) -> None:
    """Run one process."""
    seeds = [] if directory is None else [directory.address]
    networking = actors.Networking(cluster="chat", seeds=seeds, membership=MEMBERSHIP)
    async with actors.open_actor_system(HOST, networking=networking) as system:
        if directory is None:
            directory = await system.spawn(Directory)
            emit(f"the directory is {directory}/{directory.incarnation}")
        people = {name: await system.spawn(Person, name, room, directory) for name in names}
        rest = b""
        while data := await read_stdin():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                name, _, text = line.decode(errors="replace").partition(": ")
                if name in people:
                    system.tell(people[name], Speak(text))


# The show


class Node:
    """A process of the show."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._unread = b""

    async def line(self) -> str:
        """Wait for a line of what it prints."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        while b"\n" not in self._unread:
            if not (data := await self._process.stdout.receive_some()):
                raise SystemExit("a process of the show has ended")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    async def show(self, lines: int) -> None:
        """Print the next lines of what it prints, sorted: two people hear in any order."""
        for line in sorted([await self.line() for _ in range(lines)]):
            emit(line)

    async def write(self, line: str) -> None:
        """Let one of its people speak."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        await self._process.stdin.send_all(f"{line}\n".encode())

    async def end_input(self) -> None:
        """Let its people leave."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        await self._process.stdin.aclose()

    def kill(self) -> None:
        """End it as a power cut would, with SIGKILL."""
        self._process.kill()


async def start(nursery: trio.Nursery, *words: str) -> Node:
    """Start a process of this program."""
    pipe = subprocess.PIPE
    command = [sys.executable, __file__, "talk", "kitchen", *words]
    options = {"stdin": pipe, "stdout": pipe, "check": False}
    process: trio.Process = await nursery.start(partial(trio.run_process, command, **options))
    return Node(process)


async def show() -> None:
    """Let people talk from three processes, and kill one of these."""
    async with trio.open_nursery() as nursery:
        one = await start(nursery, "ann")
        reference = (await one.line()).split()[-1]
        await one.show(1)
        two = await start(nursery, "bob", "--directory", reference)
        await one.show(1)
        await two.show(1)
        three = await start(nursery, "eve", "joe", "--directory", reference)
        for node, lines in ((one, 2), (two, 2), (three, 3)):
            await node.show(lines)
        await three.write("joe: what if the power fails?")
        for node, lines in ((one, 1), (two, 1), (three, 2)):
            await node.show(lines)
        emit("-- the third process is killed")
        three.kill()
        await one.show(2)
        await two.show(2)
        await two.end_input()
        await one.show(1)
        await one.end_input()


def main() -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command")
    talking = commands.add_parser("talk", help="run a process with some people")
    talking.add_argument("room")
    talking.add_argument("names", nargs="+", metavar="name")
    talking.add_argument("--directory", type=read_ref, metavar="REF", help="what a first one says")
    words = parser.parse_args()
    if words.command is None:
        return run(show)
    return run(partial(talk, words.room, words.names, words.directory))


if __name__ == "__main__":
    sys.exit(guard(main, name="chat"))
