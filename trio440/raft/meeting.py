"""How peers get to know each other: notes stores, asks to be let in, and answers who asks.

The rules are :mod:`trio440.raft.acquaintance`'s; here are the disk, the network and time.
"""

from collections.abc import Callable
from typing import Final, final

import trio

from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import LostStorage, RemoteError
from trio440.raft.acquaintance import Acquaintances, Admission, Opinion, Verdict
from trio440.raft.node import Node
from trio440.raft.storage import Storage, Stored
from trio440.raft.transport import Transport
from trio440.raft.wire import Introduced, Introduction, Peers
from trio440.rpc import Identity, Routes
from trio440.rpc import Peer as Caller

__all__ = ["Meeting"]

ASK_SECONDS: Final = 0.2
"""Who has not answered is asked again so soon."""
ITS_LOG: Final = "its own log"


@final
class Meeting:
    """A peer's acquaintances, and its admission where it starts for the first time."""

    def __init__(
        self,
        node: Node,
        stored: Stored,
        storage: Storage,
        *,
        is_new: bool,
        report: Callable[[Exception], None],
        ports: Host,
    ) -> None:
        """Begin with what is stored.

        Args:
            node: has just been made of it.
            stored: says whether this is the first start.
            storage: keeps what is noted of others.
            is_new: its operator swears that nobody ever had its id.
            report: hears of messages that came from another store than is known.
            ports: the machine to run on.
        """
        self._node = node
        self._storage = storage
        self._report = report
        self._ports = ports
        self._known = Acquaintances(node.id, stored.store, stored.acquaintances)
        voters = stored.snapshot.configuration.voters
        self._admission = Admission(node.id, stored.store, voters, is_new=is_new)
        self._is_first_start = not stored.has_promised
        self.is_admitted = stored.has_promised or self._admission.is_granted
        """Whether this peer takes part in Raft."""
        self._admitted = trio.Event()
        self._wake = trio.Event()
        self._recorded = trio.lowlevel.ParkingLot()
        self.met: Final = self._known.met
        """The stores of those whom this peer has met, itself included."""

    def add_to(self, routes: Routes, transport: Transport) -> None:
        """Answer who asks to be let in."""

        async def introduced(request: Introduction, caller: Caller) -> Introduced:
            opinion = await self._opinion_of(caller.identity)
            is_same = opinion.verdict is Verdict.SAME
            if is_same and request.place.id == caller.identity.node_id:
                transport.hear_of(request.place, caller.identity.node_id)
            return Introduced(opinion, tuple(transport.places.values()))

        routes.add(Peers.introduce, introduced)

    # Messages

    def admits(self, identity: Identity) -> bool:
        """Whether a message of Raft may be taken in now; not a checkpoint."""
        if not self.is_admitted:
            return False
        known = self._look()
        is_good = known.admits(identity.node_id, identity.incarnation)
        if known.is_eventful:
            self._wake.set()
        return is_good

    def is_other(self, identity: Identity) -> bool:
        """Whether another store is known under this peer's id."""
        return self._look().is_other(identity.node_id, identity.incarnation)

    def is_member(self, name: str) -> bool:
        """Whether this id is a member's, as far as is known."""
        return name in self._node.configuration.members

    def _look(self) -> Acquaintances:
        """Return what is known, the node's present configuration included."""
        node = self._node
        self._known.observe(node.configuration, node.configuration_index, node.commit)
        return self._known

    async def _opinion_of(self, identity: Identity) -> Opinion:
        peer, store = identity.node_id, identity.incarnation
        if not (peer and store):
            raise RemoteError("BadRequest", "only a peer with a store introduces itself")
        while (opinion := self._look().introduced(peer, store)) is None:
            self._wake.set()
            await self._recorded.park()
        return opinion

    # Admission

    @property
    def awaited(self) -> tuple[str, ...]:
        """Whose consent is missing, sorted; nobody's once this peer is admitted."""
        return () if self.is_admitted else self._admission.awaited

    async def wait_admitted(self) -> None:
        """Wait until this peer takes part."""
        if not self.is_admitted:
            await self._admitted.wait()

    async def run(self, transport: Transport) -> None:
        """Keep what is noted, and ask to be let in, until cancelled.

        Raises:
            LostStorage: somebody knows another store under this peer's id.
            JournalFailed: what is noted cannot be kept.
        """
        async with open_service_nursery() as nursery:
            nursery.start_soon(self._record)
            if self._is_first_start or not self._node.configuration.stores:
                nursery.start_soon(self._ask_all, transport)
            await trio.Event().wait()

    async def _record(self) -> None:
        while True:
            if self._node.is_replaced:
                raise LostStorage(self._node.id, ITS_LOG)
            if batch := self._known.take_unrecorded():
                await self._storage.acquaint(batch)
                self._known.recorded(batch)
                self._recorded.unpark_all()
                continue
            for peer, _ in self._known.take_rejected():
                self._report(LostStorage(peer, self._node.id))
            await self._wake.wait()
            self._wake = trio.Event()

    async def _ask_all(self, transport: Transport) -> None:
        """Ask whoever is known, and who becomes known, until enough have consented.

        A peer that was admitted before asks again as long as no configuration says who is who: it
        may have been admitted on an oath, with few others who have noted its store.
        """
        asked: set[str] = set()
        async with open_service_nursery() as nursery:
            while not self._admission.is_complete:
                for name in transport.others:
                    if name not in asked:
                        asked.add(name)
                        nursery.start_soon(self._ask, transport, name)
                await self._ports.clock.sleep(ASK_SECONDS)

    async def _ask(self, transport: Transport, name: str) -> None:
        """Ask one peer until it has consented."""
        admission = self._admission
        while True:
            answer = await transport.introduce(name)
            if answer is not None and answer.opinion.sender == name:
                admission.take(answer.opinion)
                if admission.refused_by is not None and self._is_first_start:
                    raise LostStorage(self._node.id, admission.refused_by)
                if admission.is_granted and not self.is_admitted:
                    self.is_admitted = True
                    self._admitted.set()
                if answer.opinion.verdict is not Verdict.FULL:
                    return
            await self._ports.clock.sleep(ASK_SECONDS)
