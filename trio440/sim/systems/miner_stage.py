"""The miner at level A: its scheduler on a stage, its books compared after every input.

Connections are LSP's in outline, see :mod:`trio440.sim.systems.miner_pipe`: a heartbeat each
epoch in both directions; a side that hears nothing for some epochs gives the connection up.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from trio440.errors import BadMessage, InvariantViolated
from trio440.mining.messages import Join, Message, Request, Result, decode_untrusted, encode
from trio440.mining.scheduler import Disconnect, Scheduler, Send
from trio440.sim.stage import Stage
from trio440.sim.systems.miner_cast import (
    CLIENTS,
    MINERS,
    SECOND,
    SERVER,
    TEXTS,
    Wish,
    draw_crew,
    draw_nonces,
    draw_wishes,
    is_calm,
)
from trio440.sim.systems.miner_pipe import EPOCH, EPOCH_LIMIT, Link, Pipe
from trio440.sim.systems.miner_watch import BASES, SIZES, SPAN, Books, Calm, true_hash, true_least

__all__ = ["play"]

MILLI: Final = 1_000
LOOK: Final = 250 * MILLI
"""How often it is looked whether all is done."""
MAX_WAITING: Final = 3
"""A client of a stream asks for no more at a time."""


def play(stage: Stage) -> None:
    """Let miners of all kinds work for clients, through all that the plan holds."""
    game = _Game(stage)
    until = 0
    while not game.is_finished and until < stage.duration:
        until = min(until + LOOK, stage.duration)
        stage.run(until)
    game.require_liveness()


class _Server:
    """The scheduler and its connections."""

    def __init__(self, game: "_Game") -> None:
        self.scheduler = Scheduler(SIZES)
        self._game = game
        self._links: dict[str, Link] = {}
        self._ids: dict[int, Link] = {}
        self._dead: set[str] = set()
        self._last_id = 0
        self._alarm_at: int | None = None
        self._rings_at: int | None = None
        """The same moment in the stage's time."""
        stage = game.stage
        stage.on_datagram(SERVER, self._hear)
        self._tick_in_an_epoch()

    def _hear(self, data: bytes, source: str) -> None:
        if self._game.stage.altered:
            return
        name, _, numbered = data.partition(b" ")
        stream = name.decode()
        link = self._links.get(stream)
        if link is None and stream not in self._dead:
            self._last_id += 1
            link = self._links[stream] = Link(self._last_id, source, stream)
            self._ids[link.conn_id] = link
            self._beat(link)
        if link is None:
            return
        link.silent = 0
        for message in self._game.pipe(stream, SERVER).take(numbered) if numbered else ():
            if stream in self._links:
                self._take(message, link)

    def _take(self, data: bytes, link: Link) -> None:
        conn_id, now, books = link.conn_id, self._now(), self._game.books
        try:
            message = decode_untrusted(data)
        except BadMessage as error:
            self.scheduler.reject(conn_id, str(error), now)
            self._carry_out(nonsense=conn_id)
            return
        nonsense = False
        if isinstance(message, Join):
            books.joined(conn_id)
        elif isinstance(message, Result):
            nonsense = not books.answered(conn_id, message, now)
        elif link.host in MINERS:
            nonsense = True
        else:
            books.asked(conn_id, message, now)
        self.scheduler.receive(conn_id, message, now)
        self._carry_out(nonsense=conn_id if nonsense else None)

    def _tick_in_an_epoch(self) -> None:
        due = self._game.stage.now + EPOCH
        self._game.stage.at(due, lambda: self._tick(due), host=SERVER)

    def _tick(self, due: int) -> None:
        for link in list(self._links.values()):
            link.silent += 1
            if link.silent >= EPOCH_LIMIT:
                self._drop(link)
                self._game.books.gone(link.conn_id)
                self.scheduler.disconnected(link.conn_id, self._now())
                self._carry_out()
            else:
                self._beat(link)
        if due == self._game.stage.now:  # else it has stood still, and its alarm is still to come
            books = self._game.books
            books.settled(self.scheduler, self._now(), on_time=True, just_handed=False)
        self._tick_in_an_epoch()

    def _beat(self, link: Link) -> None:
        stage = self._game.stage
        stage.send(SERVER, link.host, link.stream.encode())
        for datagram in self._game.pipe(link.stream, link.host).overdue(stage.now):
            stage.send(SERVER, link.host, datagram)

    def _drop(self, link: Link) -> None:
        del self._links[link.stream], self._ids[link.conn_id]
        self._dead.add(link.stream)

    def _carry_out(self, nonsense: int | None = None) -> None:
        game, now = self._game, self._now()
        on_time = self._rings_at is None or game.stage.now < self._rings_at
        actions = self.scheduler.actions()
        if nonsense is not None and not (
            actions and isinstance(actions[0], Disconnect) and actions[0].conn_id == nonsense
        ):
            raise InvariantViolated("nonsense is disconnected", f"connection {nonsense}")
        for action in actions:
            link = self._ids.get(action.conn_id)
            if link is None:
                raise InvariantViolated("who is gone is left alone", f"{action}")
            if not isinstance(action, Send):
                if action.conn_id != nonsense:
                    raise InvariantViolated("honest miners are kept", f"{link.host}: {action}")
                self._drop(link)
                game.books.gone(link.conn_id)
                continue
            if isinstance(action.message, Request):
                game.books.handed(action.conn_id, action.message, now, on_time=on_time)
            elif isinstance(action.message, Result):
                game.books.replied(action.conn_id, action.message, now)
            datagram = game.pipe(link.stream, link.host).put(encode(action.message), game.stage.now)
            game.stage.send(SERVER, link.host, datagram)
        game.books.settled(self.scheduler, now, on_time=False, just_handed=True)
        self._set_alarm()

    def _set_alarm(self) -> None:
        due = self.scheduler.next_deadline()
        if due == self._alarm_at:
            return
        if due is None:
            self._alarm_at = self._rings_at = None
            return
        self._alarm_at = due
        wait = max(due - self._now(), 1)
        self._rings_at = self._game.stage.now + wait
        self._game.later(SERVER, wait, lambda: self._ring(due))

    def _ring(self, due: int) -> None:
        if due == self._alarm_at:
            self._alarm_at = self._rings_at = None
            self.scheduler.on_deadline(self._now())
            self._carry_out()

    def _now(self) -> int:
        return self._game.stage.clock(SERVER)


class _Peer:
    """A host that keeps a connection to the server, and makes a new one when it is lost."""

    def __init__(self, game: "_Game", host: str) -> None:
        self.game = game
        self.host = host
        self.rng = game.stage.rng(host)
        self.stream: str | None = None
        """The name of the present connection."""
        self.is_open = False
        self._connections = 0
        self._silent = 0
        stage = game.stage
        stage.on_datagram(host, self._hear)
        stage.on_crash(host, self.lose)
        stage.on_restart(host, self._live)
        game.later(host, self.rng.randrange(500 * MILLI), self._live)

    def opened(self) -> None:
        """The server has answered."""

    def lost(self) -> None:
        """The connection is gone."""

    def got(self, message: Message) -> None:
        """The server has sent something."""

    def say(self, data: bytes) -> None:
        """Send bytes to the server."""
        assert self.stream is not None  # noqa: S101 - callers look
        game = self.game
        datagram = game.pipe(self.stream, SERVER).put(data, game.stage.now)
        game.stage.send(self.host, SERVER, datagram)

    def lose(self) -> None:
        """Give the connection up, without a word."""
        self.stream, self.is_open = None, False
        self.lost()

    def _live(self) -> None:
        if self.stream is None:
            self._connections += 1
            self._silent = 0
            self.stream = f"{self.host}/{self._connections}"
        else:
            self._silent += 1
            if self._silent >= EPOCH_LIMIT:
                self.lose()
        if self.stream is not None:
            stage = self.game.stage
            stage.send(self.host, SERVER, self.stream.encode())
            for datagram in self.game.pipe(self.stream, SERVER).overdue(stage.now):
                stage.send(self.host, SERVER, datagram)
        self.game.later(self.host, EPOCH, self._live)

    def _hear(self, data: bytes, _source: str) -> None:
        name, _, numbered = data.partition(b" ")
        stream = self.stream
        if stream is None or self.game.stage.altered or name != stream.encode():
            return
        self._silent = 0
        if not self.is_open:
            self.is_open = True
            self.opened()
        for message in self.game.pipe(stream, self.host).take(numbered) if numbered else ():
            self.got(decode_untrusted(message))


class _Miner(_Peer):
    """Hashes one chunk after another, or misbehaves."""

    def __init__(self, game: "_Game", host: str) -> None:
        self._todo: deque[Request] = deque()
        self._chunks = 0
        super().__init__(game, host)

    def opened(self) -> None:
        """Join."""
        self.say(encode(Join()))

    def lost(self) -> None:
        """Forget the work."""
        self._todo.clear()

    def got(self, message: Message) -> None:
        """Take in a chunk."""
        self.game.stage.require(isinstance(message, Request), "miners get Requests", f"{message}")
        assert isinstance(message, Request)  # noqa: S101 - required above
        self._todo.append(message)
        if len(self._todo) == 1:
            self._begin()

    def _begin(self) -> None:
        crew, request, stream = self.game.crew, self._todo[0], self.stream
        self._chunks += 1
        vice = crew.vices[self.host] if self._chunks == crew.tempers[self.host] else ""
        if vice == "hang":
            return
        micros = request.nonces.size * SECOND // crew.speeds[self.host]
        if vice == "late":
            micros += self.rng.randrange(SECOND, 7 * SECOND)
        data = self._nonsense(request) if vice == "nonsense" else b""
        if not data:
            found = true_least(request.text, request.nonces)
            data = encode(Result(found.hash, found.nonce))

        def end() -> None:
            if self.stream == stream:
                self._todo.popleft()
                self.say(data)
                if self._todo:
                    self._begin()

        self.game.later(self.host, micros, end)

    def _nonsense(self, request: Request) -> bytes:
        lower, upper = request.nonces.lower, request.nonces.upper
        hash_ = true_least(request.text, request.nonces).hash
        beside = upper + 1 if (upper + 1) % SPAN and upper + 1 < BASES[-1] else lower
        kinds = (
            encode(Result(hash_ ^ 1, lower)),
            encode(Result(true_hash(request.text, beside) or 0, beside ^ 2**63)),
            encode(request),
            b"nonsense",
        )
        return self.rng.choice(kinds)


class _Client(_Peer):
    """Asks, waits for the answers, and asks again when its connection is lost."""

    def __init__(self, game: "_Game", host: str, wishes: list[Wish]) -> None:
        self._wanted: deque[int] = deque()
        """Sizes of what is not yet asked for."""
        self._asked: deque[Request] = deque()
        self._texts = 0
        self._finishing = False
        super().__init__(game, host)
        for wish in wishes:
            game.stage.at(wish.when, self._wish(wish.size))
        heal_at = game.stage.plan.heal_at
        last = heal_at + self.rng.randrange(500 * MILLI)
        game.stage.at(last, self._wish(self.rng.randint(1, 40), last=True))
        if not game.calm and not self.rng.randrange(3):
            game.stage.at(self.rng.randrange(SECOND, heal_at), self._leave, host=host)

    @property
    def is_finished(self) -> bool:
        """Whether all answers have come, the last one included."""
        return self._finishing and not self._wanted and not self._asked

    def opened(self) -> None:
        """Ask for everything."""
        self._ask()

    def lost(self) -> None:
        """What was not answered is to be asked for again."""
        self._wanted.extendleft(request.nonces.size for request in reversed(self._asked))
        self._asked.clear()

    def got(self, message: Message) -> None:
        """Look at an answer."""
        require = self.game.stage.require
        require(self._asked, "each job is answered once", f"{self.host}: {message}")
        request = self._asked.popleft()
        least = true_least(request.text, request.nonces)
        right = isinstance(message, Result) and (message.hash, message.nonce) == least
        shown = f"{self.host}: {message} for {request}"
        require(right, "each answer is its client's own", shown)

    def _wish(self, size: int, *, last: bool = False) -> Callable[[], None]:
        def wish() -> None:
            self._finishing |= last
            if last or len(self._wanted) + len(self._asked) < MAX_WAITING:
                self._wanted.append(size)
                if self.is_open:
                    self._ask()

        return wish

    def _ask(self) -> None:
        while self._wanted:
            text, base = self._draw_text()
            request = Request(text, draw_nonces(self.rng, self._wanted.popleft(), base))
            self._asked.append(request)
            self.say(encode(request))

    def _draw_text(self) -> tuple[str, int]:
        """Return a text that no open job has, and the base of its nonces."""
        texts = [f"{self.host} {(self._texts + i) % TEXTS}" for i in range(1, TEXTS + 1)]
        asked = {request.text for request in self._asked}
        free = (text for text in texts if text not in asked and not self.game.books.is_used(text))
        text = next(free, texts[0])
        self._texts = int(text.rpartition(" ")[2])
        return text, BASES[self._texts % len(BASES)]

    def _leave(self) -> None:
        """Go away without a word, and forget what was asked for."""
        self._asked.clear()
        self.lose()


class _Game:
    """What server, miners and clients share."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        rng = stage.rng("params")
        self.calm = is_calm(stage.plan)
        self.crew = draw_crew(rng, calm=self.calm)
        self.books = Books(Calm(self.crew.speed) if self.calm else None)
        self._pipes: dict[tuple[str, str], Pipe] = {}
        wishes = draw_wishes(rng, self.crew.speed, calm=self.calm)
        for name in MINERS:
            text = f"{self.crew.speeds[name]} nonces/s {self.crew.vices[name]}"
            stage.note(name, text.rstrip())
        self._server = _Server(self)
        self._miners = [_Miner(self, host) for host in MINERS]
        self._clients = [_Client(self, host, wishes[host]) for host in CLIENTS]

    def later(self, host: str, delay: int, action: Callable[[], None]) -> None:
        """Call ``action`` on a host after a delay in microseconds."""
        self.stage.at(self.stage.now + delay, action, host=host)

    def pipe(self, stream: str, destination: str) -> Pipe:
        """Return one direction of a connection."""
        return self._pipes.setdefault((stream, destination), Pipe(stream))

    @property
    def is_finished(self) -> bool:
        """Whether every client has all its answers."""
        return all(client.is_finished for client in self._clients)

    def require_liveness(self) -> None:
        """Require that every client has its answers when the faults are over."""
        for client in self._clients:
            if not client.is_finished:
                raise InvariantViolated("after the faults everybody is answered", client.host)
