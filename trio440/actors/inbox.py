"""What reaches one actor, and what it asks for while it handles a message.

The half of a cell that knows nothing of lives: its mailbox, its watchers, the message at hand and
what belongs to the present life. The cell's task parks here when there is nothing to handle.
"""

from typing import Any, Final

import trio

from trio440.actors.belongings import Belongings, Reply, Watcher
from trio440.actors.limits import MailboxPolicy
from trio440.actors.mailbox import Mailbox, Notice
from trio440.actors.notices import Down
from trio440.actors.oneshot import Asked
from trio440.actors.post import Post
from trio440.actors.rates import Rates
from trio440.actors.ref import Ref
from trio440.errors import ActorStopped, InvalidParameter

__all__ = ["PARKED_FOR_MAIL", "PARKED_FOR_SIGNALS", "RUNNING", "Inbox"]

RUNNING, PARKED_FOR_MAIL, PARKED_FOR_SIGNALS = 0, 1, 2


class Inbox:
    """Where the messages of one actor arrive."""

    __slots__ = (
        "_current",
        "_draining",
        "_is_ended",
        "_mailbox",
        "_own",
        "_parked",
        "_policy",
        "_post",
        "_rates",
        "_spawned_at",
        "_task",
        "_watchers",
        "name",
        "ref",
    )

    def __init__(self, post: Post, policy: MailboxPolicy, name: str | None) -> None:
        self.ref: Final = post.next_ref()
        self.name: Final = name
        self._post: Final = post
        self._policy: Final = policy
        self._spawned_at: Final = post.clock.now()
        self._task: trio.lowlevel.Task | None = None
        self._mailbox: Mailbox | None = None
        self._watchers: dict[int, Watcher] | None = None
        self._own: Belongings | None = None
        self._rates: Rates | None = None
        self._current: Any = None
        self._parked = RUNNING
        self._draining = False
        self._is_ended = False

    @property
    def task(self) -> trio.lowlevel.Task | None:
        """The task in which its handlers run."""
        return self._task

    @property
    def post(self) -> Post:
        """Where its messages go."""
        return self._post

    def rate(self) -> float:
        """Return the highest rate at which it told anybody."""
        if self._rates is None:
            return 0.0
        return self._rates.highest(self._post.clock.now() - self._spawned_at)

    # Messages in

    def deliver(self, message: Any, sender: Ref[Any] | None) -> None:
        """Take a message that was told."""
        if self._draining:
            self._post.bury(self.ref, message, "stopped", "it is stopping", sender)
            return
        mailbox = self._mailbox
        if mailbox is None:
            mailbox = self._open_mailbox()
        mailbox.put(message, sender)
        if self._parked == PARKED_FOR_MAIL:
            self._wake()

    def accept(self, asked: Asked, sender: Ref[Any] | None) -> None:
        """Take a question."""
        if self._draining:
            self._post.bury(self.ref, asked.message, "stopped", "it is stopping", sender)
            asked.shot.fail(ActorStopped(self.ref, "is stopping"))
            return
        mailbox = self._mailbox
        if mailbox is None:
            mailbox = self._open_mailbox()
        mailbox.put(asked, sender)
        if self._parked == PARKED_FOR_MAIL:
            self._wake()

    def notify(self, down: Down) -> None:
        """Take a notice of the end of an actor that it watches."""
        if self._is_ended:
            return
        mailbox = self._mailbox
        if mailbox is None:
            mailbox = self._open_mailbox()
        mailbox.put_notice(Notice(down))
        if self._parked == PARKED_FOR_MAIL:
            self._wake()

    def _open_mailbox(self) -> Mailbox:
        self._mailbox = Mailbox(self.ref, self._policy, self._post.bury)
        return self._mailbox

    # What its own actor asks for

    @property
    def own(self) -> Belongings:
        """What belongs to the present life."""
        if self._is_ended:
            raise ActorStopped(self.ref, "has stopped, and starts nothing any more")
        if self._own is None:
            self._own = Belongings()
        return self._own

    def note_sent(self, ref: Ref[Any]) -> None:
        """Count a message that it tells."""
        self._post.counters.sent_by_actors += 1
        if (rates := self._rates) is None:
            rates = self._rates = Rates()
        target = ref.counter if ref.address == self.ref.address else ref
        counts = rates.counts
        if target in counts:
            counts[target] += 1
        else:
            rates.count(target)

    def watch(self, ref: Ref[Any]) -> int:
        """Begin to watch; see ``Context.watch``."""
        watch = self._post.next_watch()
        target = self._post.find(ref)
        if isinstance(target, Inbox):
            self.own.watching[watch] = target
            target.add_watcher(watch, self)
        elif (far := self._post.far_for(ref)) is not None:
            self.own.watching[watch] = far.watch(ref, watch, self)
        else:
            self.own.watching[watch] = None
            self.notify(Down(ref, "unknown", watch, self._post.why_dead(ref)[1]))
        return watch

    def add_watcher(self, watch: int, watcher: Watcher) -> None:
        """Let somebody hear of its end."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watch] = watcher

    def remove_watcher(self, watch: int) -> None:
        """Hear that somebody watches it no more."""
        if self._watchers is not None:
            self._watchers.pop(watch, None)

    def stash(self) -> None:
        """Set the present message aside; see ``Context.stash``."""
        current = self._current
        if current is None:
            raise InvalidParameter("stash", "nothing", "called while a message is handled, once")
        mailbox = self._open_mailbox() if self._mailbox is None else self._mailbox
        mailbox.stash(current.down if type(current) is Notice else current)
        self._current = None

    def unstash(self) -> None:
        """Let what was set aside be handled next."""
        if self._mailbox is not None:
            self._mailbox.unstash()

    def hold_reply(self) -> Reply[Any]:
        """Owe the answer to the present question; see ``Context.hold_reply``."""
        current = self._current
        if type(current) is not Asked:
            raise InvalidParameter("hold_reply", "nothing", "called while a question is handled")
        self._current = None
        own = self.own
        reply = Reply[Any](self.ref, current.shot, self._post.vocabulary, own.replies.discard)
        own.replies.add(reply)
        return reply

    # Parking

    def _wake(self) -> None:
        self._parked = RUNNING
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    def _abort_park(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._parked = RUNNING
        return trio.lowlevel.Abort.SUCCEEDED
