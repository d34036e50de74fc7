"""The actor system: opened with ``async with``, it owns every actor that is spawned in it."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from typing import Any, Final, Literal, TypeAlias, final

from trio440.actors.actor import DEFAULT_RESTART, Spawner
from trio440.actors.cell import Cell
from trio440.actors.checks import check_choice, check_seconds, check_text
from trio440.actors.cluster import Node
from trio440.actors.family import Family
from trio440.actors.limits import ActorStatistics, Limits, MailboxPolicy, SystemStatistics
from trio440.actors.notices import DeadLetter, Spawned
from trio440.actors.post import Post, Report
from trio440.actors.ref import Ref
from trio440.actors.remote.limits import Delivery, LinkStatistics, Networking
from trio440.actors.remote.opening import Front, open_front
from trio440.actors.remote.spawning import Offer, spawn_elsewhere
from trio440.actors.reporting import log_failure
from trio440.actors.speaker import DEFAULT_TIMEOUT_SECONDS
from trio440.actors.supervision import Restart, Strategy
from trio440.core.channels import Chan
from trio440.core.host import Host
from trio440.core.lifetimes import open_service_nursery
from trio440.core.real import REAL_HOST
from trio440.errors import InvalidParameter

__all__ = ["ActorSystem", "open_actor_system"]

Scope: TypeAlias = Literal["system", "cluster"]
"""Where a name is known."""

DEFAULT_LIMITS: Final = Limits()
DEFAULT_NETWORKING: Final = Networking()
LIFE_BITS: Final = 10


@final
class ActorSystem(Spawner):
    """Actors, and the way to them from outside; :func:`open_actor_system` opens one.

    Any number of tasks of one trio run may share it.
    """

    __slots__ = ("_front", "_root")

    def __init__(self, post: Post, root: Family, front: Front | None) -> None:
        super().__init__(post, None)
        self._root = root
        self._front = front

    def __repr__(self) -> str:
        count = self._post.actors
        return f"<ActorSystem {self.address}, {count} actor{'s' * (count != 1)}>"

    @property
    def address(self) -> str:
        """What its references begin with."""
        return self._post.address

    @property
    def incarnation(self) -> int:
        """The life of this system; a later one at the same address has a higher number."""
        return self._post.incarnation

    def register(self, name: str, ref: Ref[Any], *, scope: Scope = "system") -> None:
        """Give a name to any reference; to an actor of this system, until it ends.

        Over the cluster each system has names of its own: where several have the same one, it
        leads to the greatest of their references, for everybody, and to the next one when that
        ends. A name that this system has in both scopes is for it the one of the system.

        Args:
            name: 1 to 200 characters.
            ref: to whom it leads.
            scope: ``system``: known here alone; ``cluster``: to all members, soon.

        Raises:
            NameTaken: another reference of this system has it; not over the cluster, where the
                later one takes its place.
            LimitReached: this system has as many names over the cluster as may be.
            InvalidParameter: the name is empty, or this system is reached by nobody.
        """
        if scope == "cluster":
            self._require_front().network.naming.set(name, ref)
        else:
            self._post.register(name, ref)

    def unregister(self, name: str, *, scope: Scope = "system") -> None:
        """Take a name of this system away; one that nobody has is no error."""
        if scope == "cluster":
            self._require_front().network.naming.drop(name)
        else:
            self._post.names.pop(name, None)

    def dead_letters(self, capacity: int = 1000) -> AbstractContextManager[Chan[DeadLetter]]:
        """Hear of dead letters while the body runs; at its end the channel is closed.

        Args:
            capacity: of the channel, 1 or more; what finds it full is counted and not heard of.

        Raises:
            InvalidParameter: the capacity is out of range.
        """
        return self._post.listen(capacity)

    def statistics(self) -> SystemStatistics:
        """Return what the system holds and has counted; goes through all actors."""
        return self._post.statistics(member.rate() for member in self._root.members())

    def actors(self) -> Iterator[ActorStatistics]:
        """Go through the actors that there are now, from the first spawned to the last.

        One that has ended when its turn comes is still among them.
        """
        for target in self._post.targets():
            if isinstance(target, Cell):
                yield target.statistics()

    def actor_statistics(self, ref: Ref[Any]) -> ActorStatistics | None:
        """Return the counts of one actor, None when it has ended."""
        cell = self._post.find(ref)
        return cell.statistics() if isinstance(cell, Cell) else None

    # Other systems

    @property
    def members(self) -> tuple[Node, ...]:
        """The systems of the cluster that are there, as far as is known, this one included.

        Each has an ``address`` and an ``incarnation``. Empty when this one is reached by nobody.
        """
        return () if self._front is None else self._front.membership.live()

    def join(self, seeds: Iterable[str]) -> None:
        """Ask those at ``HOST:PORT`` addresses, too, who else there is.

        Raises:
            InvalidParameter: one is no address, there are too many, or this system is reached by
                nobody.
        """
        self._require_front().membership.join(seeds)

    def set_delivery(self, address: str, delivery: Delivery) -> None:
        """Say how messages to the system at an address are delivered, from now on.

        Raises:
            InvalidParameter: it is no way of delivery, or this system is reached by nobody.
        """
        check_choice("delivery", delivery, Delivery)
        self._require_front().network.links.set_delivery(address, delivery)

    def links(self) -> list[LinkStatistics]:
        """Return the state of each link to another system, by address."""
        return [] if self._front is None else self._front.network.links.statistics()

    def learn(self, *kinds: type) -> None:
        """Let messages of these classes be read, of which none was told here so far.

        What actors here declare, handle or are annotated with is known without this.

        Raises:
            InvalidParameter: one is no message, or another class has its name and version.
        """
        self._post.vocabulary.learn_all(kinds)

    def offer(
        self,
        name: str,
        factory: Callable[..., Any],
        *,
        restart: Restart = DEFAULT_RESTART,
        mailbox: MailboxPolicy | None = None,
        limit: int = 10_000,
    ) -> None:
        """Let other systems spawn actors here, see :meth:`spawn_at`; they are this system's own.

        Args:
            name: under which it is asked for.
            factory: as of ``spawn``; called with the arguments that the other system gives. The
                classes of messages that its parameters are annotated with are known then.
            restart: as of ``spawn``.
            mailbox: as of ``spawn``.
            limit: so many of them there may be at a time; one more is not spawned.

        Raises:
            InvalidParameter: the name is empty or taken, the limit is none, or this system is
                reached by nobody; a class in an annotation has the name and version of another one.
        """
        self._require_front().network.offers.add(name, Offer(factory, restart, mailbox, limit))

    async def spawn_at(
        self,
        address: str,
        name: str,
        *args: Any,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Ref[Any]:
        """Spawn what the system at an address offers, and return the reference.

        Waits for that system to be a member of the cluster. Cancelled or timed out, the actor may
        have been spawned.

        Args:
            address: of that system.
            name: of what it offers.
            args: messages or plain values; classes of messages are to be known there.
            timeout_seconds: for everything.

        Raises:
            StartFailed: it was not spawned, and why.
            AskTimedOut: the time is over.
            InvalidParameter: an argument is neither plain nor a message, or this system is
                reached by nobody.
        """
        check_seconds("timeout_seconds", timeout_seconds)
        links = self._require_front().network.links
        return await spawn_elsewhere(
            links, self._post, address, name, args, timeout_seconds=timeout_seconds
        )

    def _require_front(self) -> Front:
        if self._front is None:
            raise InvalidParameter("host", None, "given to a system that others reach")
        return self._front

    async def spawn_offer(self, offer: Offer, args: tuple[Any, ...]) -> Ref[Any]:
        """Spawn what another system has asked for; errors as of ``spawn``."""
        ref: Ref[Any] = await self.spawn(
            offer.factory, *args, restart=offer.restart, mailbox=offer.mailbox
        )
        return ref

    async def _family(self) -> Family:
        return self._root


@asynccontextmanager
async def open_actor_system(
    host: str | None = None,
    port: int = 0,
    *,
    name: str = "local",
    networking: Networking = DEFAULT_NETWORKING,
    strategy: Strategy = "one_for_one",
    limits: Limits = DEFAULT_LIMITS,
    report: Report = log_failure,
    on_spawn: Callable[[Spawned], None] | None = None,
    ports: Host = REAL_HOST,
) -> AsyncIterator[ActorSystem]:
    """Open a system of actors that lives as long as the body.

    Left normally, its actors are stopped from the last spawned to the first, and then what waits
    for other systems is sent, all within ``limits.stop_seconds``, and then cancelled; left by an
    exception or a cancellation, they are cancelled at once. Either way none is left, and every ask
    that waits has its answer.

    Args:
        host: where other systems reach it; None: they do not, and no socket is opened.
        port: for TCP and for UDP; 0 takes any that is free for both.
        name: the address in references of a system that is not reached by others; else it is
            ``HOST:PORT``.
        networking: how it finds others, and how it sends.
        strategy: which of its own actors are restarted when one of them fails.
        limits: its bounds.
        report: hears an ``ActorFailed`` for each failure, with what follows from it; must not
            raise. By default it is one line at level ERROR of the standard logger
            ``trio440.actors``, whose DEBUG has the traceback; the same logger is then told of the
            first message of each kind that is lost by a mistake.
        on_spawn: hears of each actor that is spawned; must not raise.
        ports: the machine.

    Raises:
        AddressError: it cannot listen there.
        RestartsExhausted: an actor of the system failed once more than its supervision allows;
            the body is cancelled.
        SystemSuperseded: the others know a later life at this address and listen to this one no
            more; the body is cancelled.
        InvalidParameter: the name is empty, the strategy none, the port out of range, a seed
            is no address, or there is a port or a networking and no host.
    """
    check_text("name", name)
    if host is None and (port or networking != DEFAULT_NETWORKING):
        raise InvalidParameter("host", None, "given along with a port or a networking")
    check_choice("strategy", strategy, Strategy)
    async with AsyncExitStack() as stack:
        front = None
        microseconds = ports.wall.now_ns() // 1000
        incarnation = microseconds << LIFE_BITS | ports.rng.getrandbits(LIFE_BITS)
        if host is not None:
            front = await stack.enter_async_context(open_front(host, port, networking, ports))
            name = front.address
            # Nobody may know of a life that was short: the same number again would be taken for it.
            known = max(networking.after, await front.latest())
            later = known + 1 + ports.rng.getrandbits(2 * LIFE_BITS)
            incarnation = max(incarnation, later)
        post = Post(name, incarnation, limits=limits, ports=ports, report=report, on_spawn=on_spawn)
        async with _open(post, Family(post, strategy, None), front) as system:
            yield system


@asynccontextmanager
async def _open(post: Post, root: Family, front: Front | None) -> AsyncIterator[ActorSystem]:
    """Run a system, with a way to others or without one."""
    clock, seconds = post.clock, post.limits.stop_seconds
    async with open_service_nursery() as nursery:
        nursery.start_soon(post.timers.run)
        nursery.start_soon(post.deadlines.run)
        nursery.start_soon(root.run, None)
        await root.wait_opened()
        system = ActorSystem(post, root, front)
        async with nullcontext() if front is None else front.serve(post, system.spawn_offer):
            try:
                yield system
                deadline = clock.now() + seconds
                await root.shut(seconds)
                if front is not None:
                    await front.leave(deadline)
            finally:
                post.close()
                await root.abort()
