"""Two LSP sessions on a pipe that loses, doubles, reorders and spoils what it is told to.

Every method is one step of a history; :class:`tests.support.session_model.Side` checks each.
When the history is over, :meth:`SessionPair.finish` stops the faults and checks that everything
that was written arrives within a bounded number of epochs.
"""

import random
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from tests.support.session_model import CONN_ID, LARGEST, MAX_PAYLOAD, Side
from trio440.lsp.message import Ack, CAck, Connect, Data, Message
from trio440.lsp.params import Limits, Params

__all__ = ["BEYOND", "PATIENT", "SPOILINGS", "SessionPair", "walk_at_random"]

PATIENT: Final = 5000
"""An epoch limit that no history here reaches."""
SPOILINGS: Final = ("short", "long", "corrupt", "stray")
BEYOND: Final = (0, 1, 20, 2**62)
"""How far past the window a forged number lies."""


class SessionPair:
    """A client and, once a Connect has arrived, a server; towards each a bag of messages."""

    def __init__(self, params: Params, limits: Limits, isn: int) -> None:
        self.client = Side(params, limits, isn, is_server=False)
        self.server: Side | None = None
        self.patient = params.epoch_limit == PATIENT
        self._draining = False
        self._bags: dict[bool, list[Message]] = {True: self.client.pump(), False: []}
        assert self._bags[True] == [Connect(isn)]

    # What users do

    def write(self, payloads: Iterable[bytes], *, at_server: bool) -> None:
        if side := self._side(at_server):
            for payload in payloads:
                self._bags[not at_server] += side.write(payload)

    def read(self, count: int, *, at_server: bool) -> None:
        if side := self._side(at_server):
            for _ in range(count):
                side.take_unread()

    def close(self, *, at_server: bool) -> None:
        side = self._side(at_server)
        if side and side.connected:
            self._bags[not at_server] += side.close()

    # What time and the network do

    def tick(self, count: int, *, at_server: bool) -> None:
        """Let epochs pass; only one at a time where silence kills soon."""
        if side := self._side(at_server):
            for _ in range(count if self.patient else 1):
                self._bags[not at_server] += side.tick()

    def deliver(self, place: int, *, to_server: bool) -> None:
        if bag := self._bags[to_server]:
            self._arrive(bag.pop(place % len(bag)), to_server=to_server)

    def deliver_all(self, *, to_server: bool) -> None:
        bag, self._bags[to_server] = self._bags[to_server], []
        for message in bag:
            self._arrive(message, to_server=to_server)

    def lose(self, place: int, *, to_server: bool) -> None:
        if bag := self._bags[to_server]:
            del bag[place % len(bag)]

    def double(self, place: int, *, to_server: bool) -> None:
        if bag := self._bags[to_server]:
            bag.append(bag[place % len(bag)])

    def spoil(self, place: int, how: str, *, to_server: bool) -> None:
        """Change a message, but not the handshake: that has nothing to tell right from wrong."""
        if bag := self._bags[to_server]:
            message = bag[place % len(bag)]
            if message not in {Connect(self.client.isn), Ack(CONN_ID, self.client.isn)}:
                bag[place % len(bag)] = spoiled(message, how)

    def accumulate(self, place: int, *, to_server: bool) -> None:
        """Let a peer acknowledge cumulatively where it may: when all below has arrived."""
        bag, sender = self._bags[to_server], self._side(not to_server)
        if bag and sender:
            message = bag[place % len(bag)]
            if isinstance(message, Ack) and sender.isn < message.seq_num < sender.expected:
                bag[place % len(bag)] = CAck(message.conn_id, message.seq_num)

    def forge(self, beyond: int, *, to_server: bool, acks: bool) -> None:
        """Say what no honest peer says: Data beyond the window, Acks of what was never sent."""
        side = self._side(to_server)
        if side and side.connected:
            number = side.expected + side.params.window_size + beyond
            forgery = Ack(CONN_ID, number) if acks else Data.of(CONN_ID, number, b"forged")
            if not acks or number > side.isn + len(side.written):
                self._arrive(forgery, to_server=to_server)

    def repeat(self, back: int, *, to_server: bool) -> None:
        """Send Data again that was delivered long ago."""
        side, peer = self._side(to_server), self._side(not to_server)
        number = side.expected - 1 - back if side else 0
        if side and peer and side.connected and number > side.isn:
            data = Data.of(CONN_ID, number, peer.written[number - side.isn - 1])
            self._arrive(data, to_server=to_server)

    def ask_again(self, isn: int) -> None:
        """Let another Connect arrive from the client's address."""
        if self.server is not None:
            self._arrive(Connect(isn), to_server=True)

    # What must hold

    def check_order(self) -> None:
        """Everything is read once and in order."""
        if self.server is not None:
            for reader, writer in ((self.client, self.server), (self.server, self.client)):
                assert reader.read == writer.written[: len(reader.read)]

    def finish(self) -> None:
        """Stop the faults: everything written arrives, or its writer knows that it is alone."""
        self._draining = True
        for _ in range(self._epochs_to_deliver()):
            self._flow()
        self.check_order()
        if self.server is None:
            assert self.client.session.over, "nothing was lost any more, and it did not connect"
            return
        self._check_delivery(self.client, self.server)
        self._check_delivery(self.server, self.client)
        if not self.patient:
            for _ in range(self.client.params.epoch_limit):
                self._flow()
            assert self.client.session.over is self.server.session.over

    def _epochs_to_deliver(self) -> int:
        """Bound the epochs until everything arrives.

        Each outstanding message goes out again within ``max_backoff_interval`` + 1 epochs, and
        what waits behind it follows at once. A receive buffer too small for early messages may
        refuse all but the next one, and each next one may be due last.
        """
        params, limits = self.client.params, self.client.limits
        roomy = limits.receive_buffer >= params.window_size * LARGEST
        backlog = max(side.unacknowledged for side in (self.client, self.server) if side)
        return 2 + (1 if roomy else backlog) * (params.max_backoff_interval + 1)

    def _check_delivery(self, writer: Side, reader: Side) -> None:
        if not (writer.session.over or reader.session.over):
            assert writer.unacknowledged == 0
            assert reader.closed or reader.read == writer.written
        elif self.patient:
            assert writer.closed or reader.closed, "lost without a reason"

    def _flow(self) -> None:
        """Read and deliver until nothing is under way; then let an epoch pass."""
        for side in (self.client, self.server):
            while side and side.session.readable:
                side.take_unread()
        while self._bags[True] or self._bags[False]:
            for to_server in (True, False):
                self.deliver_all(to_server=to_server)
        for at_server in (True, False):
            self.tick(1, at_server=at_server)

    def _side(self, at_server: bool) -> Side | None:
        return self.server if at_server else self.client

    def _arrive(self, message: Message, *, to_server: bool) -> None:
        if to_server and self.server is None:
            if isinstance(message, Connect):
                one = self.client
                self.server = Side(one.params, one.limits, message.seq_num, is_server=True)
                self._bags[False] += self.server.pump()
            return
        side = self._side(to_server)
        assert side is not None
        self._bags[not to_server] += side.deliver(message)
        while self._draining and side.session.readable:
            side.take_unread()


def spoiled(message: Message, how: str) -> Message:
    """Change a message as a network might, leaving it well formed."""
    if not isinstance(message, Connect) and how == "stray":
        return attrs.evolve(message, conn_id=CONN_ID + 1)
    if isinstance(message, Data) and how == "long":
        return attrs.evolve(message, payload=message.payload + b"tail")
    if isinstance(message, Data) and message.payload:
        if how == "short":
            return attrs.evolve(message, payload=message.payload[:-1])
        first = message.payload[0] ^ 1
        return attrs.evolve(message, payload=bytes([first]) + message.payload[1:])
    return message


def walk_at_random(pair: SessionPair, rng: random.Random, steps: int) -> None:
    """Take steps that keep the windows busy, out of order and often full."""

    def payloads() -> list[bytes]:
        sizes = [rng.choice([0, 1, MAX_PAYLOAD]) for _ in range(rng.randint(1, 12))]
        return [rng.randbytes(size) for size in sizes]

    moves: list[tuple[int, Callable[[bool, int], None]]] = [
        (30, lambda side, _: pair.write(payloads(), at_server=side)),
        (20, lambda side, place: pair.read(place % 10, at_server=side)),
        (15, lambda side, _: pair.tick(rng.choice([1, 1, 1, 3, 12]), at_server=side)),
        (90, lambda side, place: pair.deliver(place, to_server=side)),
        (10, lambda side, _: pair.deliver_all(to_server=side)),
        (15, lambda side, place: pair.lose(place, to_server=side)),
        (15, lambda side, place: pair.double(place, to_server=side)),
        (10, lambda side, place: pair.spoil(place, rng.choice(SPOILINGS), to_server=side)),
        (5, lambda side, place: pair.accumulate(place, to_server=side)),
        (5, lambda side, _: pair.forge(rng.choice(BEYOND), to_server=side, acks=False)),
        (5, lambda side, _: pair.forge(rng.choice(BEYOND), to_server=side, acks=True)),
        (5, lambda side, place: pair.repeat(place % 20, to_server=side)),
        (5, lambda _, place: pair.ask_again(place)),
    ]
    weights = [weight for weight, _ in moves]
    for _, move in rng.choices(moves, weights, k=steps):
        move(rng.random() < 0.5, rng.randrange(1000))
        pair.check_order()
