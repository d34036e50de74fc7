"""``trio440 kv``: a server of the store, and clients for a terminal."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, get_args

import click
import trio

from trio440 import kv
from trio440.cli.kv_keys import delete, get, list_keys, put, watch
from trio440.cli.kv_shell import shell
from trio440.cli.kv_status import status
from trio440.cli.options import PORT, server_options
from trio440.cli.reports import Reports
from trio440.cli.running import Stop, announce, emit, note, run_server
from trio440.core.host import format_address, parse_address
from trio440.core.real import REAL_HOST
from trio440.kv.resp import open_resp_server

__all__ = ["command"]

DEFAULT_PORT: Final = 6000
DEFAULT: Final = "default"
JOIN_SECONDS: Final = 5.0
DURABILITIES: Final[tuple[kv.Durability, ...]] = get_args(kv.Durability)
ENGINES: Final[tuple[kv.Engine, ...]] = get_args(kv.Engine)


class _Named(click.ParamType[tuple[str, kv.Engine]]):
    """``NAME=ENGINE``."""

    name = "NAME=ENGINE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, kv.Engine]:
        """Read one namespace."""
        if isinstance(value, tuple):
            return value
        name, _, wanted = str(value).partition("=")
        engine = next((engine for engine in ENGINES if engine == wanted), None)
        if not name or engine is None:
            allowed = f"NAME=ENGINE, with one of {', '.join(ENGINES)}"
            self.fail(f"{value!r} is not {allowed}", param, ctx)
        return name, engine


class _Front(click.ParamType[tuple[int, str]]):
    """``PORT`` or ``PORT=NAMESPACE``."""

    name = "PORT[=NAMESPACE]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        """Read one front end."""
        if isinstance(value, tuple):
            return value
        port, equals, name = str(value).partition("=")
        if equals and not name:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return PORT.convert(port, param, ctx), name or DEFAULT


@click.group()
def command() -> None:
    """Run a server of the store, or talk to one.

    A namespace has one of three engines. eventual: every query actor of every server holds all,
    answers at once, and hears of what others were told within two seconds; linearizable: a Raft
    cluster, with compare-and-set and transactions; memory: keys of one process.
    """


@command.command()
@server_options(DEFAULT_PORT)
@click.option(
    "--count",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Query actors of the eventual engine; each has a port of its own.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="eventual",
    show_default=True,
    help="Of the namespace that is called default.",
)
@click.option(
    "--namespace", "others", type=_Named(), multiple=True, help="One more namespace; repeat."
)
@click.option(
    "--join",
    "descriptions",
    multiple=True,
    metavar="DESCRIPTION",
    help="What a server that is there has printed, or its HOST:PORT for clients; repeat.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Keep there what is to outlive this process.",
)
@click.option(
    "--durability",
    type=click.Choice(DURABILITIES),
    help="What an answer of the eventual engine means; with --data: synced, otherwise memory.",
)
@click.option(
    "--resp",
    "fronts",
    type=_Front(),
    multiple=True,
    metavar="PORT[=NAMESPACE]",
    help="Answer clients of Redis on this port, for one namespace; repeat.",
)
@click.option("--id", "name", default="", help="Of the Raft peer, never used again for another.")
def serve(
    *,
    host: str,
    port: int,
    grace: float,
    count: int,
    engine: kv.Engine,
    others: Sequence[tuple[str, kv.Engine]],
    descriptions: Sequence[str],
    data: str | None,
    durability: kv.Durability | None,
    fronts: Sequence[tuple[int, str]],
    name: str,
) -> int:
    """Run a server until it is stopped.

    It prints where it listens, a line for each namespace, and the description that later servers
    join by: when it is a voter, if it joins a linearizable namespace. With --data it may be
    started again though nobody whom it joins is up. The eventual engine takes the port --port for
    other servers, and the COUNT ports behind it for clients.
    """
    namespaces = _namespaces(engine, others)
    _refuse_what_does_nothing(namespaces, data=data, durability=durability)
    config = kv.StoreConfig(
        host=host,
        start_port=port,
        count=count,
        namespaces=namespaces,
        descriptions=descriptions,
        directory=data,
        durability=durability,
        id=name,
    )
    if unknown := [front for _, front in fronts if front not in namespaces]:
        message = f"there is no namespace {unknown[0]!r}, but {', '.join(namespaces)}"
        raise click.BadParameter(message, param_hint="'--resp'")
    return run_server(lambda stop: _serve(stop, config, fronts), grace_seconds=grace)


def _namespaces(engine: kv.Engine, others: Sequence[tuple[str, kv.Engine]]) -> dict[str, kv.Engine]:
    found: dict[str, kv.Engine] = {DEFAULT: engine}
    for name, wanted in others:
        problem = None
        if name in found:
            problem = f"{name!r} is there twice: a namespace has one engine"
        elif wanted in found.values():
            (first,) = (known for known in found if found[known] == wanted)
            problem = f"{name!r} is a second {wanted} namespace: {first!r} is one, see --engine"
        if problem is not None:
            raise click.BadParameter(problem, param_hint="'--namespace'")
        found[name] = wanted
    return found


def _refuse_what_does_nothing(
    namespaces: Mapping[str, kv.Engine],
    *,
    data: str | None,
    durability: kv.Durability | None,
) -> None:
    """Refuse a promise that nobody would keep."""
    engines = {*namespaces.values()}
    if durability is not None and "eventual" not in engines:
        message = "there is no eventual namespace, and the others have none"
        raise click.BadParameter(message, param_hint="'--durability'")
    if durability is not None and (durability == "memory") == (data is not None):
        message = f"{durability} does not go {'with' if data is not None else 'without'} --data"
        raise click.BadParameter(message, param_hint="'--durability'")
    if data is not None and engines == {"memory"}:
        message = "a memory namespace keeps nothing, and there is no other"
        raise click.BadParameter(message, param_hint="'--data'")


async def _serve(
    stop: Stop,
    config: kv.StoreConfig,
    fronts: Sequence[tuple[int, str]],
) -> None:
    report = Reports("trio440 kv", note, REAL_HOST.clock.now).take
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(kv.open_store(config, report=report))
        opened = []
        for port, name in fronts:
            opening = open_resp_server(store.namespaces[name], port, host=config.host)
            opened.append((name, await stack.enter_async_context(opening)))
        announce(parse_address(store.offers[DEFAULT].addresses[0]))
        for offer in store.offers.values():
            emit(f"namespace {offer.name} {offer.engine} {','.join(offer.addresses)}")
        for name, front in opened:
            emit(f"resp {name} {format_address(front.address)}")
        with stop.cuts_short():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_describe_joined, store)
                await store.wait_failed()


async def _describe_joined(store: kv.Store) -> None:
    """Print the description when a peer that joins is a voter, and say where that takes long."""
    with REAL_HOST.clock.move_on_after(JOIN_SECONDS) as waiting:
        await store.wait_joined()
    if waiting.cancelled_caught:
        note("waiting for a majority of the peers before this one to make it a voter")
        await store.wait_joined()
    emit(f"description {shlex.quote(store.description)}")


for _client in (get, put, delete, list_keys, watch, status, shell):
    command.add_command(_client)
