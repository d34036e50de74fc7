"""The mailbox of one actor: what waits to be handled, up to a bound, and what was set aside.

It keeps the order of arrival, across asks that wait for room, too: who waits was here first. An
item is a message, a question with its asker, or a notice of the system.
"""

from collections import deque
from typing import Any, Final, final

from trio440.actors.limits import MailboxPolicy
from trio440.actors.notices import DeadReason, Down
from trio440.actors.oneshot import Asked, Bury, Shot
from trio440.actors.ref import Ref
from trio440.errors import ActorStopped, MailboxFull

__all__ = ["Mailbox", "Notice", "message_of"]


@final
class Notice:
    """A notice of the system in a mailbox; it finds room in a full one, and is never dropped."""

    __slots__ = ("down",)

    def __init__(self, down: Down) -> None:
        self.down: Final = down


def message_of(item: Any) -> Any:
    """Return the message in an item."""
    if type(item) is Asked:
        return item.message
    return item.down if type(item) is Notice else item


@final
class Mailbox:
    """A bounded queue with one reader, made when its first message comes."""

    __slots__ = ("_bury", "_capacity", "_policy", "_ref", "_stashed", "items", "line", "notices")

    def __init__(self, ref: Ref[Any], policy: MailboxPolicy, bury: Bury) -> None:
        self._ref: Final = ref
        self._policy: Final = policy
        self._bury: Final = bury
        self.items: Final = deque[Any]()
        """What waits, the oldest first. Whoever finds neither notices nor a line may take it
        from here."""
        self._capacity: Final = policy.capacity
        self._stashed: deque[Any] | None = None
        self.line: dict[Shot, Asked] | None = None
        """Asks that wait for room."""
        self.notices = 0
        """How many of the items are notices."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def stashed(self) -> int:
        """How many items are set aside."""
        return 0 if self._stashed is None else len(self._stashed)

    @property
    def is_full(self) -> bool:
        """Whether one item more would pass the bound."""
        return len(self.items) - self.notices + self.stashed >= self._capacity

    def put(self, item: Any, sender: Ref[Any] | None) -> None:
        """Take a message or question, let it wait for room, or drop one, as the policy says."""
        # The room of most mailboxes is told without a call: this is the path of every message.
        if (len(self.items) < self._capacity and self._stashed is None) or not self.is_full:
            self.items.append(item)
        elif self._policy.overflow == "drop_oldest":
            self._drop_oldest_for(item, sender)
        elif self._policy.overflow == "block_ask" and type(item) is Asked:
            if self.line is None:
                self.line = {}
            self.line[item.shot] = item
            item.shot.line = self.line
        else:
            self._drop(item, sender)

    def put_notice(self, notice: Notice) -> None:
        """Take a notice; it does not count, and its receiver bounds how many there can be."""
        self.items.append(notice)
        self.notices += 1

    def take(self) -> Any:
        """Take out the oldest item; there must be one."""
        item = self.items.popleft()
        if self.notices and type(item) is Notice:
            self.notices -= 1
        if self.line:
            self._admit()
        return item

    def stash(self, item: Any) -> None:
        """Set aside an item that was just taken.

        Raises:
            MailboxFull: that would pass the bound.
        """
        if self.is_full:
            raise MailboxFull(self._ref, self._policy.capacity)
        if self._stashed is None:
            self._stashed = deque()
        self._stashed.append(item)

    def unstash(self) -> None:
        """Put what is set aside before everything else, in its order."""
        if self._stashed is not None:
            self.items.extendleft(reversed(self._stashed))
            self._stashed = None

    def discard(self, reason: DeadReason, detail: str) -> None:
        """Empty the mailbox: what was in it are dead letters, asks among them fail."""
        self.unstash()
        items = list(self.items)
        self.items.clear()
        self.notices = 0
        for item in items:
            if type(item) is Notice:
                continue
            if type(item) is Asked:
                item.shot.fail(ActorStopped(self._ref, detail))
            self._bury(self._ref, message_of(item), reason, detail)
        if self.line:
            self._admit()

    def close(self, reason: DeadReason, detail: str) -> None:
        """As :meth:`discard`; asks that wait for room fail, too."""
        line, self.line = self.line, None
        for asked in list((line or {}).values()):
            self._bury(self._ref, asked.message, reason, detail)
            asked.shot.fail(ActorStopped(self._ref, detail))
        self.discard(reason, detail)

    def _drop_oldest_for(self, item: Any, sender: Ref[Any] | None) -> None:
        for place, oldest in enumerate(self.items):
            if type(oldest) is not Notice:
                del self.items[place]
                self.items.append(item)
                self._drop(oldest, None)
                return
        self._drop(item, sender)

    def _drop(self, item: Any, sender: Ref[Any] | None) -> None:
        if type(item) is Asked and self._policy.overflow != "drop_newest":
            item.shot.fail(MailboxFull(self._ref, self._policy.capacity))
        self._bury(self._ref, message_of(item), "mailbox_full", sender=sender)

    def _admit(self) -> None:
        while self.line and not self.is_full:
            shot, asked = next(iter(self.line.items()))
            del self.line[shot]
            shot.line = None
            if shot.is_open:
                self.items.append(asked)
