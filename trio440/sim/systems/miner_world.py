"""The miner at level B: its shells, unmodified, on machines that crash, pause and are cut off.

Only the hash engine is the world's own: a search takes as long as its miner's speed wants, by
the clock of its machine, and gives the true answer.
"""

from typing import Final

import attrs
import trio

from trio440 import lsp
from trio440.core.host import Host
from trio440.errors import ConnectFailed, InvariantViolated, MiningError, ServerLost
from trio440.mining.client import find_least_hash
from trio440.mining.hashing import Found
from trio440.mining.jobs import CHUNKS_IN_HAND
from trio440.mining.policy import OLDEST_SHARE
from trio440.mining.ranges import NonceRange
from trio440.mining.server import MiningServer, open_mining_server
from trio440.mining.worker import work
from trio440.sim.systems.lsp_watch import is_harmless
from trio440.sim.systems.miner_cast import (
    CLIENTS,
    MINERS,
    SERVER,
    TEXTS,
    Wish,
    draw_crew,
    draw_nonces,
    draw_wishes,
    is_calm,
)
from trio440.sim.systems.miner_watch import BASES, HANDS_MICROS, SIZES, true_hash, true_least
from trio440.sim.world import World

__all__ = ["tell"]

PORT: Final = 9999
LOOK_SECONDS: Final = 0.2
REST_SECONDS: Final = 0.3
FOREVER_SECONDS: Final = 3600.0
LEAVING_SHARE: Final = 0.15
"""So many requests are given up by their clients."""
LATE_SECONDS: Final = (1.0, 7.0)
"""How much too late a late miner may be."""
HUGE: Final = 8
"""A job is huge beside one of a so much smaller number of nonces."""


async def tell(world: World) -> None:
    """Let miners of all kinds work for clients, through all that the plan holds."""
    await _Game(world).play()


@attrs.define(eq=False)
class _Ask:
    """One request that was sent, to be judged when it is answered."""

    number: int
    size: int
    asked_at: int
    ahead: int
    """Nonces of all that was open when it was asked, and its own."""
    largest: int
    """Nonces of the largest job that was open when it was asked."""


class _Game:
    """What all programs share."""

    def __init__(self, world: World) -> None:
        rng = world.rng("params")
        self.world = world
        self.calm = is_calm(world.plan)
        self.crew = draw_crew(rng, calm=self.calm)
        self.wishes = draw_wishes(rng, self.crew.speed, calm=self.calm)
        self.params = lsp.Params(
            epoch_limit=4,
            epoch_millis=rng.choice([400, 500]),
            window_size=rng.choice([1, 4, 8]),
            max_backoff_interval=rng.choice([0, 1]),
            max_unacked_messages=rng.choice([1, 4, 8]),
        )
        self.nonsense = 0
        """Results that were told and are none."""
        self._server: MiningServer | None = None
        self._asks = 0
        self._answers = 0
        self._open: dict[int, _Ask] = {}
        self._done: dict[int, int] = {}
        """How far each job has come, by its number."""
        self._unfinished = len(CLIENTS)
        self._finished = trio.Event()

    async def play(self) -> None:
        """Play until all clients have all their answers."""
        world = self.world
        world.note(f"{self.params}")
        world.network.admit_spoiled = is_harmless
        world.start(SERVER, self._serve)
        for host in MINERS:
            vice = self.crew.vices[host]
            world.note(f"{self.crew.speeds[host]} nonces/s {vice}".rstrip(), host)
            world.start(host, _Miner(self, host).live)
        for host in CLIENTS:
            world.start(host, _Client(self, host, self.wishes[host]).live)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_now_and_then)
            await self._finished.wait()
            nursery.cancel_scope.cancel()

    async def _serve(self, ports: Host) -> None:
        address = self.world.machines[SERVER].address
        async with open_mining_server(
            PORT, host=address, params=self.params, sizes=SIZES, ports=ports
        ) as self._server:
            await ports.clock.sleep(FOREVER_SECONDS)

    # What clients tell

    def finish(self) -> None:
        """Take note that one client has all its answers."""
        self._unfinished -= 1
        if not self._unfinished:
            self._finished.set()

    def ask(self, size: int) -> _Ask:
        """Take note that a client asks for the least of ``size`` hashes."""
        self._asks += 1
        sizes = [ask.size for ask in self._open.values()]
        ask = _Ask(self._asks, size, self.world.now(), sum(sizes) + size, max(sizes, default=0))
        self._open[ask.number] = ask
        return ask

    def forget(self, ask: _Ask) -> None:
        """Take note that nobody waits for an answer any more."""
        self._open.pop(ask.number, None)

    def answer(self, ask: _Ask, text: str, nonces: NonceRange, found: Found) -> None:
        """Judge an answer."""
        self._answers += 1
        require, least = self.world.require, true_least(text, nonces)
        shown = f"{found} for {text} over {nonces}, not {least}"
        require(found == least, "the least hash is found", shown)
        if self.calm:
            self._judge_waiting(ask)

    def _judge_waiting(self, ask: _Ask) -> None:
        """Demand what the order of jobs promises where nothing goes wrong."""
        speed, waited = self.crew.speed, self.world.now() - ask.asked_at
        patience = HANDS_MICROS + 2 * self.params.epoch_millis * 1000
        shown = f"{ask.size} nonces waited {waited / 1e6:.3f} s at {speed} a second"
        bound = OLDEST_SHARE * ask.ahead / speed * 1e6 + patience
        self.world.require(waited <= bound, "nobody starves", shown)
        if ask.number == self._asks and ask.largest >= HUGE * ask.size:
            bound = OLDEST_SHARE * ask.size / speed * 1e6 + patience
            self.world.require(waited <= bound, "a small job passes a huge one", shown)

    # What must hold

    async def _look_now_and_then(self) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            if self._server is not None:
                self._look(self._server)

    def _look(self, server: MiningServer) -> None:
        require, seen = self.world.require, server.statistics()
        shown = f"{seen.jobs_answered} of {self._asks}, {self._answers} received"
        right = self._answers <= seen.jobs_answered <= self._asks
        require(right, "each job is answered once", shown)
        shown = f"{seen.miners_disconnected} disconnected, {self.nonsense} said nonsense"
        require(seen.miners_disconnected <= self.nonsense, "honest miners are kept", shown)
        for job in server.progress():
            done = self._done.get(job.number, 0)
            shown = f"{job}, {done} were done"
            require(done <= job.done < job.nonces.size, "what is done stays done", shown)
            self._done[job.number] = job.done
            if job.best is not None:
                right = job.best.nonce in job.nonces
                right = right and true_hash(job.text, job.best.nonce) == job.best.hash
                require(right, "only hashes are believed", shown)


class _Miner:
    """One machine's program: works, and joins again when the server is lost."""

    def __init__(self, game: _Game, host: str) -> None:
        self.host = host
        self._game = game
        self._chunks = 0
        self._told_nonsense = False
        """On its present connection."""
        self._searched_since = 0

    async def live(self, ports: Host) -> None:
        """Run one life of the machine."""
        game = self._game
        while True:
            self._told_nonsense, self._searched_since = False, 0
            engine = _Engine(self, ports)
            try:
                await work(SERVER, PORT, engine, params=game.params, ports=ports)
            except (ServerLost, ConnectFailed):
                await ports.clock.sleep(REST_SECONDS)

    async def search(self, text: str, nonces: NonceRange, ports: Host) -> Found:
        """Search, each time as long as it should take but once."""
        crew, rng = self._game.crew, ports.rng
        if self._told_nonsense:  # the server has it in hand for ever, or has hung up
            self._searched_since += 1
            kept = self._searched_since < CHUNKS_IN_HAND
            self._game.world.require(kept, "nonsense is disconnected", f"{self.host}: {nonces}")
        self._chunks += 1
        vice = crew.vices[self.host] if self._chunks == crew.tempers[self.host] else ""
        await ports.clock.sleep(nonces.size / crew.speeds[self.host])
        if vice == "hang":
            await ports.clock.sleep(FOREVER_SECONDS)
        if vice == "late":
            await ports.clock.sleep(rng.uniform(*LATE_SECONDS))
        found = true_least(text, nonces)
        if vice == "nonsense":
            self._game.nonsense += 1
            self._told_nonsense = True
            return Found(found.hash ^ 1, found.nonce)
        return found


class _Engine:
    """The hash engine of a simulated miner."""

    name: Final = "simulated"
    lanes: Final = 1

    def __init__(self, miner: _Miner, ports: Host) -> None:
        self._miner = miner
        self._ports = ports

    async def search(self, text: str, nonces: NonceRange) -> Found:
        """Return the least hash when its time has come."""
        return await self._miner.search(text, nonces, self._ports)


class _Client:
    """One machine's program: asks for one thing after another, each until it is answered."""

    def __init__(self, game: _Game, host: str, wishes: list[Wish]) -> None:
        self._game = game
        self._host = host
        self._texts = 0
        rng = game.world.rng(host, "wishes")
        last = Wish(game.world.plan.heal_at + rng.randrange(500_000), rng.randint(1, 40))
        self._wishes = [*wishes, last]
        self._rng = rng

    async def live(self, ports: Host) -> None:
        """Run one life of the machine."""
        world = self._game.world
        while self._wishes:
            wish = self._wishes[0]
            await ports.clock.sleep(max(wish.when - world.now(), 0) / 1e6)
            if world.now() < wish.when:
                continue  # its clock runs fast
            is_last = len(self._wishes) == 1
            may_leave = not is_last and not self._game.calm
            if may_leave and self._rng.random() < LEAVING_SHARE:
                with ports.clock.move_on_after(self._rng.random() * 2):
                    await self._ask(wish.size, ports)
                self._wishes.pop(0)
            elif await self._ask(wish.size, ports):
                self._wishes.pop(0)
            if not is_last and world.now() >= world.plan.heal_at:
                del self._wishes[:-1]  # what came too late is let go
        self._game.finish()

    async def _ask(self, size: int, ports: Host) -> bool:
        """Ask, and return whether there was an answer."""
        game = self._game
        self._texts = (self._texts + 1) % TEXTS
        text = f"{self._host} {self._texts}"
        nonces = draw_nonces(self._rng, size, BASES[self._texts % len(BASES)])
        ask = game.ask(size)
        try:
            found = await find_least_hash(
                SERVER, PORT, text, nonces, params=game.params, ports=ports
            )
            game.answer(ask, text, nonces, found)
        except (ServerLost, ConnectFailed):
            return False
        except MiningError as error:
            raise InvariantViolated("each answer is its client's own", f"{text}: {error}") from None
        else:
            return True
        finally:
            game.forget(ask)
