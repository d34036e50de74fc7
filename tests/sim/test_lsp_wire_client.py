"""Our LSP client on the wire: its handshake and its endings.

The server is a plain socket that says what Go programs say.
"""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.lsp_wire import (
    ISN,
    PORT,
    THEIRS,
    Peer,
    Site,
    ack,
    cack,
    connect,
    data,
    open_site,
    wire,
)
from trio440 import lsp
from trio440.core.host import Host

ID = 7


@attrs.define
class Attempt:
    """A client that is connecting in a task of its own."""

    peer: Peer
    stranger: Peer
    client: lsp.Client | None = None
    failed_at: float | None = None
    failure: str = ""

    @property
    def connected(self) -> bool:
        return self.client is not None

    async def meet(self) -> None:
        """Hear the first Connect, and know the client's address from then on."""
        await wait_all_tasks_blocked()
        [(raw, address)] = self.peer.socket.receive_nowait()
        assert raw.decode() == connect(ISN)
        self.peer.remote = self.stranger.remote = address


async def stay(_: lsp.Client) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def open_attempt(
    site: Site,
    *,
    isn: int = ISN,
    params: lsp.Params | None = None,
    use: Callable[[lsp.Client], Awaitable[object]] = stay,
) -> AsyncIterator[Attempt]:
    """Start to connect; once connected the client is used, for ever if not told otherwise."""
    attempt = Attempt(await site.peer(port=PORT), await site.peer("10.0.0.9"))

    async def run() -> None:
        try:
            async with lsp.connect(
                THEIRS, PORT, params=params, isn=isn, ports=site.ports
            ) as attempt.client:
                await use(attempt.client)
        except lsp.ConnectFailed as error:
            attempt.failed_at, attempt.failure = trio.current_time(), str(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield attempt
        nursery.cancel_scope.cancel()


def connects(site: Site) -> list[tuple[float, str]]:
    """What the client has sent, and when."""
    return [(record.time, record.data.decode()) for record in site.network.wire]


# The handshake


@pytest.mark.parametrize(("limit", "millis"), [(5, 2000), (1, 500), (3, 100)])
async def test_an_unanswered_connect_goes_out_at_every_tick_and_then_fails(
    limit: int, millis: int
) -> None:
    params = lsp.Params(epoch_limit=limit, epoch_millis=millis, max_backoff_interval=4)
    async with open_site() as site, open_attempt(site, params=params) as attempt:
        await trio.sleep(100)
        times = [tick * millis / 1000 for tick in range(limit + 1)]
        assert [text for _, text in connects(site)] == [connect(ISN)] * (limit + 1)
        assert [time for time, _ in connects(site)] == pytest.approx(times)
        assert attempt.failed_at == pytest.approx(times[-1])
        assert attempt.failure == f"no answer from {THEIRS}:{PORT} within {limit} epochs"


async def test_a_server_may_start_some_epochs_later() -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await trio.sleep(9.5)
        *early, (_, address) = attempt.peer.socket.receive_nowait()
        assert len(early) == 4
        attempt.peer.remote = address
        assert await attempt.peer.say(ack(ID, ISN)) == []
        assert attempt.client is not None
        attempt.client.write(b"at last")
        assert await attempt.peer.hear() == [data(ID, ISN + 1, b"at last")]
        await trio.sleep_until(19.9)
        assert connect(ISN) not in await attempt.peer.hear()


async def test_once_answered_no_connect_is_sent_again() -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        assert await attempt.peer.say(ack(ID, ISN)) == []
        assert attempt.connected
        for tick in range(1, 6):
            await trio.sleep_until(tick * 2 + 1)
            assert await attempt.peer.say(ack(ID, 0)) == [ack(ID, 0)]


NO_ANSWERS = {
    "a heartbeat": ack(ID, 0),
    "an ack of another number": ack(ID, ISN + 1),
    "an ack without an id": ack(0, ISN),
    "an ack with a negative id": ack(-1, ISN),
    "a cumulative ack": cack(ID, ISN),
    "data": data(ID, ISN, b""),
    "a connect": connect(ISN),
    "garbage": "hello",
    "null": "null",
    "nothing but braces": "{}",
}


@pytest.mark.parametrize("sent", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_nothing_but_an_ack_of_the_isn_completes_the_handshake(sent: str) -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        assert await attempt.peer.say(sent) == []
        assert not attempt.connected
        await trio.sleep_until(2.5)
        assert await attempt.peer.say(sent) == [connect(ISN)]
        assert await attempt.peer.say(ack(ID, ISN)) == []
        assert attempt.connected


async def test_such_messages_do_not_put_off_the_failure() -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        for second in range(1, 10):
            await trio.sleep_until(second)
            await attempt.peer.say(*NO_ANSWERS.values())
        await trio.sleep_until(11)
        assert attempt.failed_at == 10.0


async def test_an_answer_from_another_address_is_none() -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        assert await attempt.stranger.say(ack(ID, ISN)) == []
        assert not attempt.connected
        other_port = await site.peer(port=PORT + 1, remote=attempt.peer.remote)
        assert await other_port.say(ack(ID, ISN)) == []
        assert not attempt.connected


async def test_with_isn_0_a_heartbeat_and_the_answer_look_alike() -> None:
    async with open_site() as site, open_attempt(site, isn=0) as attempt:
        await wait_all_tasks_blocked()
        [(raw, attempt.peer.remote)] = attempt.peer.socket.receive_nowait()
        assert raw.decode() == connect(0)
        assert await attempt.peer.say(ack(ID, 0)) == []
        assert attempt.client is not None
        attempt.client.write(b"x")
        assert await attempt.peer.hear() == [data(ID, 1, b"x")]


async def test_data_that_overtakes_the_answer_is_dropped_and_taken_when_it_comes_again() -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        assert await attempt.peer.say(data(ID, ISN + 1, b"early")) == []
        assert await attempt.peer.say(ack(ID, ISN)) == []
        assert await attempt.peer.say(data(ID, ISN + 1, b"early")) == [ack(ID, ISN + 1)]
        assert attempt.client is not None
        assert await attempt.client.read() == b"early"


async def test_a_second_answer_changes_nothing_whatever_its_id() -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        assert await attempt.peer.say(ack(ID, ISN), ack(ID, ISN), ack(ID + 1, ISN)) == []
        assert attempt.client is not None
        assert attempt.client.conn_id == ID
        assert await attempt.peer.say(data(ID + 1, ISN + 1, b"x")) == []
        assert await attempt.peer.say(data(ID, ISN + 1, b"x")) == [ack(ID, ISN + 1)]


@pytest.mark.parametrize("conn_id", [1, 65_536, 131_071, 2**63 - 1])
async def test_any_positive_id_is_taken_and_used(conn_id: int) -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        await attempt.peer.say(ack(conn_id, ISN))
        assert attempt.client is not None
        attempt.client.write(b"x")
        assert await attempt.peer.hear() == [data(conn_id, ISN + 1, b"x")]


@pytest.mark.parametrize(
    "answer", ['{"type":2,"connid":7,"seqnum":17}', wire(2, ID, ISN, 0, 9, '""')]
)
async def test_the_answer_is_taken_in_every_form_that_go_takes(answer: str) -> None:
    async with open_site() as site, open_attempt(site) as attempt:
        await attempt.meet()
        await attempt.peer.say(answer)
        assert attempt.connected


class Extreme(random.Random):
    """Draws the ends of every range."""

    def __init__(self, end: int) -> None:
        super().__init__(1)
        self._end = end

    def randint(self, a: int, b: int) -> int:
        return (a, b)[self._end]


async def first_isn(site: Site, ports: Host) -> int:
    peer = await site.peer(port=PORT)
    with trio.move_on_after(0.5):
        async with lsp.connect(THEIRS, PORT, ports=ports):
            pytest.fail("nobody answers")
    [(raw, _)] = peer.socket.receive_nowait()
    peer.socket.close()
    message = json.loads(raw)
    assert raw.decode() == connect(message["SeqNum"])
    isn: int = message["SeqNum"]
    return isn


async def test_a_random_isn_is_31_bits_wide_and_never_0() -> None:
    async with open_site() as site:
        drawn = [
            await first_isn(site, attrs.evolve(site.ports, rng=random.Random(seed)))
            for seed in range(20)
        ]
        assert len(set(drawn)) == 20
        assert all(1 <= isn <= 2**31 - 1 for isn in drawn)
        ends = [await first_isn(site, attrs.evolve(site.ports, rng=Extreme(end))) for end in (0, 1)]
        assert ends == [1, 2**31 - 1]


# Endings


async def test_leaving_flushes_and_ends_with_the_last_ack() -> None:
    async def use(client: lsp.Client) -> None:
        client.write(b"1")
        client.write(b"2")

    async with open_site() as site, open_attempt(site, use=use) as attempt:
        await attempt.meet()
        assert await attempt.peer.say(ack(ID, ISN)) == [data(ID, ISN + 1, b"1")]
        await trio.sleep_until(2.5)
        assert await attempt.peer.say(ack(ID, ISN + 1)) == [
            data(ID, ISN + 1, b"1"),
            data(ID, ISN + 2, b"2"),
        ]
        local = "udp {}:{}".format(*attempt.peer.remote[:2])
        assert local.replace("10.0.0.1", "0.0.0.0") in site.network.open_endpoints  # noqa: S104 - a name
        assert await attempt.peer.say(ack(ID, ISN + 2)) == []
        assert not any("0.0.0.0" in name for name in site.network.open_endpoints)  # noqa: S104 - a name
        assert await attempt.peer.say(ack(ID, 0), data(ID, ISN + 1, b"late")) == []


async def test_leaving_by_cancellation_sends_nothing_more() -> None:
    async with open_site() as site:
        async with open_attempt(site) as attempt:
            await attempt.meet()
            await attempt.peer.say(ack(ID, ISN))
            assert attempt.client is not None
            attempt.client.write(b"1")
            attempt.client.write(b"2")
            assert await attempt.peer.hear() == [data(ID, ISN + 1, b"1")]
        assert await attempt.peer.say(ack(ID, ISN + 1)) == []
        await trio.sleep(100)
        assert await attempt.peer.hear() == []


async def test_giving_up_the_handshake_leaves_nothing_open() -> None:
    async with open_site() as site:
        async with open_attempt(site):
            await trio.sleep(3)
        assert site.network.open_endpoints == [f"udp {THEIRS}:{PORT}", "udp 10.0.0.9:49152"]
        assert [time for time, _ in connects(site)] == [0.0, 2.0]
