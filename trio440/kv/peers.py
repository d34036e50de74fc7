"""What one query actor owes another one, and the next message that says it. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, final

from trio440.actors.ref import Ref
from trio440.kv.digests import FIRST_LEAF, ROOT, children
from trio440.kv.records import Record
from trio440.kv.replica import Replica
from trio440.kv.replica_core import Row
from trio440.kv.sync_messages import NO_ROOT, Listing, ServerInfo, Sync, Writer

__all__ = ["GAP_US", "LISTED_AT_ONCE", "Peer", "Writing"]

GAP_US: Final = 125_000
"""Between two messages to one actor: eight a second, from the first one on, so that one that begins
anew twice in a second does not say more than ten things in it."""
LISTED_AT_ONCE: Final = 64
"""A part of the tree with at most so many writes is compared version by version."""
MUCH_MORE: Final = 4
NODE_BYTES: Final = 300
ROW_BYTES: Final = 24
LISTED_BYTES: Final = 16
UNPROVEN_BYTES: Final = 1 << 20
"""Of keys that a peer has told of, and is to be asked for, or told to forget. What finds no room is
found again by the next comparison."""
SERVERS_AT_ONCE: Final = 64


@final
class Writing:
    """A message that is being written, and how long it is so far."""

    def __init__(self, sender: Ref[Any], most_bytes: int) -> None:
        self.bytes = 0
        self.rows: list[Row] = []
        self.listings: list[Listing] = []
        self._most_bytes = most_bytes
        self._actors: dict[Writer, int] = {}
        self.place(sender)

    @property
    def is_full(self) -> bool:
        """Whether the rest is for the next message."""
        return self.bytes >= self._most_bytes

    @property
    def actors(self) -> tuple[Writer, ...]:
        """The sender, and all writers."""
        return tuple(self._actors)

    def place(self, ref: Ref[Any]) -> int:
        """Return a reference's place among the actors."""
        actor = ref.address, ref.counter, ref.incarnation
        return self._actors.setdefault(actor, len(self._actors))

    def add(self, row: Row) -> None:
        """Add a write."""
        self.rows.append(row)
        self.bytes += ROW_BYTES + len(row[0]) + len(row[1] or b"")

    def list(self, node: int, after: bytes | None, found: list[tuple[bytes, Record]]) -> bytes:
        """Add versions of records below a node, in the order of their keys, as far as they fit.

        Returns:
            The last key that had room; empty: all had.
        """
        until = b""
        for count, (key, _) in enumerate(found, 1):
            self.bytes += LISTED_BYTES + len(key)
            if self.is_full and count < len(found):
                until, found = key, found[:count]
                break
        self.listings.append(
            Listing(
                node,
                after,
                until or None,
                tuple(key for key, _ in found),
                tuple(record.stamp for _, record in found),
                tuple(self.place(record.writer) for _, record in found),
            )
        )
        return until


@final
class Peer:
    """Another query actor that this one tells what it learns: a sibling, or one of another server.

    What is owed are keys, and parts of the tree: what is sent of them is what the replica holds at
    that moment. So it is bounded by what the replica holds. What a peer has told of alone, and may
    have made up, is bounded by ``UNPROVEN_BYTES``.
    """

    def __init__(self, ref: Ref[Any], *, is_sibling: bool) -> None:
        """Owe it nothing."""
        self.ref: Final = ref
        self.is_sibling: Final = is_sibling
        self.pending: dict[bytes, None] = {}
        """Keys with news for it."""
        self.repairs: dict[bytes, None] = {}
        """Keys of which a comparison has shown that it does not have the last write."""
        self.kills: dict[bytes, Row] = {}
        """Tombstones for what it holds, and must not."""
        self.wants: dict[bytes, None] = {}
        self.nodes: dict[int, None] = {}
        """Whose children it is to compare."""
        self.lists: dict[int, bytes | None] = {}
        """Whose versions it is to compare, and behind which key."""
        self.streams: dict[int, None] = {}
        """Below which it has nothing."""
        self.asks = False
        """Whether the digest of everything is to be compared."""
        self.asked = NO_ROOT
        """The digest that was sent with the last question."""
        self.agrees = False
        """Whether its question is to be answered: it is the same."""
        self.servers: dict[str, ServerInfo] = {}
        """Of which it is to hear."""
        self.next_us = 0
        """When the next message may go out."""
        self._unproven_bytes = 0
        """Of ``wants`` and ``kills``."""

    @property
    def owes(self) -> bool:
        """Whether there is something to tell it."""
        return bool(
            self.pending
            or self.repairs
            or self.asks
            or self.agrees
            or self.nodes
            or self.lists
            or self.streams
            or self.wants
            or self.kills
            or self.servers
        )

    def forgive(self) -> None:
        """Owe it nothing any more."""
        for owed in (self.pending, self.repairs, self.kills, self.wants, self.nodes, self.lists):
            owed.clear()
        self.streams.clear()
        self._unproven_bytes = 0

    def repair(self, keys: Iterable[bytes], replica: Replica) -> None:
        """Owe it the records of keys, where there are any."""
        for key in keys:
            if replica.records.find(key) is not None:
                self.repairs[key] = None

    def kill(self, row: Row) -> None:
        """Owe it a tombstone for what it holds, and must not."""
        if self._is_room_for(row[0], self.kills):
            self.kills[row[0]] = row

    def _is_room_for(self, key: bytes, owed: dict[bytes, Any]) -> bool:
        """Count a key that a peer may have made up, if there is room for it."""
        if key in owed:
            return True
        size = ROW_BYTES + len(key)
        if self._unproven_bytes + size > UNPROVEN_BYTES:
            return False
        self._unproven_bytes += size
        return True

    def differs(self, node: int, replica: Replica) -> None:
        """Go on comparing below a node at which the two differ."""
        if node >= FIRST_LEAF or replica.records.tree.count(node) <= LISTED_AT_ONCE:
            self.lists[node] = None
        else:
            self.nodes[node] = None

    def compare(self, message: Sync, replica: Replica) -> None:
        """Note what follows from the digests and versions of a message."""
        tree = replica.records.tree
        for node, digests in zip(message.nodes, message.digests, strict=True):
            for child, digest in zip(children(node), digests, strict=True):
                if digest == tree.digest(child):
                    continue
                if digest:
                    self.differs(child, replica)
                else:
                    self.streams[child] = None
        if message.listings:
            refs = [Ref[Any](*actor) for actor in message.actors]
            for listing in message.listings:
                self._compare_versions(listing, refs, replica)

    def _compare_versions(
        self, listing: Listing, refs: Sequence[Ref[Any]], replica: Replica
    ) -> None:
        theirs = dict(
            zip(listing.keys, zip(listing.stamps, listing.writers, strict=True), strict=True)
        )
        for key, (stamp, place) in theirs.items():
            record = replica.records.find(key)
            if record is None or record.is_before(stamp, refs[place]):
                if self._is_room_for(key, self.wants):
                    self.wants[key] = None
            elif record.stamp != stamp or record.writer != refs[place]:
                self.repairs[key] = None
        is_whole = listing.after is None and listing.until is None
        if (is_whole or listing.node < FIRST_LEAF) and replica.records.tree.count(
            listing.node
        ) > max(LISTED_AT_ONCE, MUCH_MORE * len(theirs)):
            self.streams[listing.node] = None  # to send it all costs less than to look at it all
            return
        for key, _ in replica.records.below(listing.node):
            if key not in theirs and _is_between(key, listing.after, listing.until):
                self.repairs[key] = None

    def write(self, replica: Replica, me: ServerInfo) -> Sync:
        """Return the next message, and owe that no more.

        Args:
            replica: what is told.
            me: the own server, which a question introduces.
        """
        writing = Writing(replica.ref, replica.limits.sync_bytes)
        for key in _taken(self.pending, writing):
            del self.pending[key]
            _add(writing, key, replica)
        fresh = len(writing.rows)
        for key in _taken(self.kills, writing):
            self._unproven_bytes -= ROW_BYTES + len(key)
            writing.add(self.kills.pop(key))
        for key in _taken(self.repairs, writing):
            del self.repairs[key]
            _add(writing, key, replica)
        wants = []
        for key in _taken(self.wants, writing):
            del self.wants[key]
            self._unproven_bytes -= ROW_BYTES + len(key)
            wants.append(key)
            writing.bytes += LISTED_BYTES + len(key)
        nodes = []
        for node in _taken(self.nodes, writing):
            del self.nodes[node]
            nodes.append(node)
            writing.bytes += NODE_BYTES
        for node in _taken(self.lists, writing):
            self._list(node, writing, replica)
        while self.streams and not writing.is_full:
            self._stream(next(iter(self.streams)), writing, replica)
        rows, tree = writing.rows, replica.records.tree
        told, root = {}, NO_ROOT
        if self.asks:
            told[me.address] = me
            root = self.asked = tree.digest(ROOT)
        for address in list(self.servers)[:SERVERS_AT_ONCE]:
            told[address] = self.servers.pop(address)
        places = tuple(writing.place(row[3]) for row in rows)
        sync = Sync(
            actors=writing.actors,
            clock=replica.clock.last,
            keys=tuple(row[0] for row in rows),
            values=tuple(row[1] for row in rows),
            stamps=tuple(row[2] for row in rows),
            writers=places,
            expiries=tuple(row[4] for row in rows) if any(row[4] for row in rows) else (),
            fresh=fresh,
            wants=tuple(wants),
            root=root,
            same=self.agrees,
            nodes=tuple(nodes),
            digests=tuple(tree.of_children(node) for node in nodes),
            listings=tuple(writing.listings),
            servers=tuple(told.values()),
        )
        self.asks = self.agrees = False
        return sync

    def _list(self, node: int, writing: Writing, replica: Replica) -> None:
        after = self.lists.pop(node)
        found = sorted(
            (key, record)
            for key, record in replica.records.below(node)
            if _is_between(key, after, None)
        )
        until = writing.list(node, after, found)
        if until:
            self.lists[node] = until

    def _stream(self, node: int, writing: Writing, replica: Replica) -> None:
        """Send what is below a node, or leave its children for later."""
        del self.streams[node]
        if node < FIRST_LEAF and replica.records.tree.count(node) > LISTED_AT_ONCE:
            rest, self.streams = self.streams, dict.fromkeys(children(node))
            self.streams |= rest
            return
        for key, _ in replica.records.below(node):
            if writing.is_full:
                self.repairs[key] = None
            else:
                _add(writing, key, replica)


def _taken(owed: dict[Any, Any], writing: Writing) -> Iterator[Any]:
    """Give what is owed, first things first, until the message is full."""
    while owed and not writing.is_full:
        yield next(iter(owed))


def _add(writing: Writing, key: bytes, replica: Replica) -> None:
    record = replica.records.find(key)
    if record is not None:
        writing.add((key, record.value, record.stamp, record.writer, record.expires_ms))


def _is_between(key: bytes, after: bytes | None, until: bytes | None) -> bool:
    return (after is None or key > after) and (until is None or key <= until)
