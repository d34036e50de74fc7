"""linekv at level B: the durable server and its clients, unmodified, on machines that crash.

Clients pipeline requests over simulated TCP, cut at any place, end their side first, go away in
the middle of a line, or do not read for a while. The server is stopped and started now and then,
and whenever its disk has failed.

What the protocol itself imposes and is no fault: nobody learns what became of requests that no
answer followed; a client that does not read loses lines of its answers; the connection of a
machine that lost power is the server's as long as nothing is sent on it.
"""

import random
from contextlib import suppress
from typing import Final

import trio

from trio440.core.host import Host
from trio440.errors import (
    AddressError,
    ConnectionBroken,
    ConnectionRefused,
    InvariantViolated,
    JournalFailed,
    ResolutionFailed,
)
from trio440.linekv import Client, Limits, Server, connect, open_server
from trio440.linekv.protocol import Delete
from trio440.sim.faults import Crash
from trio440.sim.systems.linekv_desk import LINE_LIMIT, SERVER
from trio440.sim.systems.linekv_stage import CLIENTS
from trio440.sim.systems.linekv_watch import DATA, Dialog, Promises, draw_cuts
from trio440.sim.world import World

__all__ = ["tell"]

PORT: Final = 9999
BURST: Final = 8
THINKING_SECONDS: Final = 1.2
PATIENCE_SECONDS: Final = 3.0
"""A client gives a connection up when nothing comes for so long."""
REST_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 0.2
LOOK_SHARE: Final = 0.1
"""For so many answers it is looked at what a power cut would leave."""
OPERATION_SHARE: Final = 0.02
"""The same for operations of the disk."""
CUT_SHARE: Final = 0.6
CUT_EARLY: Final = 500_000
DISK_SLACK_BYTES: Final = 16_000
"""What a snapshot and segments that are half needed may take beside the log."""
FLOOD: Final = 40
"""A careless client asks so often for a list of so many values."""
FLOOD_VALUE: Final = 120


async def tell(world: World) -> None:
    """Let four clients change and read lists, through all that the plan holds."""
    await _Game(world).play()


class _Game:
    """What all programs share."""

    def __init__(self, world: World) -> None:
        rng = world.rng("params")
        self.world = world
        self.promises = Promises(world.now, world.setup.seed)
        self.server: Server | None = None
        """None: it does not serve."""
        self.limits = Limits(
            clients=40,
            line_bytes=LINE_LIMIT,
            queued_messages=rng.choice([20, 500]),
            client_queued_bytes=rng.choice([4_000, 1 << 20]),
            queued_bytes=rng.choice([20_000, 4 << 20]),
            held_bytes=rng.choice([10_000, 1 << 20]),
            log_bytes=rng.choice([2_000, 8_000]),
            flush_seconds=2.0,
        )
        self.starts = 0
        """How often the server has begun to serve."""
        self.received = 0
        """Lines that clients who read got from the server since then."""
        self.dialled = 0
        """Connections that clients have ever tried."""
        self._restart = trio.Event()
        self._rng = world.rng(SERVER)
        self._unfinished = len(CLIENTS)
        self._finished = trio.Event()

    async def play(self) -> None:
        """Play until all clients are done, then judge."""
        world = self.world
        world.note(f"{self.limits}")
        self._plan_power_cuts()
        world.start(SERVER, self._serve)
        for host in CLIENTS:
            world.start(host, _Client(self, host).live)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_now_and_then)
            await self._finished.wait()
            await trio.sleep(self.limits.flush_seconds + 1)
            nursery.cancel_scope.cancel()
        self._judge()

    def finish(self) -> None:
        """Take note that one client has done all that it had to."""
        self._unfinished -= 1
        if not self._unfinished:
            self._finished.set()

    def ask_to_restart(self) -> None:
        """Say that the server is of no use: its disk has failed."""
        self._restart.set()

    # The server and who looks after it

    def _plan_power_cuts(self) -> None:
        """Let the server's power go at an operation of its disk shortly before some crashes."""
        machine, rng = self.world.machines[SERVER], self.world.rng("power")
        for _, fault in self.world.plan.happening:
            if isinstance(fault, Crash) and fault.host == SERVER and rng.random() < CUT_SHARE:
                early = max(0, fault.start - rng.randrange(CUT_EARLY))
                number, after = rng.randrange(6), rng.choice([False, True])

                def cut(number: int = number, after: bool = after) -> None:
                    operation = machine.disk.operations + number
                    machine.disk.cut_power_at(operation, after=after)

                self.world.network.schedule(early, cut)

    def _look_in_operations(self) -> None:
        """Look at the disk in the midst of what is done to it, too."""
        disk = self.world.machines[SERVER].disk
        told = disk.on_operation

        def look(kind: str, text: str) -> None:
            if told is not None:
                told(kind, text)
            self.promises.look_at(disk, share=OPERATION_SHARE)

        disk.on_operation = look

    async def _serve(self, ports: Host) -> None:
        self._look_in_operations()
        address = self.world.machines[SERVER].address
        while True:
            try:
                async with open_server(
                    PORT, host=address, data=DATA, limits=self.limits, ports=ports
                ) as server:
                    self._begin(server)
                    try:
                        await self._use(ports)
                    finally:
                        self.server = None
            except (JournalFailed, _Ended):
                await ports.clock.sleep(REST_SECONDS)
            except AddressError:
                await ports.clock.sleep(REST_SECONDS)

    def _begin(self, server: Server) -> None:
        self.server = server
        self.starts += 1
        self.received = 0
        self._restart = trio.Event()
        self.world.note("serves", SERVER)

    async def _use(self, ports: Host) -> None:
        """Leave after a while, before the faults are over, or when the disk has failed."""
        rng, left = self._rng, (self.world.plan.heal_at - self.world.now()) / 1e6
        seconds = 1_000.0 if left <= 0 else min(left, rng.uniform(1, 12))
        with ports.clock.move_on_after(seconds):
            await self._restart.wait()
        self.world.note("is stopped", SERVER)
        if rng.random() < 0.5:  # noqa: PLR2004 - one way or the other
            raise _Ended

    # What must hold

    async def _look_now_and_then(self) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            if self.server is not None and self.world.machines[SERVER].is_up:
                self._look(self.server)

    def _look(self, server: Server) -> None:
        seen, limits, require = server.statistics(), self.limits, self.world.require
        line = LINE_LIMIT + 200
        bound = limits.queued_bytes + limits.clients * line
        require(seen.queued_bytes <= bound, "queues are bounded", f"{seen}")
        longest = FLOOD * (FLOOD_VALUE + 100)
        require(seen.held_bytes <= limits.held_bytes + longest, "memory is bounded", f"{seen}")
        require(0 <= seen.clients_active <= limits.clients, "clients are counted", f"{seen}")
        served = seen.clients_active + seen.clients_dropped + seen.clients_refused
        require(served <= self.dialled, "clients are counted", f"{seen}")
        require(self.received <= seen.messages_sent, "lines are counted", f"{seen}")
        if not seen.clients_active:
            nothing = not seen.queued_bytes and not seen.held_bytes
            require(nothing, "what is queued is somebody's", f"{seen}")

    def _judge(self) -> None:
        """Require what must hold when all is over."""
        machine, server = self.world.machines[SERVER], self.server
        if server is None:
            raise InvariantViolated("after the faults the server serves", "it does not")
        seen = server.statistics()
        self._look(server)
        machines = self.world.machines
        crashes = sum(machines[host].lives - 1 for host in CLIENTS)
        gone = seen.clients_active <= crashes
        self.world.require(gone, "who has gone is forgotten", f"{seen}")
        contents = self.promises.look_at(machine.disk, share=1.0)
        self.promises.judge()
        tree = machine.disk.image(self._rng, "nothing").tree(DATA)
        used = sum(tree.size(name) for name in tree.list_directory(""))
        bound = 2 * max(self.limits.log_bytes, seen.memory_bytes) + DISK_SLACK_BYTES
        self.world.require(used <= bound, "the log is bounded", f"{used} bytes on disk, {bound}")
        journal = server.journal_statistics()
        if journal is not None and journal.durable_index == journal.last_index:
            keys = sum(bool(values) for values in contents.values())
            self.world.require(seen.keys == keys, "keys are counted", f"{keys}, {seen}")

    def look_at_disk(self) -> None:
        """Look now and then at what a power cut would leave."""
        self.promises.look_at(self.world.machines[SERVER].disk, share=LOOK_SHARE)


class _Ended(Exception):
    """The server is ended at once."""


class _Client:
    """One machine's program: connects again and again, and is answered in the end."""

    def __init__(self, game: _Game, host: str) -> None:
        self._game = game
        self._host = host
        self._connections = 0
        self._finished = False

    async def live(self, ports: Host) -> None:
        """Run one life of the machine."""
        rng = self._game.world.rng(self._host, self._game.world.machines[self._host].lives)
        await ports.clock.sleep(rng.random() / 2)
        while not self._finished:
            with suppress(ConnectionBroken, ConnectionRefused, ResolutionFailed, trio.TooSlowError):
                await self._connect(ports, rng)
            if not self._finished:
                await ports.clock.sleep(rng.random() * REST_SECONDS)

    async def _connect(self, ports: Host, rng: random.Random) -> None:
        game = self._game
        seconds = PATIENCE_SECONDS * rng.randint(1, 3)
        left = (game.world.plan.heal_at - game.world.now()) / 1e6
        if left > 0:  # a connection that the faults have spoiled is given up soon after them
            seconds = min(seconds, left + 1)
        with ports.clock.move_on_after(seconds):
            game.dialled += 1
            async with connect(SERVER, PORT, ports=ports) as client:
                self._connections += 1
                dialog = game.promises.connect(self._host, self._connections, rng)
                use = _Use(game, dialog, client, ports, rng)
                if game.world.now() >= game.world.plan.heal_at:
                    await use.last_words(game.promises.old_keys(self._host))
                    self._finish()
                else:
                    await use.some_words(game.promises.old_keys(self._host)[-3:])

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._game.finish()


class _Use:
    """What a client does with one connection."""

    def __init__(
        self, game: _Game, dialog: Dialog, client: Client, ports: Host, rng: random.Random
    ) -> None:
        self._game = game
        self._dialog = dialog
        self._client = client
        self._ports = ports
        self._rng = rng
        self._starts = game.starts

    async def last_words(self, keys: list[bytes]) -> None:
        """Write once more, and look at everything that this client ever wrote."""
        dialog = self._dialog
        for _ in range(BURST):
            await self._send(dialog.draw_request())
        for key in keys:
            await self._send(dialog.get(key))
        await self._hear_all()

    async def some_words(self, looks: list[bytes]) -> None:
        """Send bursts of requests and be answered; then go, in one way or another."""
        rng, dialog = self._rng, self._dialog
        for _ in range(rng.randint(1, 5)):
            if rng.random() < 0.2:  # noqa: PLR2004 - the log is to grow, the store is not
                await self._send(dialog.fill(FLOOD, FLOOD_VALUE))
                await self._send(dialog.change(Delete(dialog.log.key)))
            lines = [dialog.draw_request(looks) for _ in range(rng.randint(1, BURST))]
            await self._send(b"".join(lines))
            await self._hear_all(rng.choice([0, 0, 2]))
            await self._ports.clock.sleep(rng.random() * THINKING_SECONDS)
            if self._game.world.now() >= self._game.world.plan.heal_at:
                break
        match rng.randrange(7):
            case 0:
                await self._hear_to_the_end()
            case 1:
                await self._send(dialog.draw_half_line())
                await self._hear_to_the_end()
            case 2:
                await self._send(dialog.draw_half_line())
            case 3:
                await self._send(dialog.endless_line(LINE_LIMIT))
                await self._hear_to_the_end(half_close=False)
            case 4:
                await self._be_careless()
            case 5:
                await self._send(b"".join(dialog.draw_request() for _ in range(BURST)))
            case _:
                await self._hear_all()

    async def _send(self, data: bytes) -> None:
        for piece in draw_cuts(self._rng, data):
            await self._client.send(piece)
            if self._rng.random() < 0.1:  # noqa: PLR2004 - now and then
                await self._ports.clock.sleep(self._rng.random() * REST_SECONDS)

    async def _hear_all(self, but: int = 0) -> None:
        """Read until at most so many answers are owed."""
        while self._dialog.owed > but:
            if not await self._hear():
                raise ConnectionBroken(SERVER)

    async def _hear(self) -> bool:
        """Read a line; False at the end.

        Raises:
            trio.TooSlowError: nothing came for long.
            ConnectionBroken: the connection broke, or the server is of no more use.
        """
        game, dialog = self._game, self._dialog
        with self._ports.clock.fail_after(PATIENCE_SECONDS):
            line = await self._client.receive_line()
        if line is None:
            return False
        if self._starts == game.starts and not dialog.careless:
            game.received += 1
        if dialog.receive_line(line):
            game.look_at_disk()
        if dialog.refused:
            game.ask_to_restart()
            raise ConnectionBroken(SERVER)
        return True

    async def _hear_to_the_end(self, *, half_close: bool = True) -> None:
        """Have nothing more to say, and read what is owed."""
        began = self._ports.clock.now()
        if half_close:
            await self._client.send_eof()
        while await self._hear():
            pass
        game = self._game
        quick = self._ports.clock.now() - began < game.limits.flush_seconds / 2
        if quick and game.server is not None and self._starts == game.starts and self._dialog.owed:
            shown = f"{self._dialog.name}: {self._dialog.owed} answers are owed"
            raise InvariantViolated("what was asked is answered before the end", shown)

    async def _be_careless(self) -> None:
        """Ask for much and do not read; then read what was queued, and be served again."""
        await self._hear_all()
        dialog, rng = self._dialog, self._rng
        await self._client.send(dialog.fill(FLOOD, FLOOD_VALUE))
        dialog.careless = True
        await self._client.send(b"".join(dialog.get(dialog.log.key) for _ in range(FLOOD)))
        await self._ports.clock.sleep(rng.uniform(0.1, 2))
        while dialog.owed > 1:
            with self._ports.clock.move_on_after(REST_SECONDS) as silence:
                if not await self._hear():
                    raise ConnectionBroken(SERVER)
            if silence.cancelled_caught:
                break
