"""Watches between systems: exactly one Down for each, whatever becomes of systems and networks.

A watch of an actor elsewhere is asked for over the sure stream of the link, and answered over
that of the other side. Membership alone says that a system is lost, and then all watches of its
actors end; that they have ended is told to it, should it come back.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol, final

import attrs

from trio440.actors.belongings import Watched, Watcher
from trio440.actors.cluster import Node
from trio440.actors.inbox import Inbox
from trio440.actors.notices import Down, DownReason
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.remote.limits import LinkLimits
from trio440.actors.remote.parcels import Ended, Parcel, Unwatch, Watch, shown
from trio440.actors.remote.values import can_be_sent
from trio440.actors.timers import Timers
from trio440.errors import LimitReached

__all__ = ["Send", "Watches"]

REASONS: Final[dict[str, DownReason]] = {
    "stopped": "stopped",
    "crashed": "crashed",
    "unknown": "unknown",
    "lost": "lost",
}
MOST_WATCHERS: Final = 4096
"""Lives of other systems that watch actors here; anybody may claim to be one."""
UNREACHABLE: Final = "its system cannot be reached"
FULL: Final = "cannot be watched: there are as many watches as may be"


class Send(Protocol):
    """Sends what the systems say to each other, which is sent until it is received."""

    def __call__(self, node: Node, parcel: Parcel, *, is_wanted: bool) -> bool:
        """Send it; False: there is no link, and no room for one.

        Args:
            node: to whom.
            parcel: what.
            is_wanted: whether actors here speak to that system; otherwise it gets an answer.
        """


@attrs.frozen
class _Mine:
    """A watch of an actor elsewhere by one here."""

    ref: Ref[Any]
    watcher: Watcher


@final
class _Theirs:
    """A watch of an actor here by one elsewhere."""

    __slots__ = ("_over", "local", "target")

    def __init__(self, target: Inbox, local: int, over: Callable[[Down], None]) -> None:
        self.target: Final = target
        self.local: Final = local
        self._over = over

    def notify(self, down: Down) -> None:
        """Hear of the end."""
        self._over(down)


@final
class Watches(Watched):
    """All watches of one system that lead to others, or come from them."""

    def __init__(
        self,
        post: Post,
        send: Send,
        find: Callable[[str], Node | None],
        timers: Timers,
        limits: LinkLimits,
    ) -> None:
        """Start with none.

        Args:
            post: of this system.
            send: how parcels leave.
            find: gives the live member at an address.
            timers: of what is between systems.
            limits: on watches in each direction.
        """
        self._post = post
        self._send = send
        self._find = find
        self._timers = timers
        self._limit = limits.watches
        self._unknown_seconds = limits.unknown_seconds
        self._mine: dict[int, _Mine] = {}
        self._theirs: dict[tuple[str, int], dict[int, _Theirs]] = {}
        self._count = 0
        """Of watches in there."""

    def __len__(self) -> int:
        return len(self._mine) + self._count

    # Of actors elsewhere

    def begin(self, ref: Ref[Any], watch: int, watcher: Watcher) -> None:
        """Watch an actor elsewhere; a watch that cannot be is over at once."""
        if not can_be_sent(ref):
            watcher.notify(Down(ref, "lost", watch, UNREACHABLE))
            return
        self._mine[watch] = _Mine(ref, watcher)
        if len(self._mine) > self._limit:
            self._end(watch, "lost", FULL)
            return
        node = self._find(ref.address)
        if node is not None and node.incarnation > ref.incarnation:
            self._end(watch, "lost", "its system has ended, and another one is there")
            return
        asked = Watch(watch, ref.counter, ref.incarnation)
        if not self._send(Node(ref.address, ref.incarnation), asked, is_wanted=True):
            self._end(watch, "lost", UNREACHABLE)
        elif node is None or node.incarnation != ref.incarnation:
            try:
                self._timers.start(self._unknown_seconds, None, lambda _: self._look_again(watch))
            except LimitReached as error:
                self._end(watch, "lost", str(error))

    def _look_again(self, watch: int) -> None:
        """End a watch if the system that it leads to has not become a member."""
        mine = self._mine.get(watch)
        if mine is None:
            return
        node = self._find(mine.ref.address)
        if node is None or node.incarnation != mine.ref.incarnation:
            self._end(watch, "lost", "its system is no member of the cluster")

    def remove_watcher(self, watch: int) -> None:
        """End a watch: no Down comes of it."""
        mine = self._mine.pop(watch, None)
        if mine is not None:
            self._forget_there(mine.ref, watch)

    def _forget_there(self, ref: Ref[Any], watch: int) -> None:
        forgotten = Unwatch(watch, ref.incarnation)
        self._send(Node(ref.address, ref.incarnation), forgotten, is_wanted=True)

    def on_ended(self, ended: Ended, sender: Node) -> None:
        """Hear from another system that an actor of it has ended."""
        mine = self._mine.get(ended.watch)
        reason = REASONS.get(ended.reason, "stopped")
        if mine is not None and mine.ref.address == sender.address:
            self._end(ended.watch, reason, ended.detail, is_known=True)

    def lose(self, node: Node) -> None:
        """Hear that a system is lost: all watches of its actors end."""
        for watch, mine in list(self._mine.items()):
            if mine.ref.address == node.address and mine.ref.incarnation <= node.incarnation:
                self._end(watch, "lost", "its system is lost")

    def _end(self, watch: int, reason: DownReason, detail: str, *, is_known: bool = False) -> None:
        mine = self._mine.pop(watch)
        if not is_known:
            self._forget_there(mine.ref, watch)
        mine.watcher.notify(Down(mine.ref, reason, watch, detail))

    # By actors elsewhere

    def on_watch(self, asked: Watch, sender: Node) -> None:
        """Let an actor here be watched by one elsewhere."""
        key = sender.address, sender.incarnation
        theirs = self._theirs.get(key, {})
        target = self._post.find(Ref(self._post.address, asked.to, asked.life))
        if not isinstance(target, Inbox):
            ref: Ref[Any] = Ref(self._post.address, asked.to, asked.life)
            self._tell_end(sender, asked.watch, "unknown", self._post.why_dead(ref)[1])
        elif not self._has_room(sender, len(theirs)):
            self._tell_end(sender, asked.watch, "lost", FULL)
        elif asked.watch not in theirs:
            watch, local = asked.watch, self._post.next_watch()

            def over(down: Down) -> None:
                self._drop(sender, watch)
                self._tell_end(sender, watch, down.reason, down.detail)

            self._theirs[key] = theirs
            self._count += 1
            theirs[watch] = _Theirs(target, local, over)
            target.add_watcher(local, theirs[watch])

    def _has_room(self, sender: Node, count: int) -> bool:
        """Whether a system that has ``count`` watches may have one more.

        Systems that have gone, or never were members, make room for new ones.
        """
        is_member = self._find(sender.address) == sender
        if count >= self._limit or not (is_member or self._count < self._limit):
            return False
        if count or len(self._theirs) < MOST_WATCHERS:
            return True
        nodes = (Node(*key) for key in self._theirs)
        gone = next((node for node in nodes if self._find(node.address) != node), None)
        if gone is None:
            return False
        self._give_up(gone)
        return True

    def _give_up(self, node: Node) -> None:
        """End all watches by a system; should it be there all the same, it hears of that."""
        for watch in list(self._theirs.get((node.address, node.incarnation), ())):
            one = self._drop(node, watch)
            if one is not None:
                one.target.remove_watcher(one.local)
                self._tell_end(node, watch, "lost", FULL)

    def on_unwatch(self, asked: Unwatch, sender: Node) -> None:
        """Forget a watch from elsewhere."""
        one = self._drop(sender, asked.watch)
        if one is not None:
            one.target.remove_watcher(one.local)

    def _drop(self, sender: Node, watch: int) -> _Theirs | None:
        key = sender.address, sender.incarnation
        theirs = self._theirs.get(key, {})
        one = theirs.pop(watch, None)
        self._count -= one is not None
        if not theirs:
            self._theirs.pop(key, None)
        return one

    def forget(self, address: str, but: int) -> None:
        """Forget what earlier lives of a system watch; ``but`` is the present one."""
        for key in [key for key in self._theirs if key[0] == address and key[1] < but]:
            theirs = self._theirs.pop(key)
            self._count -= len(theirs)
            for one in theirs.values():
                one.target.remove_watcher(one.local)

    def _tell_end(self, node: Node, watch: int, reason: str, detail: str) -> None:
        self._send(node, Ended(watch, node.incarnation, reason, shown(detail)), is_wanted=False)
