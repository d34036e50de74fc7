"""The kv part: three servers of the store, a partition that heals, and a game on them.

The servers are in this process, so that the network between them can be cut: nothing else than a
port is in the way of their datagrams and connections. Their clients, and the game, which is a
process, reach either side. What each replica holds is checked at every step: that nothing crosses
the cut, that all hold the same some time after it, and that the store says what the game says.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from tempfile import NamedTemporaryFile
from typing import Final

import attrs

from trio440 import kv
from trio440.cli.demo.partition import Partition
from trio440.cli.demo.processes import open_command
from trio440.cli.demo.screen import Screen
from trio440.core import REAL_HOST
from trio440.errors import StoreUnavailable, Trio440Error

__all__ = ["StoreFailed", "show"]

SERVERS: Final = 3
ACTORS: Final = 2
KEYS: Final = 300
CONTESTED: Final = b"contested"
CONVERGED_SECONDS: Final = 15.0
"""Who was away is asked every 10 s what it has; this is that and some more."""
LOOK_SECONDS: Final = 0.05
CUT_SECONDS: Final = 2.0
"""How long a cut lasts after the last write; uncut, all would have that within one."""
GAME: Final = ("mine 4", "shop", "buy cpu", "mine 2", "move fence", "look", "stats", "inv", "quit")
PLAYER: Final = "ada"


class StoreFailed(Trio440Error):
    """The store, or the game on it, did not do what it should."""


@attrs.frozen
class Replica:
    """One query actor, as a client of it alone sees it."""

    server: int
    address: str
    space: kv.EventualNamespace

    async def put(self, key: bytes, value: bytes) -> None:
        """Put a key, again where a busy machine has been too slow."""
        with REAL_HOST.clock.fail_after(CONVERGED_SECONDS):
            while True:
                try:
                    await self.space.put(key, value)
                except StoreUnavailable:
                    continue
                return

    async def held(self, prefix: bytes = b"") -> dict[bytes, bytes]:
        """Return what it holds."""
        found: dict[bytes, bytes] = {}
        after, more = None, True
        while more:
            page = await self.space.list(prefix, after=after)
            found |= {entry.key: entry.value for entry in page.entries}
            after, more = max(found, default=b""), page.more
        return found


async def show(screen: Screen) -> None:
    """Show the part on ``screen``.

    Raises:
        ProcessFailed, StoreFailed: a process, or an answer, was not as it should be.
    """
    async with AsyncExitStack() as stack:
        partition = Partition()
        replicas = await _open_servers(stack, partition)
        screen.say(f"{SERVERS} servers, {ACTORS} query actors each: {len(replicas)} replicas.")
        held = await _put_everywhere(screen, replicas)
        held |= await _part(screen, partition, replicas)
        await _play(screen, replicas, held)


async def _open_servers(stack: AsyncExitStack, partition: Partition) -> list[Replica]:
    """Open servers that know each other, and a client of each query actor."""
    stores: list[kv.Store] = []
    replicas: list[Replica] = []
    for server in range(1, SERVERS + 1):
        known = tuple(store.description for store in stores)
        config = kv.StoreConfig(count=ACTORS, descriptions=known)
        opening = kv.open_store(config, ports=partition.host(server))
        stores.append(store := await stack.enter_async_context(opening))
        for address in store.offers["default"].addresses:
            client = await stack.enter_async_context(kv.open_client([address]))
            replicas.append(Replica(server, address, client))
    return replicas


async def _put_everywhere(screen: Screen, replicas: Sequence[Replica]) -> dict[bytes, bytes]:
    """Put keys through all replicas in turn, and wait until each of them has them all."""
    held = {b"key/%d" % number: b"%d" % number**2 for number in range(KEYS)}
    start = REAL_HOST.clock.now()
    turn = itertools.cycle(replicas)
    for key, value in held.items():
        await next(turn).put(key, value)
    put = REAL_HOST.clock.now()
    await _converge(replicas, held)
    seconds, more = put - start, REAL_HOST.clock.now() - put
    screen.say(
        f"{KEYS} keys put, through each in turn, in {seconds:.1f} s; {more:.1f} s later each has"
        " all of them."
    )
    return held


async def _part(
    screen: Screen, partition: Partition, replicas: Sequence[Replica]
) -> dict[bytes, bytes]:
    """Cut the network, write on both sides, and heal it; return what comes of it."""
    apart = SERVERS
    sides = {
        side: [replica for replica in replicas if (replica.server == apart) == (side == "there")]
        for side in ("here", "there")
    }
    count = KEYS // 10
    written = {
        side: {b"%s/%d" % (side.encode(), number): b"" for number in range(count)} for side in sides
    }
    screen.say(f"The network is cut: servers 1 and 2 are here, server {apart} is there.")
    partition.cut({apart})
    await sides["here"][0].put(CONTESTED, b"here")
    for side, of_side in sides.items():
        for key, value in written[side].items():
            await of_side[0].put(key, value)
    await sides["there"][0].put(CONTESTED, b"there, later")
    await REAL_HOST.clock.sleep(CUT_SECONDS)
    for side, value in (("here", b"here"), ("there", b"there, later")):
        await _check_side(sides[side], {**written[side], CONTESTED: value}, [*written, "contested"])
        screen.say(
            f"   {side + ':':7}{count} keys are written, {side}/0 to {side}/{count - 1}, and"
            f' contested = "{value.decode()}"'
        )
    screen.say(f"   After {CUT_SECONDS:.0f} s each side still holds its own writes, and no other.")
    partition.heal()
    healed = REAL_HOST.clock.now()
    held = {**written["here"], **written["there"], CONTESTED: b"there, later"}
    await _converge(replicas, held)
    screen.say(
        f"It is healed: {REAL_HOST.clock.now() - healed:.1f} s later, of {CONVERGED_SECONDS:.0f}"
        f" that it may take, all {len(replicas)} replicas hold the writes of both sides,"
    )
    screen.say('and contested = "there, later" everywhere: the last writer has won.')
    return held


async def _check_side(
    replicas: Sequence[Replica], expected: Mapping[bytes, bytes], prefixes: Iterable[str]
) -> None:
    """Check that replicas on one side of a cut hold nothing from the other, and all of their own.

    Raises:
        StoreFailed: one of them does not.
    """
    for replica in replicas:
        for prefix in prefixes:
            held = await replica.held(prefix.encode())
            if crossed := sorted(held.items() - expected.items()):
                key = crossed[0][0].decode()
                raise StoreFailed(f"{key} has come to server {replica.server}, across the cut")
    await _converge(replicas, expected)


async def _converge(replicas: Sequence[Replica], expected: Mapping[bytes, bytes]) -> None:
    """Wait until each replica has at least these keys with these values.

    Raises:
        StoreFailed: one has not after a while.
    """
    missing = -1
    with REAL_HOST.clock.move_on_after(CONVERGED_SECONDS):
        for replica in replicas:
            while missing := len(expected.items() - (await replica.held()).items()):
                await REAL_HOST.clock.sleep(LOOK_SECONDS)
    if missing:
        raise StoreFailed(f"after {CONVERGED_SECONDS:.0f} s a replica lacks {missing} keys")


async def _play(screen: Screen, replicas: Sequence[Replica], held: Mapping[bytes, bytes]) -> None:
    """Let a script play CMUD on the three servers, and show how it ends, there and in the store."""
    everywhere = ",".join(replica.address for replica in replicas)
    with NamedTemporaryFile("w", prefix="trio440-demo-") as script:
        script.write("".join(f"{command}\n" for command in GAME))
        script.flush()
        words = ("--at", everywhere, "--name", PLAYER, "--script", script.name)
        async with open_command("the game", "cmud", *words, "--seed", 1, "--fast") as game:
            lines = []
            while (line := await game.out.next()) is not None:
                lines.append(line)
            await game.finish()
    screen.say(f"{PLAYER.capitalize()} plays CMUD on all of them, from a script. At its end:")
    for line in lines[_last(lines, "stats") :]:
        screen.say(f"   {line}")
    found = await _state(replicas[0])
    await _converge(replicas, {**held, **found})
    said = "\n".join(lines)
    coins, cpus = (int(found[key % PLAYER.encode()]) for key in (b"balance/%s", b"comp/%s/cpu"))
    if f" {coins}  coin" not in said or f" {cpus}  cpu" not in said:
        raise StoreFailed(f"the game did not speak of the {coins} coins and {cpus} cpu it has kept")
    screen.say(f"In the store, the same at all {len(replicas)} replicas:")
    rows = [f"{key.decode()} = {value.decode()}" for key, value in sorted(found.items())]
    screen.say(f"   {', '.join(rows)}")


async def _state(replica: Replica) -> dict[bytes, bytes]:
    """Return all that a replica holds of the player."""
    kinds = (b"player/%s", b"loc/%s", b"balance/%s", b"comp/%s/")
    found: dict[bytes, bytes] = {}
    for kind in kinds:
        found |= await replica.held(kind % PLAYER.encode())
    return found


def _last(lines: Sequence[str], command: str) -> int:
    """Return where a command of the script was given for the last time."""
    found = [number for number, line in enumerate(lines) if line.endswith(command)]
    if not found:
        raise StoreFailed(f"the game never came to {command!r}")
    return found[-1]
