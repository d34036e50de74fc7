"""A look at a cluster of actor systems: one of them says who there is, and then all are asked."""

from typing import Final

import attrs
import trio

from trio440.actors.remote.service import Report, ReportRequest
from trio440.actors.remote.visits import open_visit
from trio440.cli.actors_rows import Look
from trio440.core.host import Host, parse_address
from trio440.errors import AddressError, BadMessage, InvalidParameter, RpcError

__all__ = ["Looker"]

LIVE: Final = frozenset({"alive", "suspect"})
ACTORS: Final = 100
"""Of each system, more than are shown: who is shown next should have been seen before."""
VISITS: Final = 32
"""At a time."""


@attrs.define
class Looker:
    """Looks at a cluster again and again; nothing stays open between two looks."""

    address: str
    """Who is asked first."""
    cluster: str
    timeout_seconds: float
    """For the answer of each system."""
    ports: Host
    _others: list[str] = attrs.field(factory=list, init=False)
    """Who else answered last time."""

    async def look(self) -> Look:
        """Ask, and return what was answered in time.

        Raises:
            AddressError, RpcError, BadMessage: the first address does not answer, nor does any
                other that did so last time.
        """
        first = await self._ask_any()
        reports = {first.address: first}
        known = {member.address for member in first.members if member.state in LIVE}
        limiter = trio.CapacityLimiter(VISITS)
        async with trio.open_nursery() as nursery:
            for address in known - {first.address}:
                nursery.start_soon(self._ask_into, reports, address, limiter)
        self._others = [*reports]
        return Look(first.members, dict(sorted(reports.items())))

    async def _ask_any(self) -> Report:
        try:
            return await self._ask(self.address)
        except (AddressError, RpcError, BadMessage):
            for other in self._others:
                try:
                    return await self._ask(other)
                except (AddressError, RpcError, BadMessage):
                    continue
            raise

    async def _ask_into(
        self, reports: dict[str, Report], address: str, limiter: trio.CapacityLimiter
    ) -> None:
        """Note the report of one system, if it gives one."""
        async with limiter:
            try:
                reports[address] = await self._ask(address)
            except (AddressError, RpcError, BadMessage, InvalidParameter):
                return

    async def _ask(self, address: str) -> Report:
        request, seconds = ReportRequest(ACTORS), self.timeout_seconds
        report: Report | None = None
        error: RpcError | BadMessage | None = None
        with self.ports.clock.move_on_after(seconds):
            async with open_visit(address, self.cluster, self.ports) as system:
                try:
                    report = await system.report(request, timeout_seconds=seconds)
                except (RpcError, BadMessage) as problem:
                    error = problem
        if error is not None:
            raise error
        if report is None:
            host, port = parse_address(address)
            raise AddressError(host, port, f"gave no answer within {seconds:g} s")
        return report
