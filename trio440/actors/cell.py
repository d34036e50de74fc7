"""One actor's cell: its task, its mailbox, and its lives one after the other.

::

    spawn ─▶ starting ─▶ serving ─▶ ending ─┬─▶ ended: Down to each watcher
                ▲           │ handler raises │
                │           ▼                │ its family decides
                └──── waiting: back-off, or a round of siblings

A life is one instance of the actor's class. Watches, timers and answers that are owed end with
the life; the mailbox and the reference last. The family decides whether another life follows.
Signals of the system (stop, halt, a failed child) are no messages: they are looked at before the
next message is.
"""

from collections.abc import Iterator
from typing import Any, Final, final

import trio

from trio440.actors.family import Family, Member
from trio440.actors.handlers import Table
from trio440.actors.inbox import PARKED_FOR_MAIL
from trio440.actors.limits import ActorStatistics
from trio440.actors.lives import (
    KILLED,
    NORMAL,
    Exit,
    Hold,
    Lifelike,
    Recipe,
    consequence_of,
    describe,
    is_crash,
)
from trio440.actors.mailbox import Notice, message_of
from trio440.actors.notices import Down
from trio440.actors.oneshot import Asked
from trio440.actors.post import Post
from trio440.actors.signals import Signalled
from trio440.actors.supervision import RestartThese
from trio440.errors import (
    ActorError,
    ActorFailed,
    ActorStopped,
    StartFailed,
    SystemStopped,
)

__all__ = ["Cell"]

MICROSECONDS: Final = 1_000_000
MESSAGES_PER_TURN: Final = 64


@final
class Cell(Signalled):
    """One actor."""

    __slots__ = (
        "_actor",
        "_children",
        "_family",
        "_handled",
        "_is_started",
        "_recipe",
        "_restarts",
        "_table",
    )

    def __init__(self, post: Post, family: Family, recipe: Recipe, name: str | None) -> None:
        super().__init__(post, recipe.mailbox, name)
        self._family: Final = family
        self._recipe: Final = recipe
        self._actor: Lifelike | None = None
        self._table: Table | None = None
        self._children: Family | None = None
        self._is_started = False
        self._restarts = 0
        self._handled = 0

    def __repr__(self) -> str:
        return f"<Cell {self.ref}>"

    # What others see

    def members_below(self) -> Iterator[Member]:
        """Go through its children, their children and so on."""
        if self._children is not None:
            yield from self._children.members()

    @property
    def waiting(self) -> int:
        """How many messages are in its mailbox."""
        return 0 if self._mailbox is None else len(self._mailbox)

    @property
    def handled(self) -> int:
        """How many messages it has handled, in all its lives."""
        return self._handled

    def statistics(self) -> ActorStatistics:
        """Return its counts."""
        mailbox = self._mailbox
        return ActorStatistics(
            ref=self.ref,
            kind=self._recipe.kind,
            name=self.name,
            waiting=self.waiting,
            stashed=0 if mailbox is None else mailbox.stashed,
            handled=self._handled,
            restarts=self._restarts,
            children=0 if self._children is None else len(self._children),
            watchers=len(self._watchers or ()),
        )

    def children(self) -> Family:
        """Return the family of its children, made when it is first asked for."""
        if self._actor is None:
            raise SystemStopped(self._post.address)
        if self._children is None:
            self._children = Family(self._post, self._actor.strategy, self.ref)
            self._family.host(self._children, self)
        return self._children

    # The task

    async def run(self) -> None:
        """Live, until it has ended for good."""
        self._task = trio.lowlevel.current_task()
        exit_ = KILLED
        cause: Exception | None = None
        try:
            while not self._is_over():
                exit_ = KILLED
                exit_ = await self._live(cause)
                if self._is_over() or not self._is_started:
                    self._note_last_failure(exit_)
                    break
                if (wait_us := self._wait_before_next(exit_)) is None:
                    break
                await self._wait_between_lives(wait_us)
                cause = exit_.error
        finally:
            self._finish(exit_)

    async def _live(self, cause: Exception | None) -> Exit:
        """Live one life, and return how it ended."""
        exit_ = KILLED
        self._scope = trio.CancelScope()
        try:
            with self._scope:
                exit_ = await self._act(cause)
        except Exception as error:
            if not is_crash(error):
                raise
            exit_ = Exit(error)
        except BaseExceptionGroup as group:  # of failures and the cancellation of the system
            cancelled, failures = group.split(trio.Cancelled)
            if cancelled is None or failures is None or not is_crash(failures):
                raise
            self._report(failures, "it was cancelled")
            raise cancelled from None
        finally:
            if self._children is not None:
                await self._children.abort()
            self._end_life(exit_)
        if self._failure is not None:
            exit_, self._failure = Exit(self._failure), None
        return exit_

    async def _act(self, cause: Exception | None) -> Exit:
        exit_ = NORMAL
        is_begun = False
        try:
            self._actor, self._table = self._recipe.make(self, self._recipe)
            if self._is_started:
                self._restarts += 1
                self._post.counters.restarts += 1
            if self._table.says_hello:
                await self._say_hello(self._actor, cause)
            is_begun = True
            self._note_started()
            await self._serve(self._actor, self._table)
        except Exception as error:
            if not is_crash(error):
                raise
            exit_ = Exit(error)
        if self._children is not None:
            await self._children.shut(self._post.limits.stop_seconds)
        if is_begun:
            await self._say_goodbye()
        return exit_

    async def _serve(self, actor: Lifelike, table: Table) -> None:
        """Handle one message after the other, until a signal says to end."""
        handlers = table.by_class
        turn = 0
        while True:
            if self._signalled and self._must_end():
                return
            mailbox = self._mailbox
            if mailbox is None or not mailbox.items:
                if self._draining:
                    self._stopping = True
                    return
                self._parked = PARKED_FOR_MAIL
                await trio.lowlevel.wait_task_rescheduled(self._abort_park)
                turn = 0
                continue
            # What take does, without its call: this is the path of every message.
            simple = not (mailbox.notices or mailbox.line)
            item = mailbox.items.popleft() if simple else mailbox.take()
            self._current = item
            if (handler := handlers.get(type(item))) is not None:
                await handler(actor, item)
            elif type(item) is Asked:
                await self._answer(item, actor, table)
            else:
                await self._handle_other(item, actor, table)
            self._current = None
            self._handled += 1
            turn += 1
            if turn == MESSAGES_PER_TURN:
                turn = 0
                await trio.lowlevel.checkpoint()

    async def _handle_other(self, item: Any, actor: Lifelike, table: Table) -> None:
        """Handle a notice, or what there is no handler of its own for."""
        message = item
        if type(item) is Notice:
            message = item.down
            if self._own is None or message.watch not in self._own.watching:
                return  # unwatched meanwhile, or watched by an earlier life
            del self._own.watching[message.watch]
        handler = table.by_class.get(type(message), table.fallback)
        if handler is None:
            self._post.bury(self.ref, message, "unhandled")
        else:
            await handler(actor, message)

    async def _answer(self, asked: Asked, actor: Lifelike, table: Table) -> None:
        handler = table.by_class.get(type(asked.message), table.fallback)
        if handler is None:
            asked.shot.fail(ActorStopped(self.ref, "has no handler for this question"))
            self._post.bury(self.ref, asked.message, "unhandled")
            return
        try:
            answer = await handler(actor, asked.message)
            if self._current is asked:
                asked.shot.deliver(self._post.vocabulary.copy_answer(answer), self.ref)
        except Exception as error:
            if self._current is asked:
                failed = ActorFailed(self.ref, describe(error))
                failed.__cause__ = error
                asked.shot.fail(failed)
            raise

    # Between lives

    def _note_started(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._wake_starter()
        hold = self._hold
        if hold is not None and hold.go:
            self._hold = None
            hold.resumed.set()

    async def _say_hello(self, actor: Lifelike, cause: Exception | None) -> None:
        """Let the actor begin its life, in bounded time: its siblings may wait for it."""
        seconds = self._post.limits.start_seconds
        with self._post.clock.move_on_after(seconds) as scope:
            if self._is_started:
                await actor.on_restart(cause)
            else:
                await actor.on_start()
        if scope.cancelled_caught:
            raise trio.TooSlowError(f"it had not started within {seconds:g} s")

    async def _say_goodbye(self) -> None:
        """Let the actor end its life, in bounded time; what goes wrong there is only reported."""
        actor, table = self._actor, self._table
        if actor is None or table is None or not table.says_goodbye:
            return
        try:
            with self._post.clock.move_on_after(self._post.limits.stop_seconds) as scope:
                await actor.on_stop()
            if scope.cancelled_caught:
                self._report(trio.TooSlowError("on_stop took too long"), "it was cancelled")
        except Exception as error:
            if not is_crash(error):
                raise
            self._report(error, "its life had ended")

    def _end_life(self, exit_: Exit) -> None:
        """Drop what belongs to a life alone."""
        current, self._current = self._current, None
        if current is not None and exit_.is_killed:
            detail = "was stopped while handling it"
            self._post.bury(self.ref, message_of(current), "interrupted", detail)
            if type(current) is Asked:
                current.shot.fail(ActorStopped(self.ref, detail))
        if self._own is not None:
            self._own.drop()
            self._own = None
        self._children = None
        self._actor = self._table = None
        self._scope = None
        if self._mailbox is not None:
            self._mailbox.unstash()

    def _wait_before_next(self, exit_: Exit) -> int | None:
        """Return for how many microseconds to wait before the next life, None if there is none."""
        if exit_.error is None and not self._leaving:
            return 0  # halted, for a round
        self._leaving = False
        problem = None if exit_.error is None else describe(exit_.error)
        restart = self._recipe.restart
        decision = self._family.decide(self, restart, problem)
        if exit_.error is not None:
            self._post.counters.crashes += 1
            self._report(exit_.error, consequence_of(decision, restart))
        if not isinstance(decision, RestartThese):
            return None
        if not restart.keep_mailbox and self._mailbox is not None:
            self._mailbox.discard("restarted", "was restarted")
        return self._join_round(decision)

    def _note_last_failure(self, exit_: Exit) -> None:
        """Report a failure on which nobody decides; one to start is raised where it is spawned."""
        if exit_.error is not None and self._is_started:
            self._post.counters.crashes += 1
            self._report(exit_.error, "it was being stopped")

    def _join_round(self, decision: RestartThese) -> int:
        """Begin a round or tell the present one, and return how long to wait when alone."""
        hold = self._hold
        if hold is None:
            if decision.stopped == (self.ref.counter,):
                return decision.wait_us
            self._hold = Hold(is_halted=True)
            self._family.begin_round(self, decision)
        elif hold.go:  # it did not start: the round begins again
            self._hold = Hold(is_halted=True)
            hold.decision = decision
            hold.resumed.set()
        return 0

    async def _wait_between_lives(self, wait_us: int) -> None:
        """Wait for the back-off, then for a round where there is one; a stop ends both."""
        await trio.lowlevel.checkpoint()
        if wait_us:
            with self._post.clock.move_on_after(wait_us / MICROSECONDS):
                while self._hold is None and not self._stopping:
                    await self._wait_signal()
        while (hold := self._hold) is not None and not hold.go and not self._stopping:
            hold.halted.set()
            await self._wait_signal()

    # The end

    def _finish(self, exit_: Exit) -> None:
        """End for good: nothing leads here any more, and everybody who waits is told."""
        self._is_ended = True
        post = self._post
        post.forget(self.ref)
        post.counters.ended += 1
        post.counters.highest_rate_of_ended = max(post.counters.highest_rate_of_ended, self.rate())
        if self.name is not None:
            post.unregister(self.name, self.ref)
        self._family.forget(self)
        if self._mailbox is not None:
            self._mailbox.close("stopped", "has stopped")
            self._mailbox = None
        self._tell_watchers(exit_)
        if not self._is_started:
            self._wake_starter(self._why_not_started(exit_))
        if self._end is not None:
            self._end.set()
        if self._hold is not None:
            self._hold.halted.set()
            self._hold.resumed.set()

    def _tell_watchers(self, exit_: Exit) -> None:
        watchers, self._watchers = self._watchers, None
        for watch, watcher in (watchers or {}).items():
            if exit_.error is None:
                watcher.notify(Down(self.ref, "stopped", watch))
            else:
                watcher.notify(Down(self.ref, "crashed", watch, describe(exit_.error)))

    def _why_not_started(self, exit_: Exit) -> ActorError:
        if exit_.error is None:
            return ActorStopped(self.ref, "was stopped before it had started")
        failed = StartFailed(self.ref, describe(exit_.error))
        failed.__cause__ = exit_.error
        return failed

    def _report(self, error: BaseException, consequence: str) -> None:
        report = ActorFailed(self.ref, describe(error), consequence)
        report.__cause__ = error
        self._post.report(report)
