"""Messages: attrs classes with a name and a version, copied by encoding where they are told. Pure.

A class is registered once, where it is defined::

    @message("shop.Add")
    @attrs.frozen
    class Add:
        amount: int

A system meets a class when the first message of it is told, and keeps a :class:`Vocabulary` of
its own: there is no registry of the process. From then on the class's name and version are its
own there; another class that claims them is refused.

Actors share no memory. So what is told is encoded and decoded again, by the codec that would take
it over a network, unless its type makes sharing safe: a frozen class whose fields are frozen, all
the way down, or one that was registered as ``shared``. A message that is shared goes to its
receiver as it is, unchecked.
"""

import enum
import types
from collections.abc import Callable, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
from attrs.exceptions import FrozenInstanceError

from trio440.actors.checks import check_count, check_text
from trio440.actors.ref import Ref
from trio440.errors import BadMessage, InvalidParameter
from trio440.wire.codec import INT64_MAX, INT64_MIN, Codec

__all__ = [
    "MARK",
    "Asks",
    "Entry",
    "Question",
    "Vocabulary",
    "answer_kind",
    "is_shareable",
    "message",
]

T = TypeVar("T")
Q_co = TypeVar("Q_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

MARK: Final = "__trio440_message__"
SHARED: Final = "__trio440_shared__"

PLAIN: Final = (int, float, bool, str, bytes, type(None))
"""What needs no class: it is immutable, and answers may be of it."""

CONTAINERS: Final = (dict, frozenset, list, set, tuple)


ANSWERS: Final = (
    "a message, None, a bool, an int, a float, a str or bytes; a message can hold anything else"
)


class Question(Generic[R_co]):
    """Base of messages that are answered: ``class Get(Question[int])`` is answered by an ``int``.

    An answer is a message, or a plain ``None``, ``bool``, ``int``, ``float``, ``str`` or
    ``bytes``. A list or a dict is a field of a message.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def _asked_of(self, ref: Ref[Self], /) -> R_co: ...


class Asks(Protocol[Q_co, R_co]):
    """The type of a question that can be asked of a ``Ref[Q]`` and is answered by an ``R``."""

    def _asked_of(self, ref: Ref[Q_co], /) -> R_co: ...


def message(name: str, *, version: int = 1, shared: bool = False) -> Callable[[type[T]], type[T]]:
    """Decorate an attrs class, outside its own decorator: it is a message.

    Args:
        name: under which it is known on every machine, 1 to 200 characters.
        version: 1 or more; a class of another version is another message.
        shared: a promise that nobody changes a message once it is made, where the class and what
            it holds do not prevent it: inside of a system it is not encoded.

    Raises:
        InvalidParameter: a name or version out of range, no attrs class, or one with a name; a
            question that is to be answered with a list or another such container.
    """
    check_text("name", name)
    check_count("version", version)

    def mark(cls: type[T]) -> type[T]:
        marked: Any = cls
        if not isinstance(marked, type) or not attrs.has(marked):
            what = "an attrs class, with @message above @attrs.frozen or @attrs.define"
            raise InvalidParameter("a message", cls, what)
        if MARK in vars(cls):
            raise InvalidParameter("a message", cls, "given a name once")
        if (answer := answer_kind(cls)) is not None and not _may_answer(answer):
            raise InvalidParameter("an answer", answer, ANSWERS)
        setattr(cls, MARK, (name, version))
        setattr(cls, SHARED, shared)
        return cls

    return mark


@attrs.frozen
class Entry:
    """What a system knows of one class of messages."""

    name: str
    version: int
    cls: type
    codec: Codec[Any]
    shared: bool
    """Whether messages go to their receivers as they are, without encoding."""


class Vocabulary:
    """The message classes that one system has met, by class and by name and version."""

    def __init__(self) -> None:
        self.entries: Final[dict[type, Entry]] = {}
        self._by_name: dict[tuple[str, int], Entry] = {}

    def learn(self, cls: type) -> Entry:
        """Return the entry of a class, made at the first time.

        Raises:
            InvalidParameter: it is no message, another class has its name and version, or a type
                that it is made of has an annotation that names nothing.
        """
        if (entry := self.entries.get(cls)) is not None:
            return entry
        if MARK not in vars(cls):
            what = "an instance of" if issubclass(cls, type) else "of"
            raise InvalidParameter("message", cls, f"{what} a class registered with @message")
        name, version = vars(cls)[MARK]
        if (other := self._by_name.get((name, version))) is not None:
            raise InvalidParameter(
                "message", cls, f"the only {name!r} of version {version}; {other.cls!r} is"
            )
        try:
            shared = vars(cls)[SHARED] or is_shareable(cls)
            entry = Entry(name, version, cls, Codec[Any](cls), shared)
        except NameError as error:
            what = f"of fields whose types can be looked up ({error})"
            raise InvalidParameter("message", cls, what) from None
        self.entries[cls] = self._by_name[name, version] = entry
        return entry

    def knows(self, name: str, version: int) -> bool:
        """Whether a class has the name and version."""
        return (name, version) in self._by_name

    def learn_all(self, kinds: Iterable[type]) -> None:
        """Meet classes of messages, and those that answer the questions among them.

        Raises:
            InvalidParameter: as :meth:`learn`.
        """
        for kind in kinds:
            self.learn(kind)
            answer = answer_kind(kind)
            if isinstance(answer, type) and MARK in vars(answer):
                self.learn(answer)

    def copy(self, entry: Entry, value: Any) -> tuple[Any, int]:
        """Return a message as its receiver gets it, and the bytes it took: 0 when shared.

        Raises:
            InvalidParameter: it cannot be encoded.
            BadMessage: what it is encoded to cannot be read.
        """
        if entry.shared:
            return value, 0
        data = entry.codec.encode(value)
        return entry.codec.decode_untrusted(data), len(data)

    def decode_untrusted(self, name: str, version: int, data: bytes) -> Any:
        """Read a message that came from anywhere.

        Raises:
            BadMessage: no class is known under the name and version, or it does not fit.
        """
        entry = self._by_name.get((name, version))
        if entry is None:
            raise BadMessage(f"no message {name[:40]!r} of version {version} is known, see learn()")
        return entry.codec.decode_untrusted(data)

    def copy_answer(self, value: Any, what: str = "an answer") -> Any:
        """Return an answer as its asker gets it, or what else is a message or plain.

        Raises:
            InvalidParameter: it is neither plain nor a message, or cannot be encoded.
            BadMessage: what it is encoded to cannot be read.
        """
        kind = type(value)
        if kind in PLAIN:
            if kind is int and not INT64_MIN <= value <= INT64_MAX:
                raise InvalidParameter(what, value, "within int64")
            return value
        if MARK not in vars(kind):
            raise InvalidParameter(what, value, ANSWERS)
        return self.copy(self.learn(kind), value)[0]


def answer_kind(cls: type) -> Any:
    """Return the type that answers a question's class, or None when it is no question."""
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) is Question:
            return get_args(base)[0]
    return None


def _may_answer(kind: Any) -> bool:
    """Whether values of a type can be answers, as far as can be told where it is declared."""
    if get_origin(kind) in (Union, types.UnionType):
        return all(_may_answer(part) for part in get_args(kind))
    return (get_origin(kind) or kind) not in CONTAINERS


# What may be shared


def is_shareable(kind: Any) -> bool:
    """Whether values of a type are immutable all the way down, as far as types tell."""
    return _is_immutable(kind, set())


def _is_immutable(kind: Any, seen: set[Any]) -> bool:
    origin = get_origin(kind)
    if kind in PLAIN or kind is None or kind in seen or origin is Literal or origin is Ref:
        return True
    if origin in (tuple, frozenset, Union, types.UnionType):
        return all(_is_immutable(part, seen) for part in get_args(kind) if part is not Ellipsis)
    if not isinstance(kind, type) or origin is not None:
        return False
    if not attrs.has(kind) or not _is_frozen(kind):
        return issubclass(kind, enum.Enum)
    seen.add(kind)
    hints = get_type_hints(kind)
    return all(_is_immutable(hints.get(field.name, Any), seen) for field in attrs.fields(kind))


def _is_frozen(cls: type) -> bool:
    """Try it out on an instance that nobody has seen."""
    try:
        setattr(object.__new__(cls), "a field", None)
    except FrozenInstanceError:
        return True
    except AttributeError:
        return False
    return False
