"""How a store is, as its servers say: a row for each replica of each namespace."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio

from trio440 import raft, rpc
from trio440.core.host import Host, format_address, parse_address
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
from trio440.kv.connect import connect, find
from trio440.kv.discovery import CLUSTER, IDENTITY, Offer
from trio440.kv.hlc import ms_of
from trio440.kv.service import AskStatus, Queries, Seen
from trio440.kv.unanswered import Unanswered

__all__ = ["Lag", "ReplicaStatus", "StoreStatus", "look"]

ASK_SECONDS: Final = 2.0

Unit: TypeAlias = Literal["ms", "entries", ""]


@attrs.frozen
class Lag:
    """How far one replica is behind another."""

    of: str
    behind: str
    number: int
    unit: Unit


@attrs.frozen
class ReplicaStatus:
    """One replica at one moment; what is not known is None."""

    namespace: str
    engine: str
    address: str
    """Where it answers clients."""
    server: str | None = None
    """Whose it is: the address of a system of actors, or a Raft peer's name."""
    role: str | None = None
    keys: int | None = None
    lag: int | None = None
    """How far it is behind the one that is furthest, in ``unit``."""
    unit: Unit = ""


@attrs.frozen
class StoreStatus:
    """All replicas that are known, and how far each is behind each other one."""

    replicas: tuple[ReplicaStatus, ...]
    lags: tuple[Lag, ...]
    unanswered: tuple[Unanswered, ...] = ()
    """Of the servers that were named those that have not answered."""


async def look(addresses: Sequence[str], *, ports: Host = REAL_HOST) -> StoreStatus:
    """Ask all servers that are known at some addresses how they are; always a checkpoint.

    Args:
        addresses: as for :func:`~trio440.kv.connect.connect`.
        ports: the machine to run on.

    Raises:
        StoreUnavailable: nobody has answered within two seconds.
        InvalidParameter: an address is none.
    """
    asked = await find(addresses, ports=ports)
    offers = asked.offers
    lookers: dict[str, Callable[[Offer, Host], Coroutine[Any, Any, StoreStatus]]] = {
        "eventual": _look_at_actors,
        "linearizable": _look_at_peers,
        "memory": _look_at_memory,
    }
    found: dict[str, StoreStatus] = {}

    async def add(offer: Offer) -> None:
        if (looker := lookers.get(offer.engine)) is not None:
            found[offer.name] = await looker(offer, ports)

    async with trio.open_nursery() as nursery:
        for offer in offers.values():
            nursery.start_soon(add, offer)
    parts = [found[name] for name in offers if name in found]
    return StoreStatus(
        tuple(row for part in parts for row in part.replicas),
        tuple(lag for part in parts for lag in part.lags),
        asked.unanswered,
    )


async def _look_at_actors(offer: Offer, ports: Host) -> StoreStatus:
    answers: dict[str, Seen] = {}

    async def ask(address: str) -> None:
        host, port = parse_address(address)
        with ports.clock.move_on_after(ASK_SECONDS):
            try:
                async with rpc.open_client(host, port, identity=IDENTITY, ports=ports) as client:
                    answers[address] = await Queries(client).look(AskStatus())
            except (AnswerLost, CallTimedOut, HandshakeRefused, RemoteError, BadMessage):
                pass

    async with trio.open_nursery() as nursery:
        for address in offer.addresses:
            nursery.start_soon(ask, address)
    lags = tuple(
        Lag(one, other, _behind_ms(answers[one], answers[other]), "ms")
        for one in answers
        for other in answers
        if one != other
    )
    furthest = {
        address: max((lag.number for lag in lags if lag.of == address), default=0)
        for address in answers
    }
    rows = [
        ReplicaStatus(
            offer.name,
            offer.engine,
            address,
            answers[address].server,
            "query actor",
            answers[address].replica.keys,
            furthest[address],
            "ms",
        )
        if address in answers
        else ReplicaStatus(offer.name, offer.engine, address)
        for address in offer.addresses
    ]
    return StoreStatus(tuple(rows), lags)


def _behind_ms(one: Seen, other: Seen) -> int:
    """How much later the last write is that the other one has heard of; 0 where they agree."""
    if one.digest == other.digest:
        return 0
    return max(0, ms_of(other.replica.clock) - ms_of(one.replica.clock))


async def _look_at_peers(offer: Offer, ports: Host) -> StoreStatus:
    peers = [parse_address(address) for address in offer.addresses]
    async with raft.open_client(peers, cluster=CLUSTER, ports=ports) as client:
        reports = {report.id: report for report in await client.status()}
    latest = max(reports.values(), key=lambda report: report.commit, default=None)
    if latest is None:
        return StoreStatus((), ())
    places = {place.id: format_address((place.host, place.port)) for place in latest.places}
    rows = []
    for name in sorted({*latest.voters, *latest.learners}):
        row = ReplicaStatus(offer.name, offer.engine, places.get(name, "?"), name, unit="entries")
        if (seen := reports.get(name)) is not None:
            row = attrs.evolve(row, role=seen.role, lag=latest.commit - seen.applied)
        rows.append(row)
    lags = tuple(
        Lag(one, other, max(0, reports[other].applied - reports[one].applied), "entries")
        for one in reports
        for other in reports
        if one != other
    )
    return StoreStatus(tuple(rows), lags)


async def _look_at_memory(offer: Offer, ports: Host) -> StoreStatus:
    """Ask each server for its own keys, which no other one has."""
    rows = {
        address: ReplicaStatus(offer.name, offer.engine, address) for address in offer.addresses
    }

    async def ask(address: str) -> None:
        with suppress(StoreUnavailable, InvalidParameter):
            async with connect([address], offer.name, ports=ports) as namespace:
                keys = await namespace.count()
                rows[address] = attrs.evolve(rows[address], role="memory", keys=keys, lag=0)

    async with trio.open_nursery() as nursery:
        for address in offer.addresses:
            nursery.start_soon(ask, address)
    return StoreStatus((*rows.values(),), ())
