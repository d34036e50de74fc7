"""The cluster of ``trio440 raft``: who belongs to it, who leads, how far each is."""

import json
from collections.abc import Sequence
from typing import Any

import click

from trio440 import raft
from trio440.cli.raft_options import client_options, run_client
from trio440.cli.raft_table import show_members
from trio440.cli.running import emit

__all__ = ["members", "snapshot", "status", "transfer"]


@click.command()
@client_options
def status(**options: Any) -> int:
    """Show every member: who leads, how far each is, and whether it can be reached.

    The lag of a member is how many entries it has not applied of those that its leader knows to
    be committed. What is not known is a hyphen, or null in JSON.
    """

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        reports = {r.id: r for r in await client.status(timeout_seconds=min(1, timeout_seconds))}
        latest = max(reports.values(), key=lambda report: report.commit, default=None)
        if latest is None:
            raise click.ClickException("no peer answers")
        names = sorted({*latest.voters, *latest.learners, *reports})
        leading = [report for report in reports.values() if report.role == "leader"]
        leader = max(leading, key=lambda report: report.term, default=None)
        rows = [_row(name, reports.get(name), latest, leader) for name in names]
        if as_json:
            emit(json.dumps(rows))
        else:
            show_members(rows)

    return run_client(ask, **options)


def _row(
    name: str, report: raft.Report | None, latest: raft.Report, leader: raft.Report | None
) -> dict[str, Any]:
    kind = "voter" if name in latest.voters else "learner" if name in latest.learners else "none"
    return {
        "id": name,
        "member": kind,
        "role": report and report.role,
        "term": report and report.term,
        "commit": report and report.commit,
        "applied": report and report.applied,
        "lag": max(0, leader.commit - report.applied) if leader and report else None,
        "snapshot": report and report.snapshot,
        "reachable": report is not None,
    }


@click.command()
@client_options
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

    return run_client(ask, **options)


@click.command()
@client_options
@click.argument("to")
def transfer(to: str, **options: Any) -> int:
    """Have the voter TO lead."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        await client.transfer_leadership(to, timeout_seconds=timeout_seconds)
        if as_json:
            emit(json.dumps({"to": to}))

    return run_client(ask, **options)


@click.command()
@client_options
def snapshot(**options: Any) -> int:
    """Have the first peer of --at keep a snapshot, and print the last index in it."""

    async def ask(client: raft.Client, *, timeout_seconds: float, as_json: bool) -> None:
        index = await client.snapshot(timeout_seconds=timeout_seconds)
        emit(json.dumps({"index": index}) if as_json else str(index))

    return run_client(ask, **options)
