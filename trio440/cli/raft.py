"""``trio440 raft``: a peer of a replicated key-value map, and clients for a terminal."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import click
import trio

from trio440 import raft
from trio440.cli.options import SECONDS, Real
from trio440.cli.raft_cluster import members, snapshot, status, transfer
from trio440.cli.raft_keys import cas, delete, get, list_keys, put, watch
from trio440.cli.raft_options import Endpoint, Listen, Members
from trio440.cli.reports import Reports
from trio440.cli.running import Stop, announce, note, run_server
from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.raft import kv
from trio440.raft.dedupe import Sessions

__all__ = ["command"]

TICK_SECONDS: Final = 0.01
BEATS: Final = 10
"""Heartbeats in the shortest silence that begins an election."""
LONGEST_BEAT: Final = 10
"""Ticks from one heartbeat to the next."""
PATIENCE_SECONDS: Final = 2.0
"""A first start that takes longer is told of."""


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
@click.option("--listen", type=Listen(), required=True, help="Where others reach it.")
@click.option("--peer", "peers", type=Members(), multiple=True, help="Another peer; repeat.")
@click.option("--join", is_flag=True, help="Join a cluster that exists, when its leader agrees.")
@click.option(
    "--new",
    is_flag=True,
    help="Swear that the cluster never had this ID: a majority is enough for the first start.",
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
    type=Real(min=0.1, max=60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The shortest silence of the leader after which another is elected; the same at each.",
)
@click.option(
    "--trace",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Append to FILE what Raft does here, in etcd's form for TLA+.",
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
    trace: str | None,
    grace: float,
) -> int:
    """Run a peer until it is stopped.

    At the first start the members are this peer and all that --peer names; later those count that
    its directory knows. With --join it waits until a leader adds it. A directory that is empty is
    not enough for an id that the cluster knows: at the first start others must say that it is new.
    """
    names = [peer.id for peer in peers]
    if twice := {peer for peer in names if names.count(peer) > 1}:
        message = f"{min(twice)!r} is there twice: a peer has one address"
        raise click.BadParameter(message, param_hint="'--peer'")
    silence = round(election_seconds / TICK_SECONDS)
    config = raft.PeerConfig(
        id=name,
        members=() if join else sorted({name, *names}),
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
    return run_server(lambda stop: _serve(stop, config, trace), grace_seconds=grace)


async def _serve(stop: Stop, config: raft.PeerConfig, trace: str | None) -> None:
    machine = Sessions(kv.KeyValueMap())
    report = Reports("trio440 raft", note, REAL_HOST.clock.now).take
    async with AsyncExitStack() as stack:
        recorder = None
        if trace is not None:
            recorder = await stack.enter_async_context(raft.open_trace(trace, report=report))
        peer = await stack.enter_async_context(
            raft.open_peer(config, machine, report=report, recorder=recorder)
        )
        known = peer.members.members
        if config.members and known and set(config.members) != set(known):
            note(f"the members are {', '.join(known)}: so says {config.directory}")
        announce(peer.address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say_who_is_awaited, peer)
            await stop.wait()
            nursery.cancel_scope.cancel()


async def _say_who_is_awaited(peer: raft.Peer[Any], ports: Host = REAL_HOST) -> None:
    """Say once why a peer that starts for the first time does nothing."""
    with ports.clock.move_on_after(PATIENCE_SECONDS):
        await peer.wait_admitted()
        return
    who = ", ".join(peer.awaited) or "somebody"
    note(f"{peer.id} starts for the first time and waits for {who} to say that its id is new")


for _client in (
    *(put, get, delete, list_keys, cas, watch),
    *(status, members, transfer, snapshot),
):
    command.add_command(_client)
