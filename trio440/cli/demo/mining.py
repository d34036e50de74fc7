"""The mining part: a server, three miners and two clients as processes, on a bad network.

Every datagram passes the server's port, and there one in ten gets lost in each direction. One
miner is killed while it holds work. Both answers are checked against those of one engine alone.
"""

import re
from contextlib import AsyncExitStack
from typing import Final

import attrs
import trio

from trio440.cli.demo.processes import Process, ProcessFailed, open_command
from trio440.cli.demo.screen import Screen
from trio440.cli.progress import rate
from trio440.core import REAL_HOST
from trio440.mining import Found, HashEngine, NonceRange, hash_of
from trio440.mining.engines import EngineName, measure_rate, open_engine

__all__ = ["show"]

LOST_PERCENT: Final = 10
PROTOCOL: Final = ("--epoch-millis", 200, "--epoch-limit", 10)
"""A silent miner counts as lost after two seconds."""

ENGINE: Final[EngineName] = "auto"
"""What the miners, and whoever checks their answers, compute with."""

SHARES: Final = (0.5, 0.3, 0.15)
"""The speeds of the miners, as shares of what one core can do."""
VICTIM: Final = 1

REPORT_SECONDS: Final = 0.5
HUGE_SECONDS: Final = 5.0
"""How long all miners would take for the huge job."""
SMALL_SECONDS: Final = 0.25

SMALL_AT: Final = 0.05
"""How much of the huge job is done when the small one is asked for, at least."""
KILL_AT: Final = 0.2
"""How much of it is done when the victim dies, unless the small job is answered earlier.

So early that its loss is noticed before the others, idle near the end, copy what it held.
"""

PROGRESS: Final = re.compile(
    r"job \d+ '(?P<text>[^']*)': (?P<percent>[\d.]+) % done, (?P<detail>.*)"
)


@attrs.frozen
class _Job:
    """A request, and when it was asked."""

    text: str
    max_nonce: int

    @property
    def size(self) -> int:
        return self.max_nonce + 1


@attrs.frozen
class _Answer:
    """What a client printed, and after how long."""

    found: Found
    seconds: float


async def show(screen: Screen) -> None:
    """Show the part on ``screen``.

    Raises:
        ProcessFailed: a process, or an answer, was not as it should be.
    """
    async with open_engine(ENGINE, lanes=1) as engine:
        speed = await measure_rate(engine)
        screen.say(f"This machine does {rate(speed)} on one core, with the engine {engine.name}.")
    limits = [share * speed for share in SHARES]
    huge = _Job("a huge job", int(HUGE_SECONDS * sum(limits)))
    small = _Job("a small job", int(SMALL_SECONDS * sum(limits)))
    async with AsyncExitStack() as processes:
        server = await processes.enter_async_context(
            open_command(
                "the server",
                *("mine", "server", "--port", 0, "--drop", LOST_PERCENT),
                *("--report-seconds", REPORT_SECONDS, *PROTOCOL),
            )
        )
        address = "{}:{}".format(*await server.address())
        screen.say(f"A server listens on {address} and loses {LOST_PERCENT} % of its datagrams.")
        miners = [
            await processes.enter_async_context(
                open_command(
                    f"miner {number}",
                    *("mine", "worker", address, "--engine", ENGINE, "--lanes", 1),
                    *("--limit", limit, *PROTOCOL),
                )
            )
            for number, limit in enumerate(limits)
        ]
        for miner in miners:
            screen.say(f"{miner.name} is ready: {await miner.notes.next()}")
        show = _Show(screen, server, miners[VICTIM])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show.watch)
            answers = await _ask(screen, show, address, huge, small)
            screen.progress(huge.text, 1.0, "answered")
            if not show.killed:
                raise ProcessFailed("the huge job was done before a miner could be killed")
            await server.stop()
        _tell(screen, show.summary, answers)
    await _check(screen, {huge: answers[0], small: answers[1]})


async def _ask(
    screen: Screen, show: "_Show", address: str, huge: _Job, small: _Job
) -> list[_Answer]:
    """Let two clients ask, the small job amid the huge one; return their answers."""
    answers: dict[str, _Answer] = {}

    async def ask(job: _Job) -> None:
        words = ("mine", "client", address, job.text, job.max_nonce, *PROTOCOL)
        async with open_command(f"the client of {job.text}", *words) as client:
            start = REAL_HOST.clock.now()
            screen.say(f"A client asks for {job.text}: {job.size:,} nonces.")
            line = await client.line()
            seconds = REAL_HOST.clock.now() - start
            screen.say(f"{job.text}, after {seconds:.1f} s: {line}")
            match = re.fullmatch(r"Result (\d+) (\d+)", line)
            if match is None:
                raise ProcessFailed(f"{client.name} got no result")
            answers[job.text] = _Answer(Found(int(match[1]), int(match[2])), seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, huge)
        await show.under_way.wait()
        await ask(small)
        show.kill()
    return [answers[huge.text], answers[small.text]]


class _Show:
    """Watches what the server says of its jobs, and kills a miner in the midst of them."""

    def __init__(self, screen: Screen, server: Process, victim: Process) -> None:
        self.killed = False
        self.summary = ""
        self.under_way = trio.Event()
        self._screen = screen
        self._server = server
        self._victim = victim

    async def watch(self) -> None:
        """Read to the end of what the server says."""
        while (line := await self._server.notes.next()) is not None:
            match = PROGRESS.fullmatch(line)
            if line.startswith("jobs: "):
                self.summary = line
            if match is None:
                continue
            share = float(match["percent"]) / 100
            self._screen.progress(match["text"], share, match["detail"])
            if match["text"] == "a huge job":
                self._act(share)

    def _act(self, share: float) -> None:
        """Do what is due when ``share`` of the huge job is done."""
        if share >= SMALL_AT:
            self.under_way.set()
        if share >= KILL_AT:
            self.kill()

    def kill(self) -> None:
        """Kill the victim, once."""
        if not self.killed:
            self.killed = True
            self._screen.say(f"SIGKILL for {self._victim.name}, in the midst of its work.")
            self._victim.kill()


def _tell(screen: Screen, summary: str, answers: list[_Answer]) -> None:
    """Say what the server has seen.

    Raises:
        ProcessFailed: it did not see what was done to it.
    """
    names = ("answered", "assigned", "reassigned", "copied", "resent")
    counts = {name: _count(rf"(\d+) {name}", summary) for name in names}
    hashes = _count(r"hashes: (\d+)", summary)
    if counts["answered"] != len(answers):
        raise ProcessFailed(f"the server said {summary!r}")
    if not counts["reassigned"]:
        raise ProcessFailed("no chunk of the killed miner was given to another")
    seconds = max(answer.seconds for answer in answers)
    screen.say(
        f"The server answered {counts['answered']} jobs in {counts['assigned']} chunks;"
        f" {counts['reassigned']} of the killed miner's went to others,"
        f" {counts['copied']} were copied near the end."
    )
    screen.say(
        f"It resent {counts['resent']} datagrams. The miners did {hashes:,} hashes in"
        f" {seconds:.1f} s, {rate(hashes / seconds)}."
    )


def _count(pattern: str, summary: str) -> int:
    match = re.search(pattern, summary)
    return int(match[1]) if match else 0


async def _check(screen: Screen, answers: dict[_Job, _Answer]) -> None:
    """Compute both answers again, with one engine alone.

    Raises:
        ProcessFailed: an answer is another, or the huge job did not wait for the small one.
    """
    screen.say("Now one engine computes both alone.")
    async with open_engine(ENGINE) as engine:
        for job, answer in answers.items():
            await _check_one(engine, job, answer.found)
    screen.say("Both answers are right.")
    huge, small = answers.values()
    if small.seconds >= huge.seconds:
        raise ProcessFailed("the small job waited for the huge one")


async def _check_one(engine: HashEngine, job: _Job, found: Found) -> None:
    expected = await engine.search(job.text, NonceRange(0, job.max_nonce))
    if found != expected or found.hash != hash_of(job.text, found.nonce):
        raise ProcessFailed(f"{job.text}: got {found}, alone it is {expected}")
