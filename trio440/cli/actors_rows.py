"""What a look at a cluster of actor systems has seen, as rows of two tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from trio440.actors.remote.service import ActorReport, MemberReport, Report

__all__ = ["ACTOR_TITLES", "NODE_TITLES", "Look", "actor_rows", "node_rows"]

NODE_TITLES: Final = ("node", "life", "state", "actors")
ACTOR_TITLES: Final = ("actor", "name", "class", "waiting", "rate", "handled", "restarts")
MICROSECONDS: Final = 1_000_000


@attrs.frozen
class Look:
    """The reports of all members that answered, at about one moment."""

    members: Sequence[MemberReport]
    """As the first who answered knows them."""
    reports: Mapping[str, Report]
    """By their addresses."""


def node_rows(look: Look) -> list[dict[str, Any]]:
    """Return a row for each member: what the cluster says of it, and how many actors it has.

    The number is None where the member was not asked, since it is gone, or gave no answer.
    """
    return [
        {
            "node": member.address,
            "life": member.incarnation,
            "state": member.state,
            "actors": report.actors if (report := look.reports.get(member.address)) else None,
        }
        for member in sorted(look.members, key=lambda member: member.address)
    ]


def actor_rows(look: Look, before: Look | None, limit: int) -> list[dict[str, Any]]:
    """Return a row for each of the actors with the deepest mailboxes, the deepest first.

    Of equal ones those come first that handle most.

    Args:
        look: at the actors.
        before: an earlier one; the rate is what was handled between the two, in messages a
            second, or None for an actor that was not in both.
        limit: of rows.
    """
    rows = []
    for address, report in look.reports.items():
        earlier = None if before is None else before.reports.get(address)
        rates = {} if earlier is None else _rates(report, earlier)
        rows += [_row(address, actor, rates.get(actor.counter)) for actor in report.deepest]
    rows.sort(key=lambda row: (-row["waiting"], -(row["rate"] or 0), -row["handled"]))
    return rows[:limit]


def _rates(report: Report, earlier: Report) -> dict[int, float]:
    """Return the messages a second that each actor has handled between two reports."""
    seconds = (report.now_us - earlier.now_us) / MICROSECONDS
    if report.incarnation != earlier.incarnation or seconds <= 0:
        return {}
    handled = {actor.counter: actor.handled for actor in earlier.deepest}
    return {
        actor.counter: round((actor.handled - handled[actor.counter]) / seconds, 1)
        for actor in report.deepest
        if actor.counter in handled
    }


def _row(address: str, actor: ActorReport, rate: float | None) -> dict[str, Any]:
    return {
        "actor": f"{address}/{actor.counter}",
        "name": actor.name,
        "class": actor.kind,
        "waiting": actor.waiting,
        "rate": rate,
        "handled": actor.handled,
        "restarts": actor.restarts,
    }
