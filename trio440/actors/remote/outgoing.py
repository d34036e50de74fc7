"""What waits to be sent to one other system, and what may have to be sent again. Pure.

Parcels leave in the order in which they were put, in two streams with numbers of their own. Those
of the *sure* stream are kept until they are received, and sent again on each new connection,
before anything else; those of the other one are sent once. Both kinds keep their order towards
each other, so that what tells of an actor's end comes after what the actor had told.

Numbers begin with 1 for each life of the receiver, which has received nothing when it begins, and
for each link: a later one to the same life has a higher number itself.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, final

import attrs

from trio440.actors.ref import Ref
from trio440.actors.remote.parcels import MOST_PARCELS, Batch, Received, encode, join

__all__ = ["Item", "Note", "Outgoing"]

MOST_BYTES: Final = 65_536
"""Of parcels in one batch, but for one that is longer."""
MOST_OWN_BYTES: Final = 64 << 20
"""Of what the systems say to each other, answers included, that waits. That is bounded by what
there is to say, but for one that asks for it again and again, and takes nothing."""
STRANGER_OWN_BYTES: Final = 1 << 20
"""The same for a system that is no member of the cluster; one parcel may be longer."""
UNLIMITED: Final = 1 << 62


@attrs.frozen
class Note:
    """What becomes a dead letter when a parcel is given up."""

    ref: Ref[Any]
    message: Any
    sender: Ref[Any] | None
    shot: int = 0
    """Of a question: the counter of the one-shot reference that waits for the answer."""


@final
class Item:
    """One parcel."""

    __slots__ = ("data", "life", "note", "sure")

    def __init__(self, data: bytes, life: int, *, sure: bool, note: Note | None = None) -> None:
        self.data: Final = data
        self.life: Final = life
        """Of the receiver, that it is meant for; 0: whichever it is."""
        self.sure: Final = sure
        self.note: Final = note
        """None for what the systems say to each other: it has room of its own, and becomes no
        letter."""


@final
class Outgoing:
    """The parcels for one other system."""

    def __init__(self, link: int, most_messages: int, most_bytes: int) -> None:
        """Start with nothing.

        Args:
            link: the number of the link; a later one to the same system has a higher number.
            most_messages: of actors, that wait or may have to be sent again.
            most_bytes: in them.
        """
        self._link = link
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._messages = 0
        self._bytes = 0
        self._own_bytes = 0
        self._most_parcel_bytes = UNLIMITED
        self.is_for_member = True
        """Whether the other system is a member of the cluster."""
        self._queue: deque[Item] = deque()
        self._unreceived: deque[Item] = deque()
        """Sure ones that were sent, in their order; the first has the number ``received + 1``."""
        self._again = 0
        """How many of these have been sent on the present connection."""
        self._received = 0
        self._casual = 0
        self._life = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._unreceived)

    @property
    def bytes_waiting(self) -> int:
        """In messages of actors."""
        return self._bytes

    @property
    def has_more(self) -> bool:
        """Whether :meth:`take` gives something."""
        return bool(self._queue) or self._again < len(self._unreceived)

    @property
    def unsent(self) -> int:
        """How many were never sent so far."""
        return len(self._queue)

    @property
    def unreceived(self) -> int:
        """How many sure parcels were sent of which it is not known that they came."""
        return len(self._unreceived)

    @property
    def life(self) -> int:
        """Of the receiver, to which the latest connection led; 0: there was none."""
        return self._life

    @property
    def most_parcel_bytes(self) -> int:
        """The longest parcel that the other system reads, as far as is known."""
        return self._most_parcel_bytes

    def put(self, item: Item) -> bool:
        """Take a parcel; False: there is no room for it, or it is too long."""
        size = len(item.data)
        if size > self._most_parcel_bytes:
            return False
        if item.note is None:
            most = MOST_OWN_BYTES if self.is_for_member else STRANGER_OWN_BYTES
            if self._own_bytes and self._own_bytes + size > most:
                return False
            self._own_bytes += size
        elif self._messages >= self._most_messages or self._bytes + size > self._most_bytes:
            return False
        else:
            self._messages += 1
            self._bytes += size
        self._queue.append(item)
        return True

    def connected(self, life: int) -> list[Item]:
        """Hear of a new connection to a life of the receiver; returns what is for another life."""
        self._again = 0
        if life == self._life:
            return []
        self._life, self._received, self._casual = life, 0, 0
        given_up = [item for item in self._unreceived if item.life not in (0, life)]
        given_up += [item for item in self._queue if item.life not in (0, life)]
        kept = [item for item in (*self._unreceived, *self._queue) if item.life in (0, life)]
        self._unreceived.clear()
        self._queue = deque(kept)
        self._free(given_up)
        return given_up

    def fit(self, most_parcel_bytes: int) -> list[Item]:
        """Hear how long a parcel may be on a new connection; returns those that are longer.

        The place of one that has a number already is taken by a parcel that says nothing.
        """
        self._most_parcel_bytes = most_parcel_bytes
        given_up = [item for item in (*self._unreceived, *self._queue) if not self._does_fit(item)]
        if given_up:
            self._queue = deque(filter(self._does_fit, self._queue))
            self._unreceived = deque(map(self._or_nothing, self._unreceived))
            self._free(given_up)
        return given_up

    def _does_fit(self, item: Item) -> bool:
        return len(item.data) <= self._most_parcel_bytes

    def _or_nothing(self, item: Item) -> Item:
        if self._does_fit(item):
            return item
        nothing = Item(encode(Received(self._life, self._link, 0)), item.life, sure=True)
        self._own_bytes += len(nothing.data)
        return nothing

    def send_again(self) -> None:
        """Begin again with what was not received."""
        self._again = 0

    def received(self, number: int, life: int, link: int) -> bool:
        """Hear that all sure parcels of a link, up to a number, have come to a receiver's life.

        Returns:
            Whether that was news.
        """
        count = number - self._received
        if life != self._life or link != self._link or not 0 < count <= len(self._unreceived):
            return False
        self._free(self._unreceived.popleft() for _ in range(count))
        self._received = number
        self._again = max(0, self._again - count)
        return True

    def take(self) -> Batch | None:
        """Take the parcels that are to be sent next, on a connection; None: there are none."""
        waiting = self._unreceived
        if self._again < len(waiting):
            first = self._again
            datas = self._some(waiting[place].data for place in range(first, len(waiting)))
            self._again += len(datas)
            return Batch(self._life, self._link, self._received + 1 + first, True, join(datas))
        if not self._queue:
            return None
        sure, queue = self._queue[0].sure, self._queue
        if len(queue) == 1:  # so it is with each question that is asked alone
            items = [queue.popleft()]
            datas = [items[0].data]
        else:
            datas = self._some(_while(queue, sure))
            items = [queue.popleft() for _ in datas]
        if sure:
            first = self._received + len(waiting) + 1
            waiting.extend(items)
            self._again = len(waiting)
        else:
            first = self._casual + 1
            self._casual += len(items)
            self._free(items)
        return Batch(self._life, self._link, first, sure, join(datas))

    def drop_casual(self) -> list[Item]:
        """Give up what is sent once and waits; the rest goes on waiting."""
        gone = [item for item in self._queue if not item.sure]
        self._queue = deque(item for item in self._queue if item.sure)
        self._free(gone)
        return gone

    def drop_all(self) -> list[Item]:
        """Give up everything."""
        gone = [*self._unreceived, *self._queue]
        self._unreceived.clear()
        self._queue.clear()
        self._again = 0
        self._free(gone)
        return gone

    def _some(self, datas: Iterator[bytes]) -> list[bytes]:
        """Return as many as a batch takes, one at least."""
        most = min(MOST_BYTES, self._most_parcel_bytes)
        taken: list[bytes] = []
        size = 0
        for data in datas:
            size += len(data)
            if taken and size > most:
                break
            taken.append(data)
            if len(taken) == MOST_PARCELS:
                break
        return taken

    def _free(self, items: Any) -> None:
        for item in items:
            if item.note is None:
                self._own_bytes -= len(item.data)
            else:
                self._messages -= 1
                self._bytes -= len(item.data)


def _while(queue: deque[Item], sure: bool) -> Iterator[bytes]:
    for item in queue:
        if item.sure is not sure:
            return
        yield item.data
