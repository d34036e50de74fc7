"""The kv part: three servers of the store, one of which is cut off for a while, and a game on it.

Each server is a process with two query actors. The third one is stopped by a signal and goes on
later: for the others, and for its clients, that is a partition. What all hold at the end is checked
against what was put, and what the game says against the store.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from tempfile import NamedTemporaryFile
from typing import Final

from trio440 import kv
from trio440.cli.demo.processes import Process, open_command
from trio440.cli.demo.screen import Screen
from trio440.core import REAL_HOST
from trio440.errors import StoreUnavailable, Trio440Error

__all__ = ["StoreFailed", "show"]

SERVERS: Final = 3
ACTORS: Final = 2
KEYS: Final = 300
CONTESTED: Final = b"contested"
CONVERGED_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.05
CUT_SECONDS: Final = 1.0
GAME: Final = ("mine 4", "shop", "buy cpu", "move", "look", "stats", "inv", "quit")
PLAYER: Final = "ada"


class StoreFailed(Trio440Error):
    """The store, or the game on it, did not do what it should."""


async def show(screen: Screen) -> None:
    """Show the part on ``screen``.

    Raises:
        ProcessFailed, StoreFailed: a process, or an answer, was not as it should be.
    """
    async with AsyncExitStack() as stack:
        servers: list[Process] = []
        places: list[list[str]] = []
        for number in range(1, SERVERS + 1):
            joined = [word for known in places for word in ("--join", known[0])]
            words = ("kv", "serve", "--port", 0, "--count", ACTORS, *joined)
            server = await stack.enter_async_context(open_command(f"server {number}", *words))
            await server.address()
            servers.append(server)
            places.append(await _addresses(server))
        everywhere = [address for addresses in places for address in addresses]
        screen.say(f"{SERVERS} servers with {ACTORS} query actors each, all joined.")
        actors = [
            await stack.enter_async_context(kv.open_client([address])) for address in everywhere
        ]
        held = await _put_everywhere(screen, actors)
        held |= await _cut_off(screen, servers[-1], actors)
        await _play(screen, everywhere, actors, held)
        for server in servers:
            await server.stop()
        screen.say("SIGTERM: all three ended with status 0.")


async def _addresses(server: Process) -> list[str]:
    """Return where a server answers clients, and read the rest of its first lines."""
    words = (await server.line()).split()
    await server.line()  # the description
    return words[-1].split(",")


async def _put_everywhere(
    screen: Screen, actors: Sequence[kv.EventualNamespace]
) -> dict[bytes, bytes]:
    """Put keys through all query actors in turn, and wait until each of them has them all."""
    held = {b"key/%d" % number: b"%d" % number**2 for number in range(KEYS)}
    start = REAL_HOST.clock.now()
    turn = itertools.cycle(actors)
    for key, value in held.items():
        await _put(next(turn), key, value)
    put = REAL_HOST.clock.now()
    await _converge(actors, held)
    seconds, more = put - start, REAL_HOST.clock.now() - put
    screen.say(
        f"{KEYS} keys put through {len(actors)} actors in {seconds:.1f} s; {more:.1f} s later"
        " each of them has all."
    )
    return held


async def _cut_off(
    screen: Screen, server: Process, actors: Sequence[kv.EventualNamespace]
) -> dict[bytes, bytes]:
    """Let one server hear nothing while others are written to; return what is to come of it."""
    here, there = actors[0], actors[-1]
    await _put(there, CONTESTED, b"before the cut")
    server.pause()
    screen.say(f"{server.name} is cut off: it hears nothing, and is not heard.")
    await _put(here, CONTESTED, b"during the cut")
    during = {b"cut/%d" % number: b"there" for number in range(KEYS // 10)}
    for key, value in during.items():
        await _put(here, key, value)
    with REAL_HOST.clock.move_on_after(CUT_SECONDS):
        try:
            await there.get(CONTESTED)
        except StoreUnavailable:
            pass
        else:
            raise StoreFailed(f"{server.name} answered though it was stopped")
    screen.say(f"The others took {len(during) + 1} more writes.")
    server.resume()
    healed = REAL_HOST.clock.now()
    held = {**during, CONTESTED: b"during the cut"}
    await _converge(actors, held)
    seconds = REAL_HOST.clock.now() - healed
    screen.say(f"It hears again: {seconds:.1f} s later all hold the same, and the last writer won.")
    return held


async def _put(actor: kv.EventualNamespace, key: bytes, value: bytes) -> None:
    """Put a key, again where a busy machine has been too slow."""
    with REAL_HOST.clock.fail_after(CONVERGED_SECONDS):
        while True:
            try:
                await actor.put(key, value)
            except StoreUnavailable:
                continue
            return


async def _converge(
    actors: Sequence[kv.EventualNamespace], expected: Mapping[bytes, bytes]
) -> None:
    """Wait until each actor has at least these keys with these values.

    Raises:
        StoreFailed: one has not after a while.
    """
    missing = -1
    with REAL_HOST.clock.move_on_after(CONVERGED_SECONDS):
        for actor in actors:
            while missing := len(expected.items() - (await _all_of(actor)).items()):
                await REAL_HOST.clock.sleep(LOOK_SECONDS)
    if missing:
        raise StoreFailed(f"after {CONVERGED_SECONDS:.0f} s an actor lacks {missing} keys")


async def _all_of(actor: kv.EventualNamespace) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    after, more = None, True
    try:
        while more:
            page = await actor.list(after=after)
            found |= {entry.key: entry.value for entry in page.entries}
            after, more = max(found, default=b""), page.more
    except StoreUnavailable:
        pass  # it has just been woken
    return found


async def _play(
    screen: Screen,
    addresses: Sequence[str],
    actors: Sequence[kv.EventualNamespace],
    held: Mapping[bytes, bytes],
) -> None:
    """Let a script play CMUD on the three servers, and show what it says at the end."""
    with NamedTemporaryFile("w", prefix="trio440-demo-") as script:
        script.write("".join(f"{command}\n" for command in GAME))
        script.flush()
        words = ("--at", ",".join(addresses), "--name", PLAYER, "--script", script.name)
        async with open_command("the game", "cmud", *words, "--seed", 1, "--fast") as game:
            lines = []
            while (line := await game.out.next()) is not None:
                lines.append(line)
            await game.finish()
    screen.say(f"{PLAYER.capitalize()} plays CMUD on all of them, from a script:")
    for line in lines[_last(lines, "stats") :]:
        screen.say(f"   {line}")
    await _converge(actors, held)
    levels = {entry.value for actor in actors for entry in (await actor.list(b"player/")).entries}
    if len(levels) != 1:
        raise StoreFailed(f"the servers disagree about the player's level: {levels}")


def _last(lines: Sequence[str], command: str) -> int:
    """Return where a command of the script was given for the last time."""
    found = [number for number, line in enumerate(lines) if line.endswith(command)]
    if not found:
        raise StoreFailed(f"the game never came to {command!r}")
    return found[-1]
