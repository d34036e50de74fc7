"""What can be asked of a namespace, and what it answers; the same words for every engine. Pure.

Keys and values are bytes; keys are in the order of their bytes, and none is empty. Times to live
are whole milliseconds. A *version* is a whole number that grows with each change of a key: the
revision of the namespace on an atomic engine, the hybrid clock of the writer on the eventual one.

An operation that passes a limit, or that its engine cannot do, is answered by :class:`Refused`
and has changed nothing.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec

from trio440.wire.codec import INT64_MAX, INT64_MIN

__all__ = [
    "Append",
    "AtomicOperation",
    "Change",
    "Changed",
    "Committed",
    "CommonOperation",
    "CompareAndSet",
    "Condition",
    "Count",
    "Counted",
    "Delete",
    "Entry",
    "EventualOperation",
    "Expire",
    "Found",
    "Get",
    "GetSiblings",
    "GrantLease",
    "Increment",
    "LeaseOperation",
    "List",
    "Operation",
    "Packable",
    "Page",
    "Put",
    "PutSibling",
    "RefusalKind",
    "Refused",
    "RenewLease",
    "Result",
    "RevokeLease",
    "Siblings",
    "SimpleOperation",
    "Transaction",
]

Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]


class Packable(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Base of operations and results, see :mod:`trio440.kv.packing` for their bytes.

    The tag of one that is in a log somewhere means its class for ever. None can refer to itself, so
    the garbage collector need not look.
    """


# Operations of every engine


class Get(Packable, frozen=True, tag=1):
    """Ask for one key; answered by :class:`Found`."""

    key: bytes


class Put(Packable, frozen=True, tag=2):
    """Give a key a value; answered by :class:`Changed`."""

    key: bytes
    value: bytes
    ttl_ms: int | None = None
    """The key goes after so long, at least 1; None: never, unless ``keep_ttl``."""
    keep_ttl: bool = False
    """Keep the time to live that the key has."""
    lease: int = 0
    """The key goes when this lease ends; 0: none. Atomic engines only."""


class Delete(Packable, frozen=True, tag=3):
    """Remove a key; answered by :class:`Changed`, ``existed`` says whether it was there."""

    key: bytes


class Expire(Packable, frozen=True, tag=4):
    """Change the time to live of a key that is there; answered by :class:`Changed`."""

    key: bytes
    ttl_ms: int | None
    """None: it stays for ever; 0 or less: it goes now."""


class List(Packable, frozen=True, tag=5):
    """Ask for the keys with a prefix, in their order; answered by :class:`Page`."""

    prefix: bytes = b""
    after: bytes | None = None
    """Only those behind this key, which need not be there."""
    limit: int = 1000
    """The most entries, at least 1; each engine has a limit of its own."""


class Count(Packable, frozen=True, tag=6):
    """Ask how many keys have a prefix; answered by :class:`Counted`."""

    prefix: bytes = b""


# Operations of the eventual engine


class PutSibling(Packable, frozen=True, tag=14):
    """Give a key a value beside those that others give it unseen; answered by :class:`Changed`.

    A Get sees the last one, as after a Put; :class:`GetSiblings` asks for all.
    """

    key: bytes
    value: bytes
    context: bytes = b""
    """Of the :class:`Siblings` that the new value replaces; empty: of none."""
    ttl_ms: int | None = None


class GetSiblings(Packable, frozen=True, tag=15):
    """Ask for all values of a key; answered by :class:`Siblings`."""

    key: bytes


# Operations of atomic engines


class Increment(Packable, frozen=True, tag=7):
    """Add to a value that is a decimal int64, 0 if the key is not there.

    The time to live stays. Answered by :class:`Changed`, whose ``number`` is the sum.
    """

    key: bytes
    by: int = 1


class Append(Packable, frozen=True, tag=8):
    """Add bytes to the end of a value, empty if the key is not there.

    The time to live stays. Answered by :class:`Changed`, whose ``number`` is the new length.
    """

    key: bytes
    suffix: bytes


class CompareAndSet(Packable, frozen=True, tag=9):
    """Give a key a value if it has the expected one; answered by :class:`Committed`."""

    key: bytes
    expected: bytes | None
    """None: it must not be there."""
    value: bytes | None
    """None: remove it."""
    ttl_ms: int | None = None


class Condition(Packable, frozen=True):
    """What must hold of a key."""

    key: bytes
    version: int | None = None
    """It has this one; 0: it is not there; None: not asked."""
    value: bytes | None = None
    """It has this one; None: not asked."""
    exists: bool | None = None
    """Whether it is there; None: not asked."""


SimpleOperation: TypeAlias = Get | Put | Delete | Expire | List | Count | Increment | Append


class Transaction(Packable, frozen=True, tag=10):
    """Do one thing or another, at once; each operation sees those before it.

    Answered by :class:`Committed`. One operation that is refused undoes none of the others.
    """

    conditions: tuple[Condition, ...] = ()
    then: tuple[SimpleOperation, ...] = ()
    """Where all conditions hold."""
    otherwise: tuple[SimpleOperation, ...] = ()
    """Where not."""


class GrantLease(Packable, frozen=True, tag=11):
    """Begin a lease; answered by :class:`Changed`, whose ``number`` is the lease's."""

    ttl_ms: int
    """It ends so long after its beginning or its last renewal, at least 1."""


class RenewLease(Packable, frozen=True, tag=12):
    """Let a lease begin anew; answered by :class:`Changed`, ``existed`` says if it was there."""

    lease: int


class RevokeLease(Packable, frozen=True, tag=13):
    """End a lease and remove its keys; answered like a renewal."""

    lease: int


CommonOperation: TypeAlias = Get | Put | Delete | Expire | List | Count
LeaseOperation: TypeAlias = GrantLease | RenewLease | RevokeLease
AtomicOperation: TypeAlias = Increment | Append | CompareAndSet | Transaction | LeaseOperation
EventualOperation: TypeAlias = PutSibling | GetSiblings
Operation: TypeAlias = CommonOperation | AtomicOperation | EventualOperation


# Results


class Entry(Packable, frozen=True):
    """A key that is there."""

    key: bytes
    value: bytes
    version: Int64
    ttl_ms: Int64 | None = None
    """What is left of its time to live."""


class Found(Packable, frozen=True, tag=32):
    """The answer to a Get."""

    entry: Entry | None


class Changed(Packable, frozen=True, tag=33):
    """The answer to an operation that changes one key, or a lease."""

    version: Int64
    """Of the key after it; of the namespace, where nothing was changed."""
    existed: bool
    """Whether the key was there before."""
    number: Int64 = 0


class Page(Packable, frozen=True, tag=34):
    """The answer to a List."""

    entries: tuple[Entry, ...] = ()
    more: bool = False
    """Whether there are keys behind these."""


class Siblings(Packable, frozen=True, tag=38):
    """The answer to a GetSiblings: values that were written without knowing of each other."""

    entries: tuple[Entry, ...] = ()
    """The last one first, which a Get answers; not so where a delete came last: a Get has no entry
    then, and these are what the delete did not know of."""
    context: bytes = b""
    """Opaque: for the :class:`PutSibling` that replaces them."""


class Counted(Packable, frozen=True, tag=35):
    """The answer to a Count."""

    number: Int64


class Committed(Packable, frozen=True, tag=36):
    """The answer to a CompareAndSet or a Transaction."""

    version: Int64
    """Of the namespace after it."""
    succeeded: bool
    """Whether the conditions held."""
    results: "tuple[SimpleResult, ...]" = ()
    """One for each operation; of a CompareAndSet, what the key was before."""


RefusalKind: TypeAlias = Literal[
    "limit", "unsupported", "malformed", "not_a_number", "overflow", "no_lease"
]


class Refused(Packable, frozen=True, tag=37):
    """The answer to an operation that was not carried out."""

    reason: str
    """One line."""
    kind: RefusalKind = "limit"


SimpleResult: TypeAlias = Found | Changed | Page | Counted | Refused
Result: TypeAlias = SimpleResult | Committed | Siblings


# Watching


class Change(Packable, frozen=True):
    """One change that a watch tells of."""

    key: bytes
    value: bytes | None
    """None: the key is gone: deleted, or its time to live is over."""
    version: Int64
    position: bytes
    """Opaque; a watch that begins ``after`` it goes on behind this change."""
