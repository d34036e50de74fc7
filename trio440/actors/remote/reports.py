"""What a system says of itself to whoever asks: its cluster, and its busiest actors."""

from collections.abc import Callable, Sequence
from heapq import nlargest
from itertools import chain
from typing import Final, TypeAlias, final

import trio

from trio440.actors.cell import Cell
from trio440.actors.cluster.messages import Record
from trio440.actors.post import Post
from trio440.actors.remote.service import ActorReport, MemberReport, Report, ReportRequest
from trio440.rpc import Peer

__all__ = ["Reporter"]

MOST_ACTORS: Final = 100
MOST_MEMBERS: Final = 256
MOST_TEXT: Final = 100
ACTORS_PER_TURN: Final = 500
"""Looked at before other tasks run: a system may have a million."""
MICROSECONDS: Final = 1_000_000

Depth: TypeAlias = tuple[int, int, int, Cell]


@final
class Reporter:
    """Answers one request after the other, so that many of them slow down nobody else."""

    def __init__(self, post: Post, records: Callable[[], Sequence[Record]]) -> None:
        """Answer for a system.

        Args:
            post: of this system.
            records: gives what is known of the members.
        """
        self._post = post
        self._records = records
        self._turns = trio.Lock()

    async def answer(self, request: ReportRequest, _: Peer) -> Report:
        """Report."""
        async with self._turns:
            deepest = await self._find_deepest(min(max(request.limit, 0), MOST_ACTORS))
        post = self._post
        records = sorted(self._records(), key=lambda record: record.state)[:MOST_MEMBERS]
        return Report(
            address=post.address,
            incarnation=post.incarnation,
            now_us=round(post.clock.now() * MICROSECONDS),
            actors=post.actors,
            members=tuple(
                MemberReport(each.node.address, each.node.incarnation, each.state.name.lower())
                for each in records
            ),
            deepest=tuple(map(_report_on, deepest)),
        )

    async def _find_deepest(self, count: int) -> list[Cell]:
        """Return the cells with most in their mailboxes, the deepest first."""
        targets = self._post.targets()
        found: list[Depth] = []
        for start in range(0, len(targets), ACTORS_PER_TURN):
            some = targets[start : start + ACTORS_PER_TURN]
            depths = (
                (cell.waiting, cell.handled, -cell.ref.counter, cell)
                for cell in some
                if isinstance(cell, Cell)
            )
            found = nlargest(count, chain(found, depths))
            await trio.lowlevel.checkpoint()
        return [cell for *_, cell in found]


def _report_on(cell: Cell) -> ActorReport:
    counts = cell.statistics()
    return ActorReport(
        counter=counts.ref.counter,
        name=None if counts.name is None else counts.name[:MOST_TEXT],
        kind=counts.kind[:MOST_TEXT],
        waiting=counts.waiting,
        stashed=counts.stashed,
        handled=counts.handled,
        restarts=counts.restarts,
    )
