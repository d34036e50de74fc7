"""An ordered key-value map for a Raft log: revisions, compare-and-set, transactions. Pure.

A command that changes something gives the map its next *revision*; a transaction is one change.
Each key knows at which revisions it was created and last changed, and how often it was since.
Keys and values are bytes; keys are in the order of their bytes.

::

    machine.apply(index, encode(Put(b"k", b"v")))  ──▶  decode(result) == Changed(1, True, None)

The map remembers its last changes by revision, in its snapshots, too: :class:`Since` asks for
them, and may be asked to wait for the next one (:meth:`KeyValueMap.watch`).

Whatever the bytes of a command are, the result is a message: :class:`Refused` for what is no
command or passes a limit of :class:`KvLimits`. A refused command has changed nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

import attrs
from sortedcontainers import SortedDict

from trio440.errors import BadMessage, InvalidParameter
from trio440.raft.kv_history import History
from trio440.raft.kv_messages import (
    Change,
    Changed,
    Changes,
    Command,
    Compacted,
    CompareAndSet,
    Condition,
    Delete,
    Ended,
    Found,
    Get,
    Item,
    List,
    Operation,
    Put,
    Refused,
    Result,
    Since,
    Transaction,
    decode_command,
    decode_result,
    encode,
    prefix_end,
)
from trio440.raft.kv_state import decode_state, encode_state

__all__ = [
    "Change",
    "Changed",
    "Changes",
    "Command",
    "Compacted",
    "CompareAndSet",
    "Condition",
    "Delete",
    "Ended",
    "Found",
    "Get",
    "Item",
    "KeyValueMap",
    "KvLimits",
    "List",
    "Put",
    "Refused",
    "Remembering",
    "Result",
    "Since",
    "Transaction",
    "Watching",
    "decode_command",
    "decode_result",
    "encode",
    "prefix_end",
]

ITEM_BYTES: Final = 128
"""What an item is charged beside its key and value."""


# The map


def _positive(_: object, attribute: "attrs.Attribute[int]", value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(attribute.name, value, "a whole number of at least 1")


@attrs.frozen(kw_only=True)
class KvLimits:
    """The bounds of a map, each at least 1; the same at every peer of a cluster."""

    key_bytes: int = attrs.field(default=4096, validator=_positive)
    """The longest key; none is empty."""
    value_bytes: int = attrs.field(default=512 << 10, validator=_positive)
    """The longest value."""
    total_bytes: int = attrs.field(default=256 << 20, validator=_positive)
    """Keys and values, and 128 bytes for each key."""
    list_items: int = attrs.field(default=1000, validator=_positive)
    """Items of one List."""
    list_bytes: int = attrs.field(default=1 << 20, validator=_positive)
    """Keys and values of one List; one item is always given."""
    operations: int = attrs.field(default=128, validator=_positive)
    """Conditions, and operations of each kind, in one transaction."""
    history_revisions: int = attrs.field(default=10_000, validator=_positive)
    """Revisions whose changes are remembered; the oldest are given up."""
    history_bytes: int = attrs.field(default=16 << 20, validator=_positive)
    """Keys and values of remembered changes, and 128 bytes for each; likewise."""


class _Refusal(Exception):
    """A command passes a limit."""


class KeyValueMap:
    """The map; :class:`~trio440.raft.machine.Queryable`, and ``Watchable`` as well."""

    def __init__(self, limits: KvLimits | None = None) -> None:
        """Start empty."""
        self._limits = limits or KvLimits()
        self._items: SortedDict[bytes, Item] = SortedDict()
        self._bytes = 0
        self._revision = 0
        self._history = History(
            most_revisions=self._limits.history_revisions, most_bytes=self._limits.history_bytes
        )

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._items)

    @property
    def revision(self) -> int:
        """How many changes there were."""
        return self._revision

    @property
    def byte_count(self) -> int:
        """What ``total_bytes`` limits."""
        return self._bytes

    # The state machine

    def apply(self, index: int, command: bytes) -> bytes:
        """Carry out a command and return its result; see :func:`encode`."""
        del index
        return encode(self._answer(command, self.execute))

    def query(self, request: bytes) -> bytes:
        """Answer a Get, a List or a Since; everything else is refused."""
        return encode(self._answer(request, self._look))

    def watch(self, request: bytes) -> "Watching":
        """Wait for the changes that a Since asks for; a :class:`~trio440.raft.machine.Watch`."""
        try:
            query: Command | None = decode_command(request)
        except BadMessage:
            query = None
        return Watching(self, query)

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of items and history: copied references; encoding them comes later."""
        items, revision = tuple(self._items.values()), self._revision
        history = self._history.groups()
        return lambda: encode_state(revision, items, history)

    def restore(self, data: bytes) -> None:
        """Replace everything by a snapshot.

        Raises:
            BadMessage: it is none; nothing was changed.
        """
        revision, items, changes = decode_state(data)
        self._history.restore(revision, changes)
        self._items = SortedDict((item.key, item) for item in items)
        self._bytes = sum(map(_cost, items))
        self._revision = revision

    def _answer(self, data: bytes, answer: Callable[[Command], Result]) -> Result:
        try:
            return answer(decode_command(data))
        except BadMessage:
            return Refused("this is no command of the map")

    # Commands

    def execute(self, command: Command) -> Result:
        """Carry out a command."""
        try:
            match command:
                case CompareAndSet():
                    return self._compare_and_set(command)
                case Transaction():
                    return self._transact(command)
                case Since():
                    return self.since(command)
                case _:
                    self._check([command])
                    return self._operate(command, self._revision + 1)
        except _Refusal as refusal:
            return Refused(str(refusal))

    def _look(self, command: Command) -> Result:
        if isinstance(command, Get | List | Since):
            return self.execute(command)
        return Refused("a question changes nothing")

    def since(self, query: Since) -> Changes | Compacted | Refused:
        """Answer a Since."""
        if query.after < 0 or query.limit < 1:
            return Refused("a revision is at least 0, and the limit of changes 1")
        limits, history = self._limits, self._history
        if query.after < history.compacted:
            return Compacted(history.compacted)
        most = min(query.limit, limits.list_items)
        found = history.since(
            query.after, query.start, query.end, most=most, most_bytes=limits.list_bytes
        )
        return Changes(*found)

    def _compare_and_set(self, command: CompareAndSet) -> Changed:
        key, expected, value = command.key, command.expected, command.value
        operation = Delete(key) if value is None else Put(key, value)
        self._check_size("value", expected or b"", self._limits.value_bytes)
        before = self._items.get(key)
        if (None if before is None else before.value) != expected:
            self._check_key(key)
            return Changed(self._revision, False, before)
        self._check([operation])
        return self._change(operation, self._revision + 1, fulfilled=True)

    def _transact(self, command: Transaction) -> Ended:
        most = self._limits.operations
        if max(map(len, (command.conditions, command.then, command.otherwise))) > most:
            raise _Refusal(f"a transaction is too long, the limit is {most} of each kind")
        for condition in command.conditions:
            self._check_key(condition.key)
        succeeded = all(map(self._holds, command.conditions))
        operations = command.then if succeeded else command.otherwise
        self._check(operations)
        revision = self._revision + 1
        results = tuple(self._operate(operation, revision) for operation in operations)
        return Ended(self._revision, succeeded, results)

    def _holds(self, condition: Condition) -> bool:
        item = self._items.get(condition.key)
        if condition.what == "value":
            if item is None:
                return condition.relation == "!="
            return _compare(item.value, condition.relation, condition.value)
        number: int = 0 if item is None else getattr(item, condition.what)
        return _compare(number, condition.relation, condition.number)

    # Operations; they have been checked

    def _operate(self, operation: Operation, revision: int) -> Found | Changed:
        match operation:
            case Get(key):
                item = self._items.get(key)
                return Found(self._revision, () if item is None else (item,))
            case List():
                return self._list(operation)
            case _:
                return self._change(operation, revision)

    def _change(
        self, operation: Put | Delete, revision: int, *, fulfilled: bool = False
    ) -> Changed:
        """Put or delete; ``fulfilled``: even deleting nothing is what was asked for."""
        key = operation.key
        before = self._items.get(key)
        if isinstance(operation, Delete):
            if before is None:
                return Changed(self._revision, fulfilled, None)
            del self._items[key]
            change = Change(revision, key, None)
        else:
            created, version = (
                (revision, 1) if before is None else (before.created, before.version + 1)
            )
            item = Item(key, operation.value, created, revision, version)
            self._items[key] = item
            self._bytes += _cost(item)
            change = Change(revision, key, operation.value, created, version)
        self._bytes -= 0 if before is None else _cost(before)
        self._revision = revision
        self._history.add(change)
        return Changed(revision, True, before)

    def _list(self, query: List) -> Found:
        limits = self._limits
        most, room = min(query.limit, limits.list_items), limits.list_bytes
        items: list[Item] = []
        keys: Iterator[bytes] = self._items.irange(
            query.start, query.end, inclusive=(True, False), reverse=query.reverse
        )
        for key in keys:
            item = self._items[key]
            room -= len(key) + len(item.value)
            if items and (len(items) >= most or room < 0):
                return Found(self._revision, tuple(items), more=True)
            items.append(item)
        return Found(self._revision, tuple(items))

    # Limits

    def _check(self, operations: Iterable[Operation]) -> None:
        """Check operations that are to be done together, before any is."""
        changed: set[bytes] = set()
        growth = 0
        for operation in operations:
            if isinstance(operation, List):
                if operation.limit < 1:
                    raise _Refusal("the limit of a list must be at least 1")
                continue
            key = operation.key
            self._check_key(key)
            if isinstance(operation, Get):
                continue
            if key in changed:
                raise _Refusal("a transaction changes a key twice")
            changed.add(key)
            before = self._items.get(key)
            growth -= 0 if before is None else _cost(before)
            if isinstance(operation, Put):
                self._check_size("value", operation.value, self._limits.value_bytes)
                growth += len(key) + len(operation.value) + ITEM_BYTES
        if growth > 0 and self._bytes + growth > self._limits.total_bytes:
            raise _Refusal(f"the map is full, its limit is {self._limits.total_bytes} bytes")

    def _check_key(self, key: bytes) -> None:
        if not key:
            raise _Refusal("a key is empty")
        self._check_size("key", key, self._limits.key_bytes)

    def _check_size(self, what: str, data: bytes, limit: int) -> None:
        if len(data) > limit:
            raise _Refusal(f"a {what} of {len(data)} bytes is too long, the limit is {limit}")


def _cost(item: Item) -> int:
    return len(item.key) + len(item.value) + ITEM_BYTES


def _compare(left: Any, relation: str, right: Any) -> bool:
    match relation:
        case "=":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<":
            return bool(left < right)
        case _:
            return bool(left > right)


class Remembering(Protocol):
    """A machine that remembers its last changes by revision, as the map does."""

    @property
    def revision(self) -> int:
        """How many changes there were."""

    def since(self, query: Since) -> Changes | Compacted | Refused:
        """Answer a Since."""


class Watching:
    """One wait for changes; :meth:`KeyValueMap.watch` begins it."""

    def __init__(self, machine: Remembering, query: Command | None) -> None:
        self._machine = machine
        self._query = query
        self._after = query.after if isinstance(query, Since) else 0

    def poll(self) -> bytes | None:
        """Return changes as soon as there are some, or what is wrong with the request."""
        query = self._query
        if not isinstance(query, Since):
            return encode(Refused("only Since can be waited for"))
        if 0 <= self._machine.revision <= self._after and query.limit >= 1:
            return None
        result = self._machine.since(attrs.evolve(query, after=self._after))
        if isinstance(result, Changes) and not result.changes:
            self._after = result.revision
            return None
        return encode(result)

    def progress(self) -> bytes:
        """Return that there is no change up to the revision that was reached."""
        return encode(Changes(self._after, ()))
