"""Actors as their authors see them: the base class, the context, and how they are spawned."""

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple, final, overload

import attrs
import trio

from trio440.actors.belongings import Reply
from trio440.actors.cell import Cell
from trio440.actors.checks import check_seconds
from trio440.actors.family import Family
from trio440.actors.handlers import Handler, Table, declared_by, table_of, taken_by
from trio440.actors.limits import MailboxPolicy
from trio440.actors.lives import Lifelike, Recipe
from trio440.actors.messages import Question
from trio440.actors.notices import Down, Spawned
from trio440.actors.oneshot import OneShot
from trio440.actors.ref import Ref, check_ref
from trio440.actors.speaker import DEFAULT_TIMEOUT_SECONDS, Speaker
from trio440.actors.supervision import Restart, Strategy
from trio440.actors.timers import Timer
from trio440.errors import InvalidParameter

__all__ = ["Actor", "Context", "Spawner"]

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")
Args = TypeVarTuple("Args")

DEFAULT_RESTART = Restart()


class Actor(Generic[M_contra]):
    """Base of actors: ``class Counter(Actor[Add | Get])`` takes messages of ``Add`` and ``Get``.

    Messages are handled one at a time, in the order in which they came: by the method that is
    decorated with :func:`~trio440.actors.handler` for their class, otherwise by
    :meth:`receive`. A class that has neither for a message in its type argument cannot be
    spawned. A handler may wait, and its mailbox waits meanwhile. What a handler raises
    ends the actor's life, and supervision decides what follows.

    The class of a restarted actor is called again with the same arguments: a life has only what
    it is given, what it reads in ``on_start``, and what it is told.
    """

    strategy: Strategy = "one_for_one"
    """Which of its children are restarted when one of them fails."""

    __context: "Context[Any] | None" = None

    @property
    def context(self) -> "Context[M_contra]":
        """What the actor can do; not there yet in ``__init__``.

        Raises:
            InvalidParameter: the actor was not spawned.
        """
        if self.__context is None:
            raise InvalidParameter("context", None, "used in on_start and later")
        return self.__context

    async def receive(self, message: M_contra) -> Any:
        """Handle messages that have no handler of their own; of a question, return the answer."""
        raise NotImplementedError

    async def on_start(self) -> None:
        """Begin the first life; runs before the first message, and ``spawn`` waits for it.

        It has ``Limits.start_seconds``; who takes longer has failed to start. What is to take
        longer belongs behind it: the actor tells itself a message here.
        """

    async def on_restart(self, error: Exception | None) -> None:
        """Begin a later life, with a new instance; calls :meth:`on_start` unless it is overridden.

        It has ``Limits.start_seconds``, too; to take longer is one more failure.

        Args:
            error: what the life before failed with; None when it ended normally, or along with a
                sibling.
        """
        del error
        await self.on_start()

    async def on_stop(self) -> None:
        """End a life that had begun, whether it failed or not, after that of its children.

        It has ``Limits.stop_seconds``, and is not called when the actor is cancelled.
        """

    def _begin(self, context: "Context[Any]") -> None:
        self.__context = context


class Spawner(Speaker):
    """Sends messages, and is responsible for actors."""

    __slots__ = ()

    async def _family(self) -> Family:
        """Return the family in which actors are spawned."""
        raise NotImplementedError

    @overload
    async def spawn(
        self,
        factory: "Callable[[Context[M], M, *Args], Coroutine[Any, Any, Any]]",
        *args: *Args,
        name: str | None = None,
        restart: Restart = DEFAULT_RESTART,
        mailbox: MailboxPolicy | None = None,
    ) -> Ref[M]: ...
    @overload
    async def spawn(
        self,
        factory: Callable[[*Args], Actor[M]],
        *args: *Args,
        name: str | None = None,
        restart: Restart = DEFAULT_RESTART,
        mailbox: MailboxPolicy | None = None,
    ) -> Ref[M]: ...
    async def spawn(  # type: ignore[misc]  # mypy has no word for the union of both
        self,
        factory: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        restart: Restart = DEFAULT_RESTART,
        mailbox: MailboxPolicy | None = None,
    ) -> Ref[Any]:
        """Start an actor, wait until its ``on_start`` has returned, and return its reference.

        It is a child of whoever spawns it: of an actor, or of the system. Children that live end
        before their parent does. Cancelled: the actor ends.

        Args:
            factory: a class of actors, or what else returns one; or an async function
                ``handle(context, message, *args)``, which is called for each message.
            args: for the factory, each time when it is called; keyword arguments go through
                ``functools.partial``.
            name: under which :meth:`lookup` finds it while it lives.
            restart: when it is restarted, and how often.
            mailbox: its bound, and what happens there; ``Limits.mailbox`` when None.

        Raises:
            StartFailed: the factory or ``on_start`` raised, which is the cause, or took longer
                than ``Limits.start_seconds``; its class has no handler for what it declares; the
                function does not take the arguments.
                Nothing is left of the actor, and it is not restarted.
            ActorStopped: it was stopped before it had started.
            NameTaken: another actor has the name.
            LimitReached: there are as many actors as may be.
            SystemStopped: the system, or the parent, is ending.
            InvalidParameter: the name is empty.
        """
        family = await self._family()
        family.check_room()
        post = self._post
        policy = post.limits.mailbox if mailbox is None else mailbox
        recipe = Recipe(_make, factory, args, restart, policy)
        cell = Cell(post, family, recipe, name)
        if name is not None:
            post.register(name, cell.ref)
        post.enter(cell)
        post.counters.spawned += 1
        if post.on_spawn is not None:
            post.on_spawn(Spawned(cell.ref, family.parent, factory, args, name))
        await family.start(cell, restart)
        return cell.ref

    async def stop(
        self,
        ref: Ref[Any],
        *,
        drain: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """End an actor and its children, and wait until they have ended; it is not restarted.

        Stopping who has stopped already is no error. Always a checkpoint. Cancelled: it still ends
        as soon as the message that it handles is done. An actor of another system counts as ended
        when that system is lost.

        Args:
            ref: whom.
            drain: handle what is in the mailbox first, and take nothing more; otherwise the
                message that it handles is its last, the others are dead letters, and asks among
                them get ``ActorStopped``. Its children end without a drain, as in Erlang and Akka.
            timeout_seconds: after that it is cancelled, whatever it does.

        Raises:
            InvalidParameter: it is the calling actor itself, which ``leave`` ends; the time is
                negative or infinite.
        """
        check_seconds("timeout_seconds", timeout_seconds)
        check_ref(ref)
        if (far := self._post.far_for(ref)) is not None:
            far.stop(ref, timeout_seconds, drain=drain)
            await self.wait_stopped(ref)
            return
        cell = self._post.find(ref)
        if not isinstance(cell, Cell):
            await trio.lowlevel.checkpoint()
            return
        if cell.task is trio.lowlevel.current_task():
            raise InvalidParameter("ref", ref, "another actor: an actor ends itself with leave()")
        cell.request_stop(drain=drain)
        with self._post.clock.move_on_after(timeout_seconds):
            await cell.wait_ended()
            return
        cell.kill()
        await cell.wait_ended()

    async def wait_stopped(self, ref: Ref[Any]) -> Down:
        """Wait until an actor has ended for good, and return how; always a checkpoint.

        Raises:
            LimitReached: as many wait for one-shot references as may.
            SystemStopped: the system has stopped.
        """
        check_ref(ref)
        shot, watch = self._post.open_shot(), self._post.next_watch()
        cell, far = self._post.find(ref), self._post.far_for(ref)
        try:
            if far is not None:
                far.watch(ref, watch, _Waiter(shot))
            elif not isinstance(cell, Cell):
                shot.deliver(Down(ref, "unknown", watch, self._post.why_dead(ref)[1]), None)
            else:
                cell.add_watcher(watch, _Waiter(shot))
            down: Down = await shot.wait()
            return down
        finally:
            if far is not None:
                far.unwatch(watch)
            elif isinstance(cell, Cell):
                cell.remove_watcher(watch)
            shot.close()


@attrs.frozen
class _Waiter:
    """Hears of an end for somebody who is no actor."""

    shot: OneShot

    def notify(self, down: Down) -> None:
        self.shot.deliver(down, None)


@final
class Context(Spawner, Generic[M_contra]):
    """What one actor can do: send in its own name, spawn children, watch, leave."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell.post, cell)
        self._cell = cell

    def __repr__(self) -> str:
        return f"<Context of {self._cell.ref}>"

    @property
    def ref(self) -> Ref[M_contra]:
        """The actor's own reference."""
        return self._cell.ref

    def watch(self, ref: Ref[Any]) -> int:
        """Watch an actor: exactly one :class:`Down` comes as a message when it has ended for good.

        A restart is no end. An actor that has ended already, or that is not known, gives its Down
        at once. Each call is a watch of its own; it ends with the life in which it was made.

        Returns:
            The number of the watch, for :meth:`unwatch` and in its Down.
        """
        check_ref(ref)
        return self._cell.watch(ref)

    def unwatch(self, watch: int) -> None:
        """End a watch: no Down comes of it, be one in the mailbox already. Idempotent."""
        self._cell.own.unwatch(watch)

    def leave(self) -> None:
        """End normally once the present message is handled.

        Actors whose restart is ``permanent`` are restarted, all others have ended for good.
        """
        self._cell.leave()

    def stash(self) -> None:
        """Set the present message aside; a question's asker goes on waiting.

        To be called while a message is handled. What is set aside counts for the mailbox's bound,
        and is handled first after a restart that keeps the mailbox.

        Raises:
            MailboxFull: there is no room for it.
            InvalidParameter: no message is being handled, or it is set aside already.
        """
        self._cell.stash()

    def unstash_all(self) -> None:
        """Let what was set aside be handled next, in the order in which it came."""
        self._cell.unstash()

    def hold_reply(self, question: Question[R]) -> Reply[R]:
        """Answer the present question later, after its handler has returned.

        The handler returns what this returns.

        Args:
            question: the present message, which gives the reply its type.

        Raises:
            InvalidParameter: no question is being handled, or its answer is held already.
        """
        del question
        return self._cell.hold_reply()

    def start_soon(
        self, function: Callable[[*Args], Coroutine[Any, Any, Any]], *args: *Args
    ) -> None:
        """Run a task beside the handlers, for as long as the present life lasts.

        It is cancelled at the life's end, after the children have ended and before ``on_stop``.
        What it raises is a failure of the actor: the present message has
        ``Limits.stop_seconds`` to end, and then supervision decides.

        Raises:
            SystemStopped: the system, or the actor, is ending.
        """
        self._cell.children().start_soon(partial(function, *args))

    async def _family(self) -> Family:
        family = self._cell.children()
        await family.wait_opened()
        return family

    def _owners(self) -> set[Timer]:
        return self._cell.own.timers


@final
class _FunctionActor(Actor[Any]):
    """Handles every message by a function."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]], args: Any) -> None:
        self._function = function
        self._args = args

    async def receive(self, message: Any) -> Any:
        return await self._function(self.context, message, *self._args)


def _check_call(function: Callable[..., Any], args: tuple[Any, ...], what: str) -> None:
    """Refuse a function that cannot be called so.

    Raises:
        InvalidParameter: it cannot.
    """
    try:
        inspect.signature(function).bind(*args)
    except TypeError as error:
        shown = getattr(function, "__name__", function)
        raise InvalidParameter("a function", shown, f"{what} ({error})") from None


def _make(cell: Cell, recipe: Recipe) -> tuple[Lifelike, Table]:
    """Make an instance for one life."""
    if inspect.iscoroutinefunction(recipe.factory):
        actor: Any = _FunctionActor(recipe.factory, recipe.args)
        called = recipe.factory, len(recipe.args)
        if called not in cell.post.functions:
            what = "one that takes a context, a message and the arguments of spawn"
            _check_call(recipe.factory, (None, None, *recipe.args), what)
            cell.post.functions.add(called)
            cell.post.vocabulary.learn_all(taken_by(recipe.factory))
    else:
        factory: Any = recipe.factory
        if inspect.isfunction(factory):
            what = "async to handle messages, or one that takes the arguments of spawn"
            _check_call(factory, recipe.args, what)
        actor = factory(*recipe.args) if callable(factory) else None
    if not isinstance(actor, Actor):
        what = "an async function, or what returns a new Actor whenever it is called"
        raise InvalidParameter("factory", recipe.factory, what)
    cls = type(actor)
    table = cell.post.tables.get(cls)
    if table is None:
        fallback: Handler | None = None if cls.receive is Actor.receive else cls.receive
        declared = declared_by(cls, Actor)
        starts, restarts = cls.on_start is Actor.on_start, cls.on_restart is Actor.on_restart
        table = cell.post.tables[cls] = table_of(
            cls,
            fallback,
            declared=declared,
            says_goodbye=cls.on_stop is not Actor.on_stop,
            says_hello=not (starts and restarts),
        )
        cell.post.vocabulary.learn_all([*table.by_class, *declared])
    actor._begin(Context(cell))  # noqa: SLF001 - of this module
    return actor, table
