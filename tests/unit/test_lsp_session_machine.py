"""Two LSP sessions and a bad network: any history at all, checked after every step.

Hypothesis searches for a short history that breaks a rule; random walks go far.
"""

import random

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

from tests.support.session_model import MAX_PAYLOAD
from tests.support.session_pair import BEYOND, PATIENT, SPOILINGS, SessionPair, walk_at_random
from trio440.lsp.params import Limits, Params

EPOCH_LIMITS = [3, PATIENT]
WINDOWS = [1, 2, 5, 10]
BACKOFFS = [0, 1, 2, 5]
UNACKED = [1, 2, 5, 10]
BUFFERS = [1, 300, 1 << 20]
ISNS = [1, 7, 2**31 - 1, 2**32 - 1]

PLACES = st.integers(0, 1000)
SIDES = st.booleans()


class Histories(RuleBasedStateMachine):
    @initialize(
        params=st.builds(
            Params,
            epoch_limit=st.sampled_from(EPOCH_LIMITS),
            window_size=st.sampled_from(WINDOWS),
            max_backoff_interval=st.sampled_from(BACKOFFS),
            max_unacked_messages=st.sampled_from(UNACKED),
        ),
        receive_buffer=st.sampled_from(BUFFERS),
        isn=st.sampled_from(ISNS),
        connected=st.booleans(),
    )
    def begin(self, params: Params, receive_buffer: int, isn: int, connected: bool) -> None:
        self.pair = SessionPair(params, Limits(receive_buffer=receive_buffer), isn)
        if connected:
            self.deliver_all(to_server=True)
            self.deliver_all(to_server=False)

    @rule(
        at_server=SIDES, payloads=st.lists(st.binary(max_size=MAX_PAYLOAD), min_size=1, max_size=12)
    )
    def write(self, at_server: bool, payloads: list[bytes]) -> None:
        self.pair.write(payloads, at_server=at_server)

    @rule(at_server=SIDES, count=st.integers(1, 10))
    def read(self, at_server: bool, count: int) -> None:
        self.pair.read(count, at_server=at_server)

    @precondition(lambda self: self.pair.server is not None)
    @rule(at_server=SIDES, sure=st.integers(0, 4))
    def close(self, at_server: bool, sure: int) -> None:
        if sure == 0:
            self.pair.close(at_server=at_server)

    @rule(at_server=SIDES, count=st.integers(1, 12))
    def tick(self, at_server: bool, count: int) -> None:
        self.pair.tick(count, at_server=at_server)

    @rule(to_server=SIDES, place=PLACES)
    def deliver(self, to_server: bool, place: int) -> None:
        self.pair.deliver(place, to_server=to_server)

    @rule(to_server=SIDES)
    def deliver_all(self, to_server: bool) -> None:
        self.pair.deliver_all(to_server=to_server)

    @rule(to_server=SIDES, place=PLACES)
    def lose(self, to_server: bool, place: int) -> None:
        self.pair.lose(place, to_server=to_server)

    @rule(to_server=SIDES, place=PLACES)
    def double(self, to_server: bool, place: int) -> None:
        self.pair.double(place, to_server=to_server)

    @rule(to_server=SIDES, place=PLACES, how=st.sampled_from(SPOILINGS))
    def spoil(self, to_server: bool, place: int, how: str) -> None:
        self.pair.spoil(place, how, to_server=to_server)

    @rule(to_server=SIDES, place=PLACES)
    def accumulate(self, to_server: bool, place: int) -> None:
        self.pair.accumulate(place, to_server=to_server)

    @rule(to_server=SIDES, beyond=st.sampled_from(BEYOND), acks=st.booleans())
    def forge(self, to_server: bool, beyond: int, acks: bool) -> None:
        self.pair.forge(beyond, to_server=to_server, acks=acks)

    @rule(to_server=SIDES, back=st.integers(0, 20))
    def repeat(self, to_server: bool, back: int) -> None:
        self.pair.repeat(back, to_server=to_server)

    @rule(isn=st.sampled_from(ISNS))
    def ask_again(self, isn: int) -> None:
        self.pair.ask_again(isn)

    @invariant()
    def everything_is_read_once_and_in_order(self) -> None:
        self.pair.check_order()

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.finish()


def test_any_history() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=30, deadline=None))


@pytest.mark.campaign
def test_many_histories() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=1500, deadline=None))


def walk(seed: int) -> None:
    rng = random.Random(seed)
    params = Params(
        rng.choice([*EPOCH_LIMITS, PATIENT, PATIENT]),
        2000,
        rng.choice(WINDOWS),
        rng.choice(BACKOFFS),
        rng.choice(UNACKED),
    )
    pair = SessionPair(params, Limits(receive_buffer=rng.choice(BUFFERS)), rng.choice(ISNS))
    walk_at_random(pair, rng, 200)
    if rng.random() < 0.5:
        pair.close(at_server=rng.random() < 0.5)
        walk_at_random(pair, rng, 100)
    pair.finish()


@pytest.mark.parametrize("seed", range(30))
def test_random_walks(seed: int) -> None:
    walk(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("thousand", range(5))
def test_many_random_walks(thousand: int) -> None:
    for seed in range(1000 * thousand, 1000 * (thousand + 1)):
        try:
            walk(seed)
        except BaseException as error:
            error.add_note(f"walk({seed})")
            raise
