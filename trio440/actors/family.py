"""The children of one supervisor: their nursery, and what their decisions come to.

A supervisor is a nursery. The children of an actor live in a nursery of its own, which is made
when it spawns the first and has ended before the actor's own life has; those of the system live
in the system's. What is decided is :mod:`trio440.actors.supervision`'s business.

A child that is restarted alone does so in its own task. Where others are restarted with it, that
is a round, and rounds are done one after the other by the family's task: halt from right to left,
wait, start from left to right; who fails to start begins the round again.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol, TypeAlias, final

import trio

from trio440.actors.lives import is_crash
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.supervision import (
    Decision,
    Escalate,
    Restart,
    RestartThese,
    Strategy,
    Supervisor,
)
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import LimitReached, RestartsExhausted, SystemStopped

__all__ = ["Family", "Interrupted", "Member"]

MICROSECONDS: Final = 1_000_000

Task: TypeAlias = Callable[[], Awaitable[Any]]


class Member(Protocol):
    """A child as its family sees it."""

    @property
    def ref(self) -> Ref[Any]:
        """Its reference; the counter in it is its number."""

    @property
    def is_held(self) -> bool:
        """Whether it waits for a round to start it again."""

    def rate(self) -> float:
        """Return the highest rate at which it told anybody."""

    def members_below(self) -> "Iterator[Member]":
        """Go through its children, their children and so on."""

    def request_stop(self, *, drain: bool = False) -> None:
        """Let it end, after the present message or when its mailbox is empty."""

    def kill(self) -> None:
        """Let it end now."""

    async def run(self) -> None:
        """Live, until it has ended for good."""

    async def wait_started(self) -> None:
        """Wait for the first start; raises what it failed with."""

    async def wait_ended(self) -> None:
        """Wait until it has ended for good."""

    async def halt(self) -> None:
        """End its life, to be started again."""

    async def resume(self) -> RestartThese | None:
        """Start again; returns what was decided on a failure to start, None when there is none."""


class Interrupted(Protocol):
    """A supervisor as its family sees it."""

    def fail(self, error: Exception) -> None:
        """Hear that a child has used up its restarts, or what a task raised."""

    def interrupt(self) -> None:
        """Hear that this has not ended the supervisor for long."""


@final
class Family:
    """The children of an actor, or of a system when ``parent`` is None."""

    def __init__(self, post: Post, strategy: Strategy, parent: Ref[Any] | None) -> None:
        self.parent: Final = parent
        self._post = post
        self._supervisor = Supervisor(strategy)
        self._members: dict[int, Member] = {}
        self._nursery: trio.Nursery | None = None
        self._opened = trio.Event()
        self._ended = trio.Event()
        self._rounds: deque[tuple[Member, RestartThese]] = deque()
        self._tasks: list[Task] = []
        """To be started with the nursery."""
        self._failure: Exception | None = None
        self._until_failure = trio.CancelScope()
        self._changed = trio.Event()
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._members)

    def members(self) -> Iterator[Member]:
        """Go through the children, their children and so on."""
        for member in list(self._members.values()):
            yield member
            yield from member.members_below()

    # The task

    async def run(self, supervisor: Interrupted | None) -> None:
        """Hold the nursery until :meth:`shut` or :meth:`abort`.

        Args:
            supervisor: whose children they are, None for a system's.

        Raises:
            RestartsExhausted: a child of the system has used up its restarts.
        """
        try:
            async with open_service_nursery() as nursery:
                self._nursery = nursery
                if self._is_closing:
                    nursery.cancel_scope.cancel()
                for task in self._tasks:
                    nursery.start_soon(self._attend, task)
                self._opened.set()
                with self._until_failure:
                    await self._do_rounds()
                if self._failure is not None:
                    await self._fail(self._failure, supervisor)
        finally:
            self._is_closing = True
            if self._failure is not None and supervisor is not None:
                supervisor.fail(self._failure)  # a task may fail at the very end
            self._opened.set()
            self._ended.set()

    async def _fail(self, error: Exception, supervisor: Interrupted | None) -> None:
        """Let the supervisor fail; an actor has some time to finish what it does."""
        if supervisor is None:
            raise error
        supervisor.fail(error)
        await self._post.clock.sleep(self._post.limits.stop_seconds)
        supervisor.interrupt()
        await trio.Event().wait()

    async def wait_opened(self) -> None:
        """Wait until children can be started."""
        await self._opened.wait()

    async def _do_rounds(self) -> None:
        """Do one round after the other, for ever."""
        while True:
            while self._rounds:
                member, decision = self._rounds.popleft()
                if member.is_held:
                    await self._do_round(decision)
            self._changed = trio.Event()
            await self._changed.wait()

    async def _do_round(self, decision: RestartThese | None) -> None:
        while decision is not None:
            for counter in reversed(decision.stopped):
                member = self._members.get(counter)
                if member is None:
                    continue
                if counter in decision.started:
                    await member.halt()
                else:
                    await self._end(member)
            if decision.wait_us:
                await self._post.clock.sleep(decision.wait_us / MICROSECONDS)
            decision = await self._start_again(decision.started)

    async def _start_again(self, counters: tuple[int, ...]) -> RestartThese | None:
        for counter in counters:
            member = self._members.get(counter)
            if member is not None and (decision := await member.resume()) is not None:
                return decision
        return None

    async def _end(self, member: Member) -> None:
        member.request_stop()
        with self._post.clock.move_on_after(self._post.limits.stop_seconds) as scope:
            await member.wait_ended()
        if scope.cancelled_caught:
            member.kill()
            await member.wait_ended()

    # Children

    async def start(self, member: Member, restart: Restart) -> None:
        """Take a child and wait until it has started. Cancelled: it ends.

        Raises:
            StartFailed: it did not start.
            SystemStopped: the supervisor is ending.
        """
        nursery = self._nursery
        if self._is_closing or nursery is None:
            raise SystemStopped(self._post.address)
        self._members[member.ref.counter] = member
        self._supervisor.add(member.ref.counter, restart)
        nursery.start_soon(member.run, name=member.ref)
        try:
            await member.wait_started()
        except trio.Cancelled:
            member.kill()
            raise

    def host(self, family: "Family", supervisor: Interrupted) -> None:
        """Let the family of a child live beside the child."""
        if self._nursery is None:
            raise SystemStopped(self._post.address)
        self._nursery.start_soon(family.run, supervisor)

    def check_room(self) -> None:
        """Refuse one child more where there may be none.

        Raises:
            LimitReached: the system has as many actors as it may.
            SystemStopped: the supervisor is ending.
        """
        if self._is_closing or self._post.is_closed:
            raise SystemStopped(self._post.address)
        if self._post.actors >= self._post.limits.actors:
            raise LimitReached("actors", self._post.limits.actors)

    def forget(self, member: Member) -> None:
        """Hear that a child has ended for good."""
        self._members.pop(member.ref.counter, None)
        self._supervisor.forget(member.ref.counter)

    def decide(self, member: Member, restart: Restart, error: str | None) -> Decision:
        """Decide what follows from the end of a child's life; an escalation is begun, too.

        Args:
            member: the child, which has ended by itself.
            restart: how it is restarted.
            error: what it failed with, None when it ended normally.
        """
        now_us = round(self._post.clock.now() * MICROSECONDS)
        decision = self._supervisor.ended(
            member.ref.counter, failed=error is not None, now_us=now_us
        )
        if isinstance(decision, Escalate):
            problem = error or "it ended"
            self._note_failure(
                RestartsExhausted(member.ref, decision.restarts, restart.period_seconds, problem)
            )
        return decision

    def _note_failure(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._until_failure.cancel()

    # Tasks of the supervisor

    def start_soon(self, task: Task) -> None:
        """Run a task of the supervisor's until the end; what it raises lets the supervisor fail.

        Raises:
            SystemStopped: the supervisor is ending.
        """
        if self._is_closing:
            raise SystemStopped(self._post.address)
        if self._nursery is None:
            self._tasks.append(task)
        else:
            self._nursery.start_soon(self._attend, task)

    async def _attend(self, task: Task) -> None:
        try:
            await task()
        except Exception as error:
            if not is_crash(error):
                raise
            self._note_failure(error)
        except BaseExceptionGroup as group:  # of failures and the cancellation at the end
            cancelled, failures = group.split(trio.Cancelled)
            if cancelled is None or not isinstance(failures, ExceptionGroup):
                raise
            if not is_crash(failures):
                raise
            self._note_failure(failures)
            raise cancelled from None

    def begin_round(self, member: Member, decision: RestartThese) -> None:
        """Restart others along with a child that waits to be started again."""
        self._rounds.append((member, decision))
        self._changed.set()

    # The end

    async def shut(self, seconds: float) -> None:
        """Stop the children from right to left, all within ``seconds``; then cancel the rest."""
        self._is_closing = True
        with self._post.clock.move_on_after(seconds):
            for member in reversed(list(self._members.values())):
                member.request_stop()
                await member.wait_ended()
        await self.abort()

    async def abort(self) -> None:
        """Cancel the children and wait for their end, whatever happens meanwhile."""
        self._is_closing = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()
