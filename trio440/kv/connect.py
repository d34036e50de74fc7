"""Finds a namespace by its name: whoever is asked says which engine it has, and where."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

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

__all__ = ["connect", "describe", "discover"]

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
        InvalidParameter: there is no such namespace, or an address is none.
    """
    offers = await discover(addresses, ports=ports)
    if (offer := offers.get(namespace)) is None:
        allowed = f"one of {', '.join(sorted(offers)) or 'none, since there is none'}"
        raise InvalidParameter("namespace", namespace, allowed)
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


async def discover(addresses: Sequence[str], *, ports: Host = REAL_HOST) -> dict[str, Offer]:
    """Ask servers which namespaces there are, and return those by name; always a checkpoint.

    Args:
        addresses: as for :func:`connect`.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: nobody has answered within two seconds.
        InvalidParameter: an address is none.
    """
    return join_offers(await _ask_all(addresses, ports))


async def describe(address: str, *, ports: Host = REAL_HOST) -> str:
    """Return the description of the server at an address, for one that joins it.

    Raises:
        StoreUnavailable: it has not answered within two seconds.
        InvalidParameter: the address is none.
    """
    (answer,) = await _ask_all([address], ports)
    return answer.description


async def _ask_all(addresses: Sequence[str], ports: Host) -> list[Offered]:
    """Ask all at once, and return the answers of those that give one; there is one at least."""
    if isinstance(addresses, str) or not 1 <= len(addresses) <= MOST_ADDRESSES:
        raise InvalidParameter("addresses", addresses, f"1 to {MOST_ADDRESSES} of HOST:PORT")
    places = {address: parse_address(address) for address in addresses}
    answers: dict[str, Offered] = {}
    problems: dict[str, str] = {}

    async def ask(address: str) -> None:
        host, port = places[address]
        with ports.clock.move_on_after(ASK_SECONDS):
            problems[address] = f"{address} did not answer within {ASK_SECONDS:g} s"
            try:
                async with rpc.open_client(host, port, identity=IDENTITY, ports=ports) as client:
                    await _ask(client, address, answers, problems, ports)
            except (HandshakeRefused, RemoteError) as error:
                problems[address] = f"{address} is no port for clients of a store: {error}"
            except (AnswerLost, CallTimedOut, BadMessage) as error:
                problems[address] = f"{address}: {error}"

    async with trio.open_nursery() as nursery:
        for address in places:
            nursery.start_soon(ask, address)
    if not answers:
        raise StoreUnavailable("; ".join(problems.values()), may_have_happened=False)
    return [answers[address] for address in places if address in answers]


async def _ask(
    client: rpc.Client,
    address: str,
    answers: dict[str, Offered],
    problems: dict[str, str],
    ports: Host,
) -> None:
    """Ask one until it answers, or another one's answer is enough; it may start late."""
    while await client.wait_attempt() is None:
        if answers:
            problems[address] = f"nobody listens at {address}"
            return
        await ports.clock.sleep(REST_SECONDS)
    while not (answer := readable_offers(await Discovery(client).offers(WhatIsThere()))).offers:
        problems[address] = f"the server at {address} has not begun yet"
        if answers:
            return
        await ports.clock.sleep(REST_SECONDS)
    answers[address] = answer
