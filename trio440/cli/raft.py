"""``trio440 raft``: a peer of a replicated key-value map, and a client for a terminal."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import click
import trio

from trio440 import raft
from trio440.cli.options import ENDPOINT, PORT, SECONDS
from trio440.cli.running import Stop, announce, emit, note, run, run_server
from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.errors import Trio440Error
from trio440.raft import kv
from trio440.raft.dedupe import Sessions

__all__ = ["command"]

Endpoint = tuple[str, int]
TICK_SECONDS: Final = 0.01
BEATS: Final = 10
"""Heartbeats in the shortest silence that begins an election."""
LONGEST_BEAT: Final = 10
"""Ticks from one heartbeat to the next."""
PATIENCE_SECONDS: Final = 2.0
"""A first start that takes longer is told of."""
FALSE: Final = 1
"""The exit status for what is not there, or was not changed."""


class _Members(click.ParamType[raft.Place]):
    """``ID=HOST:PORT``."""

    name = "ID=HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> raft.Place:
        """Read one peer."""
        if isinstance(value, raft.Place):
            return value
        name, equals, address = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not ID=HOST:PORT", param, ctx)
        return raft.Place(name, *ENDPOINT.convert(address, param, ctx))


class _Endpoints(click.ParamType[list[Endpoint]]):
    """``HOST:PORT``, several with commas between them."""

    name = "HOST:PORT[,...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Endpoint]:
        """Read the addresses."""
        if isinstance(value, list):
            return value
        return [ENDPOINT.convert(part, param, ctx) for part in str(value).split(",")]


class _Listen(click.ParamType[Endpoint]):
    """``HOST:PORT`` to listen on; port 0 takes any free one."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        """Read the address."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host, PORT.convert(port, param, ctx)


Function = Callable[..., Any]


def _client_options(function: Function) -> Function:
    """Add what every client takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Write JSON."),
        click.option(
            "--timeout",
            type=SECONDS,
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for the cluster.",
        ),
        click.option("--cluster", default="raft", show_default=True, help="Its name."),
        click.option(
            "--at",
            "addresses",
            type=_Endpoints(),
            required=True,
            help="Where peers listen; one that is up is enough.",
        ),
    ):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Run a peer of a replicated key-value map, or talk to the cluster."""


@command.command()
@click.option("--id", "name", required=True, help="This peer's name, never used again for another.")
@click.option(
    "--data",
    required=True,
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Where it keeps its state.",
)
@click.option("--listen", type=_Listen(), required=True, help="Where others reach it.")
@click.option("--peer", "peers", type=_Members(), multiple=True, help="Another peer; repeat.")
@click.option("--join", is_flag=True, help="Join a cluster that exists, when its leader agrees.")
@click.option(
    "--new",
    is_flag=True,
    help="Swear that the cluster never had this ID, and do not wait for others to say so.",
)
@click.option("--cluster", default="raft", show_default=True, help="The name of the cluster.")
@click.option(
    "--snapshot-entries",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Compact the log after so many entries; 0: only when asked.",
)
@click.option(
    "--election-seconds",
    type=click.FloatRange(min=0.1, max=60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The shortest silence of the leader after which another is elected; the same at each.",
)
@click.option(
    "--grace",
    type=SECONDS,
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a SIGTERM leaves for finishing what is under way.",
)
def serve(
    *,
    name: str,
    data: str,
    listen: Endpoint,
    peers: Sequence[raft.Place],
    join: bool,
    new: bool,
    cluster: str,
    snapshot_entries: int,
    election_seconds: float,
    grace: float,
) -> int:
    """Run a peer until it is stopped.

    At the first start the members are this peer and all that --peer names; later those count that
    its directory knows. With --join it waits until a leader adds it. A directory that is empty is
    not enough for an id that the cluster knows: at the first start others must say that it is new.
    """
    silence = round(election_seconds / TICK_SECONDS)
    config = raft.PeerConfig(
        id=name,
        members=() if join else sorted({name, *(peer.id for peer in peers)}),
        places=peers,
        directory=data,
        is_new=new,
        cluster=cluster,
        host=listen[0],
        port=listen[1],
        snapshot_entries=snapshot_entries,
        tick_seconds=TICK_SECONDS,
        raft=raft.Config(
            heartbeat_ticks=min(LONGEST_BEAT, silence // BEATS),
            election_ticks=silence,
            election_ticks_spread=silence,
        ),
    )
    return run_server(lambda stop: _serve(stop, config), grace_seconds=grace)


async def _serve(stop: Stop, config: raft.PeerConfig) -> None:
    machine = Sessions(kv.KeyValueMap())
    async with raft.open_peer(config, machine, report=_report) as peer:
        known = peer.members.members
        if config.members and known and set(config.members) != set(known):
            note(f"the members are {', '.join(known)}: so says {config.directory}")
        announce(peer.address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say_who_is_awaited, peer)
            await stop.wait()
            nursery.cancel_scope.cancel()


async def _say_who_is_awaited(peer: raft.Peer, ports: Host = REAL_HOST) -> None:
    """Say once why a peer that starts for the first time does nothing."""
    with ports.clock.move_on_after(PATIENCE_SECONDS):
        await peer.wait_admitted()
        return
    who = ", ".join(peer.awaited) or "somebody"
    note(f"{peer.id} starts for the first time and waits for {who} to say that its id is new")


def _report(error: Exception) -> None:
    if isinstance(error, Trio440Error):
        note(f"trio440 raft: {error}")


# Keys


@command.command()
@_client_options
@click.argument("key")
@click.argument("value")
def put(key: str, value: str, **options: Any) -> int:
    """Give KEY a VALUE."""
    return _change(kv.Put(key.encode(), value.encode()), **options)


@command.command()
@_client_options
@click.argument("key")
def delete(key: str, **options: Any) -> int:
    """Remove KEY; the exit status is 1 where it is not there."""
    return _change(kv.Delete(key.encode()), **options)


@command.command()
@_client_options
@click.argument("key")
@click.argument("expected")
@click.argument("value")
@click.option("--absent", is_flag=True, help="KEY must not be there; EXPECTED is ignored.")
def cas(key: str, expected: str, value: str, *, absent: bool, **options: Any) -> int:
    """Give KEY a VALUE if it has the EXPECTED one; the exit status is 1 where it has not."""
    before = None if absent else expected.encode()
    return _change(kv.CompareAndSet(key.encode(), before, value.encode()), **options)


@command.command()
@_client_options
@click.argument("key")
def get(key: str, **options: Any) -> int:
    """Print the value of KEY alone; the exit status is 1 where it is not there."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> int:
        found = await _read(client, kv.Get(key.encode()), timeout_seconds)
        for item in found.items:
            emit(json.dumps(_item(item)) if as_json else item.value)
        return 0 if found.items else FALSE

    return _run(ask, **options)


@command.command(name="list")
@_client_options
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
def list_keys(prefix: str, limit: int, **options: Any) -> int:
    """Print the keys that begin with PREFIX, and their values, a tab between them."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        start = prefix.encode()
        end = kv.prefix_end(start) if start else None
        found = await _read(client, kv.List(start, end, limit), timeout_seconds)
        if as_json:
            emit(json.dumps([_item(item) for item in found.items]))
            return
        for item in found.items:
            emit(item.key + b"\t" + item.value)

    return _run(ask, **options)


def _change(request: kv.Command, **options: Any) -> int:
    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> int:
        data = await client.propose(kv.encode(request), timeout_seconds=timeout_seconds)
        result = kv.decode_result(data)
        if not isinstance(result, kv.Changed):
            raise click.ClickException(getattr(result, "problem", str(result)))
        if as_json:
            emit(json.dumps({"done": result.done, "revision": result.revision}))
        return 0 if result.done else FALSE

    return _run(ask, **options)


async def _read(client: raft.Client, query: kv.Command, timeout_seconds: float) -> kv.Found:
    data = await client.read(kv.encode(query), timeout_seconds=timeout_seconds)
    result = kv.decode_result(data)
    if not isinstance(result, kv.Found):
        raise click.ClickException(getattr(result, "problem", str(result)))
    return result


def _item(item: kv.Item) -> dict[str, Any]:
    return {
        "key": item.key.decode(errors="backslashreplace"),
        "value": item.value.decode(errors="backslashreplace"),
        "created": item.created,
        "modified": item.modified,
        "version": item.version,
    }


# The cluster


@command.command()
@_client_options
def status(**options: Any) -> int:
    """Show every member: who leads, how far each is, and whether it can be reached."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        reports = {r.id: r for r in await client.status(timeout_seconds=min(1, timeout_seconds))}
        latest = max(reports.values(), key=lambda report: report.commit, default=None)
        if latest is None:
            raise click.ClickException("no peer answers")
        names = sorted({*latest.voters, *latest.learners, *reports})
        rows = [_row(name, reports.get(name), latest) for name in names]
        if as_json:
            emit(json.dumps(rows))
            return
        titles = [*rows[0]]
        cells = [titles, *([_cell(row[title]) for title in titles] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            emit("  ".join(map(str.ljust, line, widths)).rstrip())

    return _run(ask, **options)


def _row(name: str, report: "raft.Report | None", latest: "raft.Report") -> dict[str, Any]:
    kind = "voter" if name in latest.voters else "learner" if name in latest.learners else "none"
    return {
        "id": name,
        "member": kind,
        "role": report and report.role,
        "term": report and report.term,
        "commit": report and report.commit,
        "applied": report and report.applied,
        "snapshot": report and report.snapshot,
        "reachable": report is not None,
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


@command.command()
@_client_options
@click.option("--voter", "voters", multiple=True, help="Change to these voters; repeat.")
@click.option("--learner", "learners", multiple=True, help="And to these learners; repeat.")
def members(*, voters: Sequence[str], learners: Sequence[str], **options: Any) -> int:
    """Show who belongs to the cluster, or change it."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        if voters or learners:
            await client.change_members(voters, learners, timeout_seconds=timeout_seconds)
        reports = await client.status(timeout_seconds=min(1, timeout_seconds))
        latest = max(reports, key=lambda report: report.commit, default=None)
        if latest is None:
            raise click.ClickException("no peer answers")
        found = {"voters": latest.voters, "learners": latest.learners}
        if as_json:
            emit(json.dumps(found))
            return
        for kind, names in found.items():
            emit(f"{kind}: {', '.join(names) or '-'}")

    return _run(ask, **options)


@command.command()
@_client_options
@click.argument("to")
def transfer(to: str, **options: Any) -> int:
    """Have the voter TO lead."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        await client.transfer_leadership(to, timeout_seconds=timeout_seconds)
        if as_json:
            emit(json.dumps({"to": to}))

    return _run(ask, **options)


@command.command()
@_client_options
def snapshot(**options: Any) -> int:
    """Have the first peer of --at keep a snapshot, and print the last index in it."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        index = await client.snapshot(timeout_seconds=timeout_seconds)
        emit(json.dumps({"index": index}) if as_json else str(index))

    return _run(ask, **options)


def _run(
    ask: Callable[..., Awaitable[int | None]],
    *,
    addresses: list[Endpoint],
    cluster: str,
    timeout: float,
    as_json: bool,
) -> int:
    async def main() -> int | None:
        async with raft.open_client(addresses, cluster=cluster) as client:
            return await ask(client, timeout_seconds=timeout, as_json=as_json)

    return run(main)
