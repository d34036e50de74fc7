"""The post office of one system: every message passes here, on its way to a mailbox or to none.

It knows all that can be told, by number; copies what is told; counts; and tells those who listen
of dead letters. It knows nothing of lives and supervision.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeAlias, final

import attrs
import trio

from trio440.actors.belongings import Watched, Watcher
from trio440.actors.checks import check_count, check_seconds, check_text
from trio440.actors.handlers import Table
from trio440.actors.limits import Limits, SystemStatistics
from trio440.actors.messages import Entry, Vocabulary
from trio440.actors.notices import DeadLetter, DeadReason, Spawned
from trio440.actors.oneshot import Asked, OneShot, Target
from trio440.actors.ref import Ref
from trio440.actors.reporting import LOUD, Losses, log_failure
from trio440.actors.timers import Timers
from trio440.core.channels import Chan
from trio440.core.host import Host
from trio440.errors import (
    ActorFailed,
    ActorStopped,
    BadMessage,
    InvalidParameter,
    LimitReached,
    NameTaken,
    SystemStopped,
)

__all__ = ["Counters", "Far", "Post", "Report"]

Report: TypeAlias = Callable[[ActorFailed], None]


class Far(Protocol):
    """The way to actors of other systems."""

    def tell(self, ref: Ref[Any], message: Any, sender: Ref[Any] | None) -> None:
        """Encode a message and send it; never raises, never waits."""

    def ask(
        self,
        ref: Ref[Any],
        question: Any,
        shot: OneShot,
        timeout_seconds: float,
        sender: Ref[Any] | None,
    ) -> None:
        """Encode a question and send it; raises what ``Speaker.ask`` does for one that is none."""

    def forget(self, shot: OneShot) -> None:
        """Hear that nobody waits for an answer any more."""

    def watch(self, ref: Ref[Any], watch: int, watcher: Watcher) -> Watched:
        """Let somebody hear of an end; the watch may be over at once."""

    def unwatch(self, watch: int) -> None:
        """Forget a watch."""

    def stop(self, ref: Ref[Any], timeout_seconds: float, *, drain: bool) -> None:
        """Let an actor end."""

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return whom a name leads to over the whole cluster."""

    def ended(self, ref: Ref[Any]) -> None:
        """Hear that an actor here has ended."""


@attrs.define
class Counters:
    """What is counted while a system lives."""

    sent_by_actors: int = 0
    sent_from_outside: int = 0
    bytes_sent: int = 0
    sent_without_encoding: int = 0
    remote_bytes_received: int = 0
    one_shots_used: int = 0
    spawned: int = 0
    ended: int = 0
    crashes: int = 0
    restarts: int = 0
    highest_rate_of_ended: float = 0.0
    dead: Counter[str] = attrs.field(factory=Counter)
    unheard: int = 0


@final
class Post:
    """Where the messages of a system pass."""

    def __init__(
        self,
        address: str,
        incarnation: int,
        *,
        limits: Limits,
        ports: Host,
        report: Report,
        on_spawn: Callable[[Spawned], None] | None,
    ) -> None:
        self.address: Final = address
        self.incarnation: Final = incarnation
        self.limits: Final = limits
        self.ports: Final = ports
        self.clock: Final = ports.clock
        self.report: Final = report
        self.on_spawn: Final = on_spawn
        self.vocabulary: Final = Vocabulary()
        self.counters: Final = Counters()
        self.timers: Final = Timers(ports.clock, limits.timers)
        self.deadlines: Final = Timers(ports.clock, limits.open_asks)
        """Of asks."""
        self.names: Final[dict[str, Ref[Any]]] = {}
        self.names_changed: Final = trio.lowlevel.ParkingLot()
        """Tasks that wait for a name."""
        self.tables: Final = dict[type, Table]()
        """The handlers of the classes of actors that were spawned."""
        self.functions: Final = set[Any]()
        """The functions that were spawned as actors, each with its number of arguments."""
        self.far: Far | None = None
        """None where there is no way to other systems."""
        self.is_closed = False
        self._entries: Final = self.vocabulary.entries
        self._targets: Final[dict[int, Target]] = {}
        self._shots: Final[dict[int, OneShot]] = {}
        self._listeners: Final[dict[Chan[DeadLetter], None]] = {}
        self._losses: Final = Losses() if report is log_failure else None
        self._last_counter = 0
        self._last_watch = 0

    # References and what they lead to

    def next_ref(self) -> Ref[Any]:
        """Return a reference that nobody has had."""
        self._last_counter += 1
        return Ref(self.address, self._last_counter, self.incarnation)

    @property
    def actors(self) -> int:
        """How many actors there are."""
        return len(self._targets)

    def targets(self) -> list[Target]:
        """Return the actors that there are, from the first spawned to the last."""
        return list(self._targets.values())

    def next_watch(self) -> int:
        """Return a number that no watch has had."""
        self._last_watch += 1
        return self._last_watch

    def enter(self, target: Target) -> None:
        """Let a target be found by its reference."""
        self._targets[target.ref.counter] = target

    def forget(self, ref: Ref[Any]) -> None:
        """Let a reference lead to the dead letters."""
        self._targets.pop(ref.counter, None)
        if self.far is not None:
            self.far.ended(ref)

    def forget_shot(self, counter: int) -> None:
        """Let a one-shot reference lead to the dead letters."""
        self._shots.pop(counter, None)

    def find(self, ref: Ref[Any]) -> Target | None:
        """Return what a reference leads to, or None."""
        if ref.incarnation == self.incarnation and ref.address == self.address:
            return self._targets.get(ref.counter) or self._shots.get(ref.counter)
        return None

    def far_for(self, ref: Ref[Any]) -> Far | None:
        """Return the way to an actor of another system; None for one here, or without a way."""
        return None if ref.address == self.address else self.far

    def why_dead(self, ref: Ref[Any]) -> tuple[DeadReason, str]:
        """Say why a reference leads nowhere, as a reason and in words that follow it."""
        if self.is_closed:
            return "stopped", "has stopped with its system"
        if ref.is_of_another_life(self.address, self.incarnation):
            return (
                "other_life",
                "belongs to another life of this system, or to another one of its name",
            )
        if ref.address != self.address:
            return "unreachable", "belongs to a system that is not known here"
        if 1 <= ref.counter <= self._last_counter:
            return "stopped", "has stopped"
        return "unknown_actor", "has never been"

    # Names

    def register(self, name: str, ref: Ref[Any]) -> None:
        """Give a name to a reference.

        Raises:
            NameTaken: another one has it.
            InvalidParameter: it is no text of 1 to 200 characters.
        """
        check_text("name", name)
        if (other := self.names.get(name)) is not None and other != ref:
            raise NameTaken(name, other)
        self.names[name] = ref
        self.names_changed.unpark_all()

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return whom a name leads to: one of this system before one of the cluster."""
        ref = self.names.get(name)
        return self.far.lookup(name) if ref is None and self.far is not None else ref

    def unregister(self, name: str, ref: Ref[Any]) -> None:
        """Take a name away if this reference has it."""
        if self.names.get(name) == ref:
            del self.names[name]

    # Messages

    def tell(self, ref: Ref[Any], message: Any, sender: Ref[Any] | None) -> None:
        """Copy a message and put it where its reference leads; never raises, never waits."""
        if ref.address != self.address and self.far is not None:
            self.far.tell(ref, message, sender)
            return
        entry = self._entries.get(type(message))
        if entry is not None and entry.shared:
            self.counters.sent_without_encoding += 1
        else:
            try:
                message = self.copy(entry, message)
            except (InvalidParameter, BadMessage) as error:
                self.bury_uncopied(ref, message, error, sender)
                return
        # What find and route do, without their calls: this is the path of every message.
        if ref.incarnation == self.incarnation and ref.address == self.address:
            target = self._targets.get(ref.counter)
            if target is not None:
                target.deliver(message, sender)
                return
        self.route(ref, message, sender)

    def route(self, ref: Ref[Any], message: Any, sender: Ref[Any] | None) -> None:
        """Put a message that was copied where its reference leads."""
        if (target := self.find(ref)) is not None:
            target.deliver(message, sender)
        else:
            self.bury(ref, message, *self.why_dead(ref), sender)

    def copy(self, entry: Entry | None, message: Any) -> Any:
        """Return a message as its receiver gets it, and count its bytes.

        Raises:
            InvalidParameter: it is no message, or cannot be encoded.
            BadMessage: what it is encoded to cannot be read.
        """
        if entry is None:
            entry = self.vocabulary.learn(type(message))
        copied, size = self.vocabulary.copy(entry, message)
        self.counters.bytes_sent += size
        self.counters.sent_without_encoding += not size
        return copied

    def encode(self, message: Any) -> tuple[Entry, bytes]:
        """Return what is known of a message's class, and its wire form; counts its bytes.

        Raises:
            InvalidParameter: it is no message, or cannot be encoded.
        """
        entry = self._entries.get(type(message)) or self.vocabulary.learn(type(message))
        data = entry.codec.encode(message)
        self.counters.bytes_sent += len(data)
        return entry, data

    def bury_uncopied(
        self, ref: Ref[Any], message: Any, error: Exception, sender: Ref[Any] | None
    ) -> None:
        """Bury a message that could not be copied, or encoded."""
        reason: DeadReason = "undecodable"
        if not isinstance(error, BadMessage):
            reason = "unencodable" if type(message) in self._entries else "unknown_message"
        self.bury(ref, message, reason, str(error), sender)

    async def ask(
        self, ref: Ref[Any], question: Any, timeout_seconds: float, sender: Ref[Any] | None
    ) -> Any:
        """Ask, and return the answer; see ``Speaker.ask``."""
        check_seconds("timeout_seconds", timeout_seconds)
        far, copied = self.far_for(ref), question
        if far is None:
            copied = self.copy(self._entries.get(type(question)), question)
        shot = self.open_shot()
        try:
            # A place in a heap costs a third of what a cancel scope does.
            shot.limit(ref, timeout_seconds)
            self.deadlines.limit(shot, timeout_seconds)
            if far is not None:
                far.ask(ref, question, shot, timeout_seconds, sender)
            elif (target := self.find(ref)) is None:
                reason, detail = self.why_dead(ref)
                self.bury(ref, copied, reason, detail, sender)
                shot.fail(ActorStopped(ref, detail))
            else:
                target.accept(Asked(copied, shot), sender)
            return await shot.wait()
        finally:
            if far is not None:
                far.forget(shot)
            shot.close()
            self.deadlines.note_end()

    def open_shot(self) -> OneShot:
        """Make a one-shot reference; whoever gets it closes it.

        Raises:
            LimitReached: as many wait as may.
            SystemStopped: the system has stopped.
        """
        if self.is_closed:
            raise SystemStopped(self.address)
        if len(self._shots) >= self.limits.open_asks:
            raise LimitReached("one-shot references", self.limits.open_asks)
        self._last_counter = counter = self._last_counter + 1
        self.counters.one_shots_used += 1
        shot = self._shots[counter] = OneShot(counter, self)
        return shot

    def answer(self, counter: int, value: Any, sender: Ref[Any]) -> None:
        """Give a one-shot reference, by its counter, the answer that was waited for."""
        if (shot := self._shots.get(counter)) is not None:
            shot.deliver(value, sender)

    def refuse(self, counter: int, error: Exception) -> None:
        """Give a one-shot reference, by its counter, an error in the place of an answer."""
        if (shot := self._shots.get(counter)) is not None:
            shot.fail(error)

    # Dead letters

    def bury(
        self,
        ref: Ref[Any],
        message: Any,
        reason: DeadReason,
        detail: str = "",
        sender: Ref[Any] | None = None,
    ) -> None:
        """Count a message that reached nobody, and tell who listens."""
        self.counters.dead[reason] += 1
        if self._losses is not None and reason in LOUD:
            self._losses.note(ref, message, reason, detail)
        if self._listeners:
            letter = DeadLetter(ref, message, reason, detail, sender)
            for listener in self._listeners:
                try:
                    listener.send_nowait(letter)
                except (trio.WouldBlock, trio.ClosedResourceError):
                    self.counters.unheard += 1

    @contextmanager
    def listen(self, capacity: int) -> Iterator[Chan[DeadLetter]]:
        """Hear of dead letters while the body runs."""
        check_count("capacity", capacity)
        letters = Chan[DeadLetter](capacity)
        self._listeners[letters] = None
        try:
            yield letters
        finally:
            del self._listeners[letters]
            letters.close()

    # The end

    def close(self) -> None:
        """Take no messages any more, and let whoever waits for an answer know."""
        self.is_closed = True
        for shot in list(self._shots.values()):
            shot.fail(SystemStopped(self.address))

    def statistics(self, rates: Iterator[float]) -> SystemStatistics:
        """Return the counts; ``rates`` are those of the actors that are there."""
        counters = self.counters
        dead = dict(sorted(counters.dead.items()))
        return SystemStatistics(
            actors=self.actors,
            names=len(self.names),
            timers=len(self.timers),
            open_asks=len(self._shots),
            sent_by_actors=counters.sent_by_actors,
            sent_from_outside=counters.sent_from_outside,
            bytes_sent=counters.bytes_sent,
            sent_without_encoding=counters.sent_without_encoding,
            remote_bytes_received=counters.remote_bytes_received,
            one_shots_used=counters.one_shots_used,
            highest_rate=max([counters.highest_rate_of_ended, *rates]),
            spawned=counters.spawned,
            ended=counters.ended,
            crashes=counters.crashes,
            restarts=counters.restarts,
            dead_letters=sum(dead.values()),
            dead_by_reason=dead,
            dead_letters_unheard=counters.unheard,
        )
