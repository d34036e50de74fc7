"""Two LSP sessions on a pipe that loses, doubles, reorders and spoils: any history at all.

The rules are checked by :mod:`tests.support.session_model` after every step; when the faults
stop, everything that was written must arrive within a bounded number of epochs.
"""

from typing import Final

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.session_model import CONN_ID, MAX_PAYLOAD, Side
from trio440.lsp.message import Ack, CAck, Connect, Data, Message
from trio440.lsp.params import Limits, Params

PATIENT: Final = 500
"""An epoch limit that no history here reaches."""

PARAMS = st.builds(
    Params,
    epoch_limit=st.sampled_from([3, PATIENT]),
    window_size=st.sampled_from([1, 2, 5, 10]),
    max_backoff_interval=st.sampled_from([0, 1, 2, 5]),
    max_unacked_messages=st.sampled_from([1, 2, 5, 10]),
)
LIMITS = st.builds(Limits, receive_buffer=st.sampled_from([1, 300, 1 << 20]))
ISNS = st.sampled_from([1, 7, 2**31 - 1, 2**32 - 1])
PAYLOADS = st.binary(max_size=MAX_PAYLOAD)
PLACES = st.integers(0, 1000)
TO_SERVER = st.booleans()


class Histories(RuleBasedStateMachine):
    """A client and, once a Connect has arrived, a server; towards each a bag of messages."""

    client: Side
    server: Side | None

    @initialize(params=PARAMS, limits=LIMITS, isn=ISNS)
    def begin(self, params: Params, limits: Limits, isn: int) -> None:
        self.client = Side(params, limits, isn, is_server=False)
        self.server = None
        self.draining = False
        self.bags: dict[bool, list[Message]] = {True: self.client.pump(), False: []}
        assert self.bags[True] == [Connect(isn)]

    # What users do

    @rule(at_server=st.booleans(), payloads=st.lists(PAYLOADS, min_size=1, max_size=12))
    def write(self, at_server: bool, payloads: list[bytes]) -> None:
        if side := self.side(at_server):
            for payload in payloads:
                self.bags[not at_server] += side.write(payload)

    @rule(at_server=st.booleans(), count=st.integers(1, 10))
    def read(self, at_server: bool, count: int) -> None:
        if side := self.side(at_server):
            for _ in range(count):
                side.take_unread()

    @rule(at_server=st.booleans(), sure=st.integers(0, 9))
    def close(self, at_server: bool, sure: int) -> None:
        side = self.side(at_server)
        if side and side.connected and sure == 0:
            self.bags[not at_server] += side.close()

    # What time and the network do

    @rule(at_server=st.booleans(), count=st.integers(1, 12))
    def tick(self, at_server: bool, count: int) -> None:
        for _ in range(count if self.client.params.epoch_limit == PATIENT else 1):
            self.let_an_epoch_pass(at_server=at_server)

    @rule(to_server=TO_SERVER, place=PLACES)
    def deliver(self, to_server: bool, place: int) -> None:
        if bag := self.bags[to_server]:
            self.arrive(bag.pop(place % len(bag)), to_server=to_server)

    @rule(to_server=TO_SERVER)
    def deliver_all(self, to_server: bool) -> None:
        self.let_all_arrive(to_server=to_server)

    @rule(to_server=TO_SERVER, place=PLACES)
    def lose(self, to_server: bool, place: int) -> None:
        if bag := self.bags[to_server]:
            del bag[place % len(bag)]

    @rule(to_server=TO_SERVER, place=PLACES)
    def double(self, to_server: bool, place: int) -> None:
        if bag := self.bags[to_server]:
            bag.append(bag[place % len(bag)])

    @rule(
        to_server=TO_SERVER,
        place=PLACES,
        how=st.sampled_from(["short", "long", "corrupt", "stray"]),
    )
    def spoil(self, to_server: bool, place: int, how: str) -> None:
        if bag := self.bags[to_server]:
            message = bag[place % len(bag)]
            if message not in {Connect(self.client.isn), Ack(CONN_ID, self.client.isn)}:
                bag[place % len(bag)] = spoiled(message, how)

    @rule(to_server=TO_SERVER, place=PLACES)
    def accumulate(self, to_server: bool, place: int) -> None:
        """Let a peer acknowledge cumulatively where it may: when all below has arrived."""
        bag, sender = self.bags[to_server], self.side(not to_server)
        if bag and sender:
            message = bag[place % len(bag)]
            if isinstance(message, Ack) and sender.isn < message.seq_num < sender.expected:
                bag[place % len(bag)] = CAck(message.conn_id, message.seq_num)

    @rule(to_server=TO_SERVER, beyond=st.sampled_from([0, 1, 20, 2**62]), acks=st.booleans())
    def forge(self, to_server: bool, beyond: int, acks: bool) -> None:
        """Say what no honest peer says: Data beyond the window, Acks of what was never sent."""
        side = self.side(to_server)
        if side and side.connected:
            number = side.expected + side.params.window_size + beyond
            forgery = Ack(CONN_ID, number) if acks else Data.of(CONN_ID, number, b"forged")
            if not acks or number > side.isn + len(side.written):
                self.arrive(forgery, to_server=to_server)

    @rule(to_server=TO_SERVER, back=st.integers(0, 20))
    def repeat(self, to_server: bool, back: int) -> None:
        """Send Data again that was delivered long ago."""
        side, peer = self.side(to_server), self.side(not to_server)
        number = side.expected - 1 - back if side else 0
        if side and peer and side.connected and number > side.isn:
            data = Data.of(CONN_ID, number, peer.written[number - side.isn - 1])
            self.arrive(data, to_server=to_server)

    # What must hold

    @precondition(lambda self: self.server is not None)
    @invariant()
    def everything_is_read_once_and_in_order(self) -> None:
        assert self.server is not None
        for reader, writer in ((self.client, self.server), (self.server, self.client)):
            assert reader.read == writer.written[: len(reader.read)]

    def teardown(self) -> None:
        """Stop the faults: everything written arrives, or its writer knows that it is alone."""
        self.draining = True
        for _ in range(2 + 12 * (self.client.params.max_backoff_interval + 1)):
            self.flow()
        if self.server is None:
            assert self.client.session.over, "nothing was lost any more, and it did not connect"
            return
        self.check_delivery(self.client, self.server)
        self.check_delivery(self.server, self.client)
        for _ in range(self.client.params.epoch_limit):
            self.flow()
        assert self.client.session.over is self.server.session.over

    def check_delivery(self, writer: Side, reader: Side) -> None:
        if not (writer.session.over or reader.session.over):
            assert writer.unacknowledged == 0
            assert reader.closed or reader.read == writer.written
        elif writer.params.epoch_limit == PATIENT:
            assert writer.closed or reader.closed, "lost without a reason"

    def flow(self) -> None:
        """Read and deliver until nothing is under way; then let an epoch pass."""
        for side in (self.client, self.server):
            while side and side.session.readable:
                side.take_unread()
        while self.bags[True] or self.bags[False]:
            for to_server in (True, False):
                self.let_all_arrive(to_server=to_server)
        for at_server in (True, False):
            self.let_an_epoch_pass(at_server=at_server)

    # The pipe

    def side(self, at_server: bool) -> Side | None:
        return self.server if at_server else self.client

    def let_an_epoch_pass(self, *, at_server: bool) -> None:
        if side := self.side(at_server):
            self.bags[not at_server] += side.tick()

    def let_all_arrive(self, *, to_server: bool) -> None:
        bag, self.bags[to_server] = self.bags[to_server], []
        for message in bag:
            self.arrive(message, to_server=to_server)

    def arrive(self, message: Message, *, to_server: bool) -> None:
        if to_server and self.server is None:
            if isinstance(message, Connect):
                one = self.client
                self.server = Side(one.params, one.limits, message.seq_num, is_server=True)
                self.bags[False] += self.server.pump()
            return
        side = self.side(to_server)
        assert side is not None
        self.bags[not to_server] += side.deliver(message)
        while self.draining and side.session.readable:
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


def test_any_history() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=100, deadline=None))


@pytest.mark.campaign
def test_many_histories() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=1500, deadline=None))
