"""LSP at level B: its endpoints, unmodified, on machines that crash, pause and lose datagrams."""

import random
from contextlib import suppress
from typing import Final

import attrs
import trio

from trio440 import lsp
from trio440.core.host import Address, Host
from trio440.errors import BadMessage, InvariantViolated
from trio440.lsp.message import Message, decode_untrusted
from trio440.sim.faults import Pause
from trio440.sim.systems.lsp_stage import CLIENTS, SERVER, draw_limits, draw_params
from trio440.sim.systems.lsp_watch import Ledger, Wire, is_harmless
from trio440.sim.world import World

__all__ = ["tell"]

PORT: Final = 9999
BURST: Final = 12
LAST_BURST: Final = 10
THINKING_SECONDS: Final = 2.5
MAX_PAYLOAD: Final = 60
REST_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 0.2
"""How often it is looked whether connections that must be lost are."""
CLOCK_ERROR: Final = 0.02
"""More than any clock of a simulated machine drifts."""


async def tell(world: World) -> None:
    """Let five clients write bursts and read them back, through all that the plan holds."""
    await _Game(world).play()


@attrs.define(eq=False)
class _Told:
    """What a client's connection was used for, to be judged at the end."""

    name: str
    host: str
    flushed: bool = False
    """Whether it was closed in order: then everything written must have been read."""


class _Game:
    def __init__(self, world: World) -> None:
        rng = world.rng("params")
        self.world = world
        self.params = draw_params(rng)
        self.limits = draw_limits(rng)
        self.ledger = Ledger()
        self.connections: list[_Told] = []
        self._server_machine = world.machines[SERVER]
        self._place: Address = (self._server_machine.address, PORT)
        self._wire = Wire(self.params, self._place)
        self._server: lsp.Server | None = None
        self._names: dict[int, str] = {}
        """Connections by their ids at the server."""
        self._laziness = rng.choice([0.0, 0.0, 0.2])
        """How often the server rests before it reads on."""
        self._unfinished = len(CLIENTS)
        self._finished = trio.Event()

    async def play(self) -> None:
        """Play to the end, then judge."""
        world = self.world
        world.note(f"{self.params}")
        world.network.admit_spoiled = is_harmless
        world.network.on_send = self._sent
        world.network.on_arrive = self._arrived
        world.start(SERVER, self._serve)
        for host in CLIENTS:
            world.start(host, _Client(self, host).live)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_now_and_then)
            await self._finished.wait()
            nursery.cancel_scope.cancel()
        await trio.sleep(1)  # what the server has acknowledged, it may still have to read
        for told in self.connections:
            left = self.ledger.unread((told.name, told.host))
            if told.flushed and left:
                raise InvariantViolated(
                    "what was flushed was delivered", f"{told.name}: {left} messages"
                )

    def finish(self) -> None:
        """Take note that one client has done all that it had to."""
        self._unfinished -= 1
        if not self._unfinished:
            self._finished.set()

    # The server

    async def _serve(self, ports: Host) -> None:
        async with lsp.open_server(
            PORT,
            host=self._server_machine.address,
            params=self.params,
            limits=self.limits,
            ports=ports,
        ) as server:
            self._server = server
            while True:
                try:
                    conn_id, payload = await server.read()
                except lsp.ConnectionLost:
                    continue
                name = payload.split(b" ", 1)[0].decode()
                self._names.setdefault(conn_id, name)
                self.ledger.read((self._names[conn_id], name.partition("/")[0]), payload)
                self.ledger.wrote((name, SERVER), payload)
                with suppress(lsp.UnknownConnection):  # lost since, which the next read tells
                    server.write(conn_id, payload)
                if ports.rng.random() < self._laziness:
                    await ports.clock.sleep(REST_SECONDS)

    # What must hold

    def _sent(self, source: Address, destination: Address, data: bytes) -> None:
        message = _decoded(data)
        if message is None:
            raise InvariantViolated("only messages are sent", repr(data[:80]))
        self._wire.sent(self.world.now(), source, destination, message)

    def _arrived(self, source: Address, destination: Address, data: bytes) -> None:
        message = _decoded(data)
        if message is not None:
            self._wire.arrived(self.world.now(), source, destination, message)

    async def _look_now_and_then(self) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            if self._server is not None and not self._server_machine.is_paused:
                self._look(self._server)

    def _look(self, server: lsp.Server) -> None:
        now = self.world.now()
        for conn_id, address in self._wire.served():
            try:
                seen = server.connection_statistics(conn_id)
            except lsp.UnknownConnection:
                continue
            if seen.receive_buffered > 2 * self.limits.receive_buffer:
                held = f"connection {conn_id} holds {seen.receive_buffered} bytes"
                raise InvariantViolated("the receive buffer is bounded", held)
            sign = self._wire.last_sign(self._place, address, conn_id)
            if seen.state == "open" and sign is not None:
                self.require_noticed(SERVER, sign, now, f"connection {conn_id} is open")

    def require_noticed(self, host: str, sign: int, now: int, shown: str) -> None:
        """Require that the silence since ``sign`` is not too long to go unnoticed."""
        epoch = self.params.epoch_millis * 1000
        allowed = (self.params.epoch_limit + 1) * epoch * (1 + CLOCK_ERROR)
        allowed += self._paused(host, sign, now) + epoch
        if now - sign > allowed:
            silence = f"{host}: {shown} after {(now - sign) / 1e6:.3f} s of silence"
            raise InvariantViolated("a loss is noticed within its bound", silence)

    def require_silence(self, address: Address, conn_id: int) -> None:
        """Require that a client which gave its connection up had reason to."""
        sign = self._wire.last_sign(address, self._place, conn_id)
        epoch = self.params.epoch_millis * 1000
        needed = (self.params.epoch_limit - 1) * epoch * (1 - CLOCK_ERROR)
        silence = self.world.now() - (sign or 0)
        if sign is not None and silence < needed:
            shown = f"{silence / 1e6:.3f} s of silence, {needed / 1e6:.3f} s at least"
            raise InvariantViolated("no connection is given up too early", shown)

    def _paused(self, host: str, start: int, end: int) -> int:
        """Return how long a host has stood still between two moments."""
        pauses = [f for _, f in self.world.plan.happening if isinstance(f, Pause)]
        return sum(
            max(0, min(end, one.end) - max(start, one.start)) for one in pauses if one.host == host
        )


class _Client:
    """One machine's program: connects again and again, and comes through in the end."""

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
            self._connections += 1
            told = _Told(f"{self._host}/{self._connections}", self._host)
            self._game.connections.append(told)
            try:
                await self._use_connection(told, ports, rng)
                told.flushed = True
            except (lsp.ConnectionLost, lsp.ConnectFailed):
                continue

    async def _use_connection(self, told: _Told, ports: Host, rng: random.Random) -> None:
        game = self._game
        async with lsp.connect(
            SERVER, PORT, params=game.params, limits=game.limits, ports=ports
        ) as connection:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, connection)
                try:
                    await self._write_bursts(told, connection, ports, rng)
                except lsp.ConnectionLost:
                    await connection.wait_ended()
                nursery.cancel_scope.cancel()
            if connection.statistics().state == "lost":
                raise lsp.ConnectionLost(connection.conn_id)

    async def _watch(self, connection: lsp.Client) -> None:
        await connection.wait_ended()
        if connection.statistics().state == "lost":
            self._game.require_silence(connection.local_address, connection.conn_id)

    async def _write_bursts(
        self, told: _Told, connection: lsp.Client, ports: Host, rng: random.Random
    ) -> None:
        game, written = self._game, 0
        for _ in range(rng.randint(1, 6)):
            healed = game.world.now() >= game.world.plan.heal_at
            for _ in range(LAST_BURST if healed else rng.randint(1, BURST)):
                written += 1
                payload = b"%s %d " % (told.name.encode(), written)
                payload += rng.randbytes(rng.randrange(MAX_PAYLOAD - len(payload)))
                connection.write(payload)
                game.ledger.wrote((told.name, self._host), payload)
            if not healed and rng.random() < 0.1:  # noqa: PLR2004 - now and then
                return  # with echoes unread
            while game.ledger.read_count((told.name, SERVER)) < written:
                game.ledger.read((told.name, SERVER), await connection.read())
            if healed:
                self._finished = True
                game.finish()
                return
            await ports.clock.sleep(rng.random() * THINKING_SECONDS)


def _decoded(data: bytes) -> Message | None:
    try:
        return decode_untrusted(data)
    except BadMessage:
        return None
