"""Names over the whole cluster: each node tells the others what it has registered. Pure.

A node owns the names that it sets, and only their owner changes them; so one counter for each owner
orders all that it says::

    Change(version 7)   this name now leads there, or nowhere     to everybody, at each change
    Table(version 7)    all of mine                               to who is met, and who pulls
    Pull(version 5)     send me your table if it is newer         to who is met, after a gap,
                                                                  and now and then to everybody

What a node has heard of an owner is an exact copy of that owner's table at some version: a change
that does not follow on it is not applied, and the table is pulled. A name that several nodes own
leads to the greatest of their references, everywhere; the others come to light when that one goes.
"""

from typing import Any, Final, TypeAlias

import attrs

from trio440.actors.checks import check_text, checked
from trio440.actors.cluster.events import Back, Event, Joined, Left, Lost
from trio440.actors.cluster.messages import MAX_ADDRESS_BYTES, Node
from trio440.actors.ref import Ref
from trio440.errors import InvalidParameter, LimitReached
from trio440.wire.codec import INT64_MAX, Codec

__all__ = [
    "MAX_NAMES",
    "MAX_UPDATE_BYTES",
    "UPDATES",
    "Change",
    "Entry",
    "Names",
    "NamesStatistics",
    "Pull",
    "Table",
    "Update",
]

MAX_NAMES: Final = 1000
"""That one node owns; a table of so many takes half a megabyte at most in ASCII, else two."""
MAX_UPDATE_BYTES: Final = 2 << 20
"""Of an update's wire form; no node that keeps to the bounds has a longer one."""
TABLES_BETWEEN_PULLS: Final = 8
"""So often one node is sent the whole table between two calls of ``Names.pull_all``."""
MAX_NAME: Final = 200
"""Characters of a name."""
NOTHING: Final = -1
"""The version of a table of which nothing has been heard."""


def _version(least: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
        if type(value) is not int or not least <= value <= INT64_MAX:
            raise InvalidParameter(attribute.name, value, f"a whole number of at least {least}")

    return check


def _reference(_: object, attribute: "attrs.Attribute[Ref[Any]]", value: Any) -> None:
    if not isinstance(value, Ref):
        raise InvalidParameter(attribute.name, value, "a reference")
    check_text("address", value.address, MAX_ADDRESS_BYTES)
    if type(value.counter) is not int or not 1 <= value.counter <= INT64_MAX:
        raise InvalidParameter("counter", value.counter, "a whole number of at least 1")
    if type(value.incarnation) is not int or not 0 <= value.incarnation <= INT64_MAX:
        raise InvalidParameter("incarnation", value.incarnation, "a whole number of at least 0")


def _entries(_: object, attribute: "attrs.Attribute[Any]", value: "tuple[Entry, ...]") -> None:
    if len(value) > MAX_NAMES:
        raise InvalidParameter(attribute.name, len(value), f"at most {MAX_NAMES} names")
    if len({entry.name for entry in value}) < len(value):
        raise InvalidParameter(attribute.name, value[:1], "of different names")


@attrs.frozen
class Entry:
    """A name and where it leads."""

    name: str = attrs.field(validator=checked(check_text, MAX_NAME))
    """1 to 200 characters."""
    ref: Ref[Any] = attrs.field(validator=_reference)
    """Its address has at most 255 characters."""


@attrs.frozen
class Table:
    """All names of the sender, of whom each is there once."""

    version: int = attrs.field(validator=_version(0))
    """How often the sender has changed its table."""
    entries: tuple[Entry, ...] = attrs.field(default=(), validator=_entries)


@attrs.frozen
class Change:
    """What made the sender's table that of ``version`` from the one before."""

    version: int = attrs.field(validator=_version(1))
    name: str = attrs.field(validator=checked(check_text, MAX_NAME))
    ref: Ref[Any] | None = attrs.field(
        default=None, validator=attrs.validators.optional(_reference)
    )
    """Where the name leads now; None: the sender has dropped it."""


@attrs.frozen
class Pull:
    """Asks the receiver for its table, if that is of a later version."""

    version: int = attrs.field(validator=_version(NOTHING))
    """What the sender has; -1 is nothing."""


Update: TypeAlias = Table | Change | Pull

UPDATES: Final = Codec[Update](Table, Change, Pull)
"""Updates to bytes and back; ``decode_untrusted`` checks all that is said here."""


@attrs.frozen(kw_only=True)
class NamesStatistics:
    """What a node knows of names, and has counted."""

    owned: int
    """Names in its own table, now."""
    known: int
    """Names that lead somewhere, now."""
    owners: int
    """Other live nodes, now, whether they own names or not."""
    gaps: int
    """Changes that did not follow on what was known, so that the table was pulled."""
    unheard: int
    """Updates of nodes that were not live, or of an earlier life."""
    refused: int
    """Changes past ``MAX_NAMES``, which no owner sends that keeps to the rules, and pulls by one
    that has pulled often enough for the time."""


@attrs.define
class _Copy:
    """What is known of one owner's table."""

    node: Node
    version: int = NOTHING
    refs: dict[str, Ref[Any]] = attrs.field(factory=dict)
    tables_left: int = TABLES_BETWEEN_PULLS
    """How often it still gets this node's table before the next ``pull_all``."""
    is_pulled: bool = False
    """Whether its table has been asked for since it last said something that fits."""


class Names:
    """The names of one node, and what it knows of those of the others.

    Whoever owns one hands over the events of a membership (:meth:`notice`) and what the others
    send (:meth:`hear`), in the order in which each sent it, and sends what :meth:`updates_to_send`
    returns. Updates may get lost: what was comes right with :meth:`pull_all`, which is to be called
    now and then, and whenever a connection to a live node has been lost; mostly with the next
    change of that node already.
    """

    def __init__(self, own: Node) -> None:
        """Begin without names, knowing nobody."""
        self.own: Final = own
        self._version = 0
        self._refs: dict[str, Ref[Any]] = {}
        self._copies: dict[str, _Copy] = {}
        """By address."""
        self._claims: dict[str, dict[str, Ref[Any]]] = {}
        """Of each name, what its owners say, by their addresses."""
        self._outbox: list[tuple[Node | None, Update]] = []
        self._gaps = 0
        self._unheard = 0
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Names of {self.own.address}, {len(self._refs)} of {len(self._claims)} its own>"

    # One's own names

    def set(self, name: str, ref: Ref[Any]) -> None:
        """Let a name of this node lead to a reference, in place of what it led to.

        Raises:
            LimitReached: the node owns ``MAX_NAMES`` others.
            InvalidParameter: the name is not 1 to 200 characters, or the reference none that can
                be sent.
        """
        entry = Entry(name, ref)
        if name not in self._refs and len(self._refs) >= MAX_NAMES:
            raise LimitReached("names", MAX_NAMES)
        if self._refs.get(name) == ref:
            return
        self._refs[name] = ref
        self._claim(self.own.address, name, ref)
        self._changed(entry.name, ref)

    def drop(self, name: str) -> None:
        """Let go of a name of this node; one that it does not own is no error."""
        if self._refs.pop(name, None) is not None:
            self._unclaim(self.own.address, name)
            self._changed(name, None)

    def _changed(self, name: str, ref: Ref[Any] | None) -> None:
        self._version += 1
        self._outbox.append((None, Change(self._version, name, ref)))

    # What names lead to

    def lookup(self, name: str) -> Ref[Any] | None:
        """Return the greatest reference that a live node, this one included, has for a name."""
        claims = self._claims.get(name)
        return None if claims is None else max(claims.values())

    def everything(self) -> dict[str, Ref[Any]]:
        """Return all names that lead somewhere, in order."""
        return {name: max(claims.values()) for name, claims in sorted(self._claims.items())}

    def table(self) -> Table:
        """Return this node's own names."""
        entries = (Entry(name, ref) for name, ref in self._refs.items())
        return Table(self._version, tuple(entries))

    def statistics(self) -> NamesStatistics:
        """Return the counts so far."""
        return NamesStatistics(
            owned=len(self._refs),
            known=len(self._claims),
            owners=len(self._copies),
            gaps=self._gaps,
            unheard=self._unheard,
            refused=self._refused,
        )

    # The others

    def notice(self, event: Event) -> None:
        """Take what a membership tells: who joins or is back is met, who is lost or left is not."""
        if isinstance(event, Joined | Back):
            self.meet(event.node)
        elif isinstance(event, Lost | Left):
            self.forget(event.node)

    def meet(self, node: Node) -> None:
        """Count a node as live: send it this node's table, and ask for its own.

        Either side may see the other first. Who sees it last completes the exchange.
        """
        known = self._copies.get(node.address)
        if node.address == self.own.address or (
            known is not None and known.node.incarnation > node.incarnation
        ):
            return
        if known is not None and known.node != node:
            self.forget(known.node)
        copy = self._copies.setdefault(node.address, _Copy(node))
        self._outbox.append((node, self.table()))
        self._pull(copy)

    def forget(self, node: Node) -> None:
        """Count a node as gone: its names lead nowhere until it is met again."""
        copy = self._copies.get(node.address)
        if copy is not None and copy.node == node:
            self._keep(copy, {})
            del self._copies[node.address]

    def pull_all(self) -> None:
        """Ask all live nodes for what of theirs was missed."""
        for copy in self._copies.values():
            copy.tables_left = TABLES_BETWEEN_PULLS
            self._pull(copy)

    def hear(self, sender: Node, update: Update) -> None:
        """Take an update that was decoded and is within its ranges.

        Args:
            sender: whose it is, as the connection knows; one that is not live is not heard.
            update: what it says.
        """
        copy = self._copies.get(sender.address)
        if copy is None or copy.node != sender:
            self._unheard += 1
        elif isinstance(update, Pull):
            if update.version < self._version:
                self._answer(copy)
        elif isinstance(update, Table):
            copy.is_pulled = False
            if update.version > copy.version:
                self._keep(copy, {entry.name: entry.ref for entry in update.entries})
                copy.version = update.version
        elif update.version == copy.version + 1:
            self._change(copy, update)
        elif update.version > copy.version:
            self._gaps += 1
            if not copy.is_pulled:
                self._pull(copy)

    def updates_to_send(self) -> list[tuple[Node | None, Update]]:
        """Take the updates that are to leave, each with whom it is for; None is every live node.

        The order is to be kept for each receiver.
        """
        outbox, self._outbox = self._outbox, []
        return outbox

    def _pull(self, copy: _Copy) -> None:
        copy.is_pulled = True
        self._outbox.append((copy.node, Pull(copy.version)))

    def _answer(self, copy: _Copy) -> None:
        """Send a node the table; one that pulls on and on waits until the next ``pull_all``."""
        if not copy.tables_left:
            self._refused += 1
            return
        copy.tables_left -= 1
        self._outbox.append((copy.node, self.table()))

    def _change(self, copy: _Copy, change: Change) -> None:
        copy.version = change.version
        name, ref = change.name, change.ref
        if ref is None:
            if copy.refs.pop(name, None) is not None:
                self._unclaim(copy.node.address, name)
        elif name in copy.refs or len(copy.refs) < MAX_NAMES:
            copy.refs[name] = ref
            self._claim(copy.node.address, name, ref)
        else:
            self._refused += 1

    def _keep(self, copy: _Copy, refs: dict[str, Ref[Any]]) -> None:
        for name in copy.refs:
            self._unclaim(copy.node.address, name)
        copy.refs = refs
        for name, ref in refs.items():
            self._claim(copy.node.address, name, ref)

    def _claim(self, address: str, name: str, ref: Ref[Any]) -> None:
        self._claims.setdefault(name, {})[address] = ref

    def _unclaim(self, address: str, name: str) -> None:
        claims = self._claims[name]
        del claims[address]
        if not claims:
            del self._claims[name]
