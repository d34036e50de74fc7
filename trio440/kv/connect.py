"""Finds a namespace by its name: whoever is asked says which engine it has, and where."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs
import trio

from trio440 import rpc
from trio440.core.host import Host, parse_address
from trio440.core.real import REAL_HOST
from trio440.errors import (
    AnswerLost,
    BadMessage,
    CallTimedOut,
    HandshakeRefused,
    InvalidParameter,
    RemoteError,
    StoreUnavailable,
)
from trio440.kv.client import open_client
from trio440.kv.discovery import (
    CLUSTER,
    DEFAULT,
    IDENTITY,
    Discovery,
    Offer,
    Offered,
    WhatIsThere,
    join_offers,
    readable_offers,
)
from trio440.kv.linearizable import open_linearizable
from trio440.kv.namespace import Namespace
from trio440.kv.served import open_served
from trio440.kv.unanswered import Unanswered, explain, join_problems

__all__ = ["Found", "connect", "describe", "discover", "find"]

ASK_SECONDS: Final = 2.0
REST_SECONDS: Final = 0.05
MOST_ADDRESSES: Final = 64


@asynccontextmanager
async def connect(
    addresses: Sequence[str],
    namespace: str = DEFAULT,
    *,
    timeout_seconds: float = 5.0,
    ports: Host = REAL_HOST,
) -> AsyncIterator[Namespace]:
    """Use a namespace of a store for as long as the body runs.

    Its class says what it can do: ``EventualNamespace`` or ``AtomicNamespace``. Of the eventual
    engine's query actors those are asked, in turn, whose addresses were given, and all where none
    was: who gives one reads what it has written.

    Args:
        addresses: ``HOST:PORT`` where servers answer clients, 1 to 64; those that are down are
            left out: at once where another one has answered and nobody listens there.
        namespace: its name.
        timeout_seconds: for each call of the namespace.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: nobody has answered within two seconds.
        InvalidParameter: no server that has answered has such a namespace, and the error names
            those that have not; or an address is none.
    """
    found = await find(addresses, ports=ports)
    offer = found.offer(namespace)
    async with AsyncExitStack() as stack:
        yield await _open(stack, offer, addresses, timeout_seconds, ports)


async def _open(
    stack: AsyncExitStack,
    offer: Offer,
    addresses: Sequence[str],
    timeout_seconds: float,
    ports: Host,
) -> Namespace:
    match offer.engine:
        case "eventual":
            there = [address for address in addresses if address in offer.addresses]
            return await stack.enter_async_context(
                open_client(there or offer.addresses, timeout_seconds=timeout_seconds, ports=ports)
            )
        case "linearizable":
            peers = [parse_address(address) for address in offer.addresses]
            return await stack.enter_async_context(
                open_linearizable(
                    peers, cluster=CLUSTER, timeout_seconds=timeout_seconds, ports=ports
                )
            )
        case "memory":
            return await stack.enter_async_context(
                open_served(offer.addresses[0], timeout_seconds=timeout_seconds, ports=ports)
            )
    raise InvalidParameter("namespace", offer.name, f"of a known engine, not {offer.engine!r}")


@attrs.frozen
class Found:
    """What servers have said that were asked."""

    offers: dict[str, Offer]
    """Namespaces, by their names."""
    unanswered: tuple[Unanswered, ...]
    """Of the servers that were asked those that have said nothing."""

    def offer(self, namespace: str) -> Offer:
        """Return the one of a name.

        Raises:
            InvalidParameter: there is none.
        """
        if (offer := self.offers.get(namespace)) is None:
            allowed = f"one of {', '.join(sorted(self.offers)) or 'none, since there is none'}"
            if self.unanswered:
                allowed += f" ({join_problems(self.unanswered)})"
            raise InvalidParameter("namespace", namespace, allowed)
        return offer


async def find(addresses: Sequence[str], *, ports: Host = REAL_HOST) -> Found:
    """Ask servers which namespaces there are, and return who has not answered, too.

    Args and errors are those of :func:`discover`.
    """
    answers, unanswered = await _ask_all(addresses, ports)
    return Found(join_offers(answers), tuple(unanswered))


async def discover(addresses: Sequence[str], *, ports: Host = REAL_HOST) -> dict[str, Offer]:
    """Ask servers which namespaces there are, and return those by name; always a checkpoint.

    Args:
        addresses: as for :func:`connect`.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: nobody has answered within two seconds.
        InvalidParameter: an address is none.
    """
    return (await find(addresses, ports=ports)).offers


async def describe(address: str, *, ports: Host = REAL_HOST) -> str:
    """Return the description of the server at an address, for one that joins it.

    Raises:
        StoreUnavailable: it has not answered within two seconds.
        InvalidParameter: the address is none.
    """
    answers, _ = await _ask_all([address], ports)
    return answers[0].description


async def _ask_all(addresses: Sequence[str], ports: Host) -> tuple[list[Offered], list[Unanswered]]:
    """Ask all at once, and return the answers, one at least, and who has not given any."""
    if isinstance(addresses, str) or not 1 <= len(addresses) <= MOST_ADDRESSES:
        raise InvalidParameter("addresses", addresses, f"1 to {MOST_ADDRESSES} of HOST:PORT")
    places = {address: parse_address(address) for address in addresses}
    answers: dict[str, Offered] = {}
    problems = {address: explain(address, None, ASK_SECONDS) for address in places}

    async def ask(address: str) -> None:
        host, port = places[address]
        with ports.clock.move_on_after(ASK_SECONDS):
            try:
                async with rpc.open_client(host, port, identity=IDENTITY, ports=ports) as client:
                    await _ask(client, address, answers, problems, ports)
            except (HandshakeRefused, RemoteError) as error:
                problems[address] = explain(address, error, ASK_SECONDS)
            except (AnswerLost, CallTimedOut, BadMessage) as error:
                problems[address] = Unanswered(address, str(error))

    async with trio.open_nursery() as nursery:
        for address in places:
            nursery.start_soon(ask, address)
    if not answers:
        raise StoreUnavailable(join_problems(problems.values()), may_have_happened=False)
    answered = [answers[address] for address in places if address in answers]
    return answered, [problems[address] for address in places if address not in answers]


async def _ask(
    client: rpc.Client,
    address: str,
    answers: dict[str, Offered],
    problems: dict[str, Unanswered],
    ports: Host,
) -> None:
    """Ask one until it answers, or another one's answer is enough; it may start late."""
    silent = problems[address]
    while await client.wait_attempt() is None:
        problems[address] = explain(address, client.failure, None)
        if answers:
            return
        await ports.clock.sleep(REST_SECONDS)
    problems[address] = silent
    while not (answer := readable_offers(await Discovery(client).offers(WhatIsThere()))).offers:
        problems[address] = Unanswered(address, "it has not begun yet")
        if answers:
            return
        await ports.clock.sleep(REST_SECONDS)
    answers[address] = answer
