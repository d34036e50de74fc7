"""The rules of LSP on the wire, byte for byte, for either side of a connection.

The other side of each connection is a plain socket that says what Go programs say.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import pytest
import trio

from tests.support.lsp_wire import (
    ISN,
    Rig,
    Role,
    ack,
    cack,
    connect,
    data,
    open_rig,
    wire,
)
from trio440 import lsp

pytestmark = pytest.mark.parametrize("role", ["server", "client"])

WIDE = lsp.Params(epoch_limit=5, epoch_millis=2000, window_size=5, max_unacked_messages=5)


# The sending window


async def test_with_the_defaults_one_message_waits_for_the_other(role: Role) -> None:
    async with open_rig(role) as rig:
        for number in (1, 2, 3):
            rig.ours.write(b"%d" % number)
        assert await rig.hear() == [rig.data(1, b"1")]
        assert await rig.say(rig.ack(1)) == [rig.data(2, b"2")]
        assert await rig.say(rig.ack(2)) == [rig.data(3, b"3")]
        assert await rig.say(rig.ack(3)) == []


async def test_no_number_runs_past_the_window(role: Role) -> None:
    params = lsp.Params(window_size=3, max_unacked_messages=10)
    async with open_rig(role, params) as rig:
        for number in range(1, 11):
            rig.ours.write(b"%d" % number)
        assert await rig.hear() == [rig.data(n, b"%d" % n) for n in (1, 2, 3)]
        assert await rig.say(rig.ack(2), rig.ack(3)) == []
        assert await rig.say(rig.ack(1)) == [rig.data(n, b"%d" % n) for n in (4, 5, 6)]


async def test_an_ack_above_the_oldest_frees_one_of_the_unacknowledged(role: Role) -> None:
    params = lsp.Params(window_size=5, max_unacked_messages=3)
    async with open_rig(role, params) as rig:
        for number in range(1, 11):
            rig.ours.write(b"%d" % number)
        assert await rig.hear() == [rig.data(n, b"%d" % n) for n in (1, 2, 3)]
        assert await rig.say(rig.ack(3)) == [rig.data(4, b"4")]
        assert await rig.say(rig.ack(2)) == [rig.data(5, b"5")]
        assert await rig.say(rig.ack(4)) == []  # 6 lies past the window, which begins at 1
        assert await rig.say(rig.ack(1)) == [rig.data(n, b"%d" % n) for n in (6, 7)]


async def test_what_waits_goes_out_with_the_ack_and_not_with_the_epoch(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        await rig.until(0.25)
        assert await rig.say(rig.ack(1)) == [rig.data(2, b"2")]
        [first, second] = [r for r in rig.peer.network.wire if '"Type":1' in r.data.decode()]
        assert (first.time, second.time) == (rig.opened_at, rig.opened_at + 0.25)


async def test_acks_of_what_was_never_sent_and_of_what_is_acknowledged_mean_nothing(
    role: Role,
) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        assert await rig.hear() == [rig.data(1, b"1")]
        never = [rig.ack(2), rig.ack(99), ack(rig.conn_id, 2**63 - 1), ack(rig.conn_id, ISN)]
        assert await rig.say(*never, rig.heartbeat) == []
        assert await rig.say(rig.ack(1), rig.ack(1)) == [rig.data(2, b"2")]
        assert await rig.say(rig.ack(1)) == []


async def test_a_cumulative_ack_acknowledges_everything_up_to_it(role: Role) -> None:
    params = lsp.Params(window_size=3, max_unacked_messages=3)
    async with open_rig(role, params) as rig:
        for number in range(1, 7):
            rig.ours.write(b"%d" % number)
        assert await rig.hear() == [rig.data(n, b"%d" % n) for n in (1, 2, 3)]
        first = await rig.say(cack(rig.conn_id, ISN + 2))
        assert first == [rig.data(4, b"4"), rig.data(5, b"5")]
        assert await rig.say(cack(rig.conn_id, ISN + 2), cack(rig.conn_id, 0)) == []
        assert await rig.say(cack(rig.conn_id, ISN + 3)) == [rig.data(6, b"6")]


async def test_a_cumulative_ack_beyond_the_last_sent_acknowledges_all_in_flight(
    role: Role,
) -> None:
    params = lsp.Params(window_size=3, max_unacked_messages=3)
    async with open_rig(role, params) as rig:
        for number in range(1, 5):
            rig.ours.write(b"%d" % number)
        assert await rig.hear() == [rig.data(n, b"%d" % n) for n in (1, 2, 3)]
        assert await rig.say(cack(rig.conn_id, 2**62)) == [rig.data(4, b"4")]
        rig.ours.write(b"5")
        assert await rig.hear() == [rig.data(5, b"5")]


# The receiving window


async def test_what_arrived_before_is_acknowledged_again_and_dropped(role: Role) -> None:
    async with open_rig(role) as rig:
        for number in (1, 2):
            for _ in range(3):
                assert await rig.say(rig.data(number, b"%d" % number)) == [rig.ack(number)]
        assert await rig.say(rig.data(1, b"other bytes")) == [rig.ack(1)]
        assert await rig.say(data(rig.conn_id, ISN, b"")) == [ack(rig.conn_id, ISN)]
        assert await rig.readable() == [b"1", b"2"]


async def test_what_is_inside_the_window_is_acknowledged_at_once_and_kept(role: Role) -> None:
    async with open_rig(role, WIDE) as rig:
        for number in (5, 3, 2, 4, 3):
            assert await rig.say(rig.data(number, b"%d" % number)) == [rig.ack(number)]
            assert await rig.readable() == []
        assert rig.ours.statistics().receive_buffered == 4 * (1 + 64)
        assert await rig.say(rig.data(1, b"1")) == [rig.ack(1)]
        assert rig.ours.statistics().received == 5
        assert rig.ours.statistics().duplicates == 1
        assert await rig.readable() == [b"1", b"2", b"3", b"4", b"5"]
        assert rig.ours.statistics().receive_buffered == 0


async def test_what_lies_past_the_window_is_dropped_without_an_ack(role: Role) -> None:
    async with open_rig(role, WIDE) as rig:
        for number in (6, 7, 1000, 2**62):
            assert await rig.say(rig.data(number, b"early")) == []
        assert await rig.say(rig.data(5, b"5")) == [rig.ack(5)]
        assert await rig.say(rig.data(1, b"1")) == [rig.ack(1)]
        assert await rig.say(rig.data(6, b"6")) == [rig.ack(6)]
        assert await rig.say(rig.data(7, b"7")) == []
        assert await rig.readable() == [b"1"]


async def test_a_full_receive_buffer_drops_without_an_ack_and_lives_on(role: Role) -> None:
    limits = lsp.Limits(receive_buffer=3 * (1000 + 64))
    params = lsp.Params(window_size=10, max_unacked_messages=10)
    async with open_rig(role, params, limits) as rig:
        for number in (1, 2, 3):
            assert await rig.say(rig.data(number, bytes(1000))) == [rig.ack(number)]
        assert await rig.say(rig.data(4, bytes(1000))) == []
        assert rig.ours.statistics().dropped == {"receive buffer full": 1}
        assert await rig.until(2.5) == [rig.heartbeat]
        assert await rig.ours.read() == bytes(1000)
        assert await rig.say(rig.data(4, b"room again")) == [rig.ack(4)]
        assert await rig.readable() == [bytes(1000), bytes(1000), b"room again"]


# Epochs


async def test_an_idle_side_sends_a_heartbeat_at_every_tick(role: Role) -> None:
    async with open_rig(role) as rig:
        heard = await rig.live_until(9, 2.0)
        assert heard == [(time, rig.heartbeat) for time in (2.0, 4.0, 6.0, 8.0)]


async def test_acks_do_not_take_the_place_of_a_heartbeat(role: Role) -> None:
    async with open_rig(role) as rig:
        await rig.until(1)
        assert await rig.say(rig.data(1, b"1")) == [rig.ack(1)]
        assert await rig.until(2.5) == [rig.heartbeat]


async def test_data_sent_since_the_last_tick_takes_the_place_of_a_heartbeat(role: Role) -> None:
    async with open_rig(role) as rig:
        await rig.until(1)
        rig.ours.write(b"1")
        assert await rig.say(rig.heartbeat) == [rig.data(1, b"1")]
        assert await rig.say(rig.ack(1)) == []
        assert await rig.until(3) == []
        assert await rig.say(rig.heartbeat) == []
        assert await rig.until(5) == [rig.heartbeat]


SCHEDULES = {
    0: (1, 2, 3, 4, 5),
    1: (1, 3, 5, 7, 9),
    2: (1, 3, 6, 9, 12),
    3: (1, 3, 6, 10, 14, 18),
    4: (1, 3, 6, 11, 16, 21),
    64: (1, 3, 6, 11, 20, 37),
}


@pytest.mark.parametrize(("backoff", "ticks"), SCHEDULES.items())
async def test_resends_follow_the_back_off_of_the_message(
    role: Role, backoff: int, ticks: tuple[int, ...]
) -> None:
    params = lsp.Params(epoch_limit=5, epoch_millis=1000, max_backoff_interval=backoff)
    async with open_rig(role, params) as rig:
        rig.ours.write(b"again")
        heard = await rig.live_until(ticks[-1] + 0.25, 1.0)
        resent = [(float(tick), rig.data(1, b"again")) for tick in ticks]
        idle = [(float(tick), rig.heartbeat) for tick in range(1, ticks[-1]) if tick not in ticks]
        assert heard == sorted(resent + idle)


async def test_each_message_backs_off_by_itself(role: Role) -> None:
    params = lsp.Params(
        epoch_millis=1000, window_size=3, max_backoff_interval=4, max_unacked_messages=3
    )
    async with open_rig(role, params) as rig:
        rig.ours.write(b"1")
        await rig.live_until(1.25, 1.0)
        rig.ours.write(b"2")
        heard = await rig.live_until(7.25, 1.0)
        one, two = rig.data(1, b"1"), rig.data(2, b"2")
        assert [pair for pair in heard if pair[1] == one] == [(t, one) for t in (3.0, 6.0)]
        assert [pair for pair in heard if pair[1] == two] == [(t, two) for t in (2.0, 4.0, 7.0)]


async def test_a_tick_resends_the_oldest_first(role: Role) -> None:
    async with open_rig(role, WIDE) as rig:
        for number in (1, 2, 3, 4):
            rig.ours.write(b"%d" % number)
        await rig.hear()
        await rig.say(rig.ack(2))
        assert await rig.until(2.5) == [rig.data(n, b"%d" % n) for n in (1, 3, 4)]


# Life and loss


async def lost_at(rig: Rig) -> float:
    """Wait for the loss and return its time after the opening."""
    with pytest.raises(lsp.ConnectionLost) as caught:
        await rig.ours.read()
    assert caught.value.conn_id == rig.conn_id
    return trio.current_time() - rig.opened_at


async def test_silence_for_the_epoch_limit_is_a_loss(role: Role) -> None:
    for limit in (1, 2, 5):
        async with open_rig(role, lsp.Params(epoch_limit=limit, epoch_millis=500)) as rig:
            assert await lost_at(rig) == limit * 0.5
            assert await rig.until(10) == [rig.heartbeat] * (limit - 1)


Says: TypeAlias = Callable[[Rig], str]
SIGNS: dict[str, Says] = {
    "heartbeat": lambda rig: rig.heartbeat,
    "an ack of anything": lambda rig: rig.ack(50),
    "a cumulative ack": lambda rig: cack(rig.conn_id, 0),
    "a connect": lambda _: connect(ISN),
    "new data": lambda rig: rig.data(2, b"new"),
    "old data": lambda rig: rig.data(1, b"old"),
    "data past the window": lambda rig: rig.data(100, b"far"),
    "data with a bad checksum": lambda rig: data(rig.conn_id, ISN + 2, b"x", checksum=1),
}
NO_SIGNS: dict[str, Says] = {
    "data shorter than its size": lambda rig: data(rig.conn_id, ISN + 2, b"x", size=2),
    "a wrong id": lambda rig: ack(rig.conn_id + 1, 0),
    "a wrong id with data": lambda rig: data(rig.conn_id + 1, ISN + 2, b"x"),
    "no id": lambda _: ack(0, 0),
    "garbage": lambda _: "garbage",
    "null": lambda _: "null",
    "an unknown type": lambda rig: wire(4, rig.conn_id, 0, 0, 0, "null"),
    "a negative size": lambda rig: wire(1, rig.conn_id, ISN + 2, -1, 0, "null"),
}


@pytest.mark.parametrize("sign", SIGNS)
async def test_signs_of_life(role: Role, sign: str) -> None:
    async with open_rig(role) as rig:
        await rig.say(rig.data(1, b"old"))
        await rig.readable()
        await rig.until(7)
        await rig.say(SIGNS[sign](rig))
        await rig.readable()
        assert await lost_at(rig) == 8 + 4 * 2.0


@pytest.mark.parametrize("sign", NO_SIGNS)
async def test_what_is_no_sign_of_life(role: Role, sign: str) -> None:
    async with open_rig(role) as rig:
        await rig.until(7)
        assert await rig.say(NO_SIGNS[sign](rig)) == []
        assert await lost_at(rig) == 10.0


async def test_what_was_received_is_read_before_the_loss(role: Role) -> None:
    async with open_rig(role, WIDE) as rig:
        await rig.say(rig.data(1, b"1"), rig.data(2, b"2"), rig.data(4, b"behind a gap"))
        await rig.until(30)
        assert await rig.ours.read() == b"1"
        assert await rig.ours.read() == b"2"
        with pytest.raises(lsp.ConnectionLost):
            await rig.ours.read()


async def test_a_lost_connection_is_silent(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        assert await lost_at(rig) == 10.0
        await rig.hear()
        assert await rig.say(rig.data(1, b"1"), rig.ack(1), rig.heartbeat) == []
        assert await rig.until(100) == []


# Addresses and ids


async def test_only_the_connections_own_address_is_heard(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        assert await rig.hear() == [rig.data(1, b"1")]
        spoofed = [rig.ack(1), cack(rig.conn_id, ISN + 9), rig.data(1, b"evil"), rig.heartbeat]
        assert await rig.stranger.say(*spoofed) == []
        assert await rig.hear() == []
        assert await rig.readable() == []
        assert await lost_at(rig) == 10.0


async def test_only_the_connections_own_id_is_heard(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        assert await rig.hear() == [rig.data(1, b"1")]
        for other in (0, rig.conn_id + 1, -rig.conn_id, 2**63 - 1, -(2**63)):
            wrong = [ack(other, ISN + 1), cack(other, ISN + 1), data(other, ISN + 1, b"evil")]
            assert await rig.say(*wrong) == []
        assert await rig.readable() == []
        assert await rig.say(rig.ack(1)) == [rig.data(2, b"2")]


# Closing


async def test_closing_flushes_and_then_is_silent(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        rig.ours.close()
        assert await rig.hear() == [rig.data(1, b"1")]
        assert await rig.until(2.5) == [rig.data(1, b"1")]
        assert await rig.say(rig.ack(1)) == [rig.data(2, b"2")]
        assert await rig.say(rig.data(1, b"taken and dropped")) == [rig.ack(1)]
        assert await rig.until(4.5) == [rig.data(2, b"2")]
        assert await rig.say(rig.ack(2)) == []
        assert await rig.say(rig.data(2, b"too late"), rig.heartbeat) == []
        assert await rig.until(100) == []


async def test_a_flushing_side_sends_heartbeats_between_resends(role: Role) -> None:
    params = lsp.Params(epoch_millis=1000, max_backoff_interval=4)
    async with open_rig(role, params) as rig:
        rig.ours.write(b"1")
        rig.ours.close()
        heard = await rig.live_until(4.25, 1.0)
        message = rig.data(1, b"1")
        assert heard == [
            (1.0, message),
            (2.0, rig.heartbeat),
            (3.0, message),
            (4.0, rig.heartbeat),
        ]


async def test_a_flushing_side_gives_up_after_the_epoch_limit(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.close()
        assert await rig.until(100) == [rig.data(1, b"1")] * 5


async def test_closing_an_idle_connection_says_nothing(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.close()
        assert await rig.until(20) == []


@pytest.mark.parametrize("epochs", [100])
async def test_an_idle_connection_lives_as_long_as_its_peer(role: Role, epochs: int) -> None:
    async with open_rig(role) as rig:
        heard = await rig.live_until(epochs * 2.0 + 1, 2.0)
        assert heard == [(2.0 * tick, rig.heartbeat) for tick in range(1, epochs + 1)]
        assert math.isclose(trio.current_time() - rig.opened_at, epochs * 2.0 + 1)
