"""The one converter of the project: messages, as attrs classes, to MessagePack and back. Pure.

A :class:`Codec` is made for one class or for a tagged union of several. It speaks msgspec
directly where msgspec knows the class as it is, and goes through cattrs where it does not: a
field that is itself a union of classes, or that has a converter. Both have one wire form and the
same errors, so a class may change sides without its peers noticing:

- a class is a map of its fields' names; unknown keys are ignored, missing ones take the default;
- of a union, whatever its place, the class's name comes first: ``[name, {fields}]``;
- whole numbers are those of int64, in both directions.

What arrives is untrusted until :meth:`Codec.decode_untrusted` has returned it, and that raises
``BadMessage`` and nothing else.
"""

import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec

from trio440.errors import BadMessage, InvalidParameter

__all__ = ["INT64_MAX", "INT64_MIN", "Codec"]

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

UNENCODABLE: Final = (
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    cattrs.BaseValidationError,
)

T = TypeVar("T")

_ENCODER: Final = msgspec.msgpack.Encoder()
_GENERIC: Final = msgspec.msgpack.Decoder()
_TAGGED: Final = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_UINT64: Final = b"\xcf"
_ABOVE_INT64: Final = re.compile(rb"\xcf[\x80-\xff]")
"""MessagePack's mark of a uint64 whose highest bit is set; the same bytes may be text, too."""


class Codec(Generic[T]):
    """Encodes and decodes the messages of one class, or of a union: ``Codec[A | B](A, B)``."""

    def __init__(self, *classes: type[T]) -> None:
        """Make a codec for attrs classes.

        Raises:
            InvalidParameter: something is no attrs class, or two classes share their name.
        """
        for cls in classes:
            if not attrs.has(cls):
                raise InvalidParameter("classes", cls, "attrs classes")
        if not classes or len({cls.__name__ for cls in classes}) < len(classes):
            raise InvalidParameter("classes", classes, "one or more classes of different names")
        self.classes: Final = classes
        self._parts = {cls.__name__: _part_for(cls) for cls in classes}
        self._single = self._parts[classes[0].__name__] if len(classes) == 1 else None
        self._fast = all(part.fast for part in self._parts.values())

    def __repr__(self) -> str:
        return f"Codec({', '.join(cls.__name__ for cls in self.classes)})"

    def encode(self, message: T) -> bytes:
        """Return the wire form of a message.

        Raises:
            InvalidParameter: it is of no class of this codec, or holds what has no wire form: a
                number outside int64, text that is no Unicode.
        """
        if type(message) not in self.classes:
            raise InvalidParameter("message", message, f"one of {self!r}")
        try:
            shown: Any = message if self._fast else _CONVERTER.unstructure(message)
            if self._single is None:
                shown = [type(message).__name__, shown]
            data = _ENCODER.encode(shown)
        except UNENCODABLE as error:
            what = f"what MessagePack can hold ({str(error)[:200]})"
            raise InvalidParameter("message", message, what) from None
        if _UINT64 in data and _ABOVE_INT64.search(data) and not _within_int64(data):
            raise InvalidParameter("message", message, "free of numbers outside int64")
        return data

    def decode_untrusted(self, data: bytes) -> T:
        """Read a message that came from anywhere.

        Raises:
            BadMessage: it is none of this codec's classes.
        """
        try:
            if _UINT64 in data and _ABOVE_INT64.search(data) and not _within_int64(data):
                problem = "a number outside int64"
            elif self._single is not None:
                return self._single.decode(data)
            else:
                name, body = _TAGGED.decode(data)
                if (part := self._parts.get(name)) is not None:
                    return part.decode(body)
                problem = f"of a class {name[:40]!r}, which is unknown"
        except Exception as error:  # noqa: BLE001 - a class's own validator may raise anything
            problem = str(error)[:200]
        raise BadMessage(f"no message of {self!r}: {problem}")


def _within_int64(data: bytes) -> bool:
    """Look at each whole number of a message; raises what msgspec does for malformed bytes."""
    todo: list[Any] = [[_GENERIC.decode(data)]]
    while todo:
        for item in todo.pop():
            kind = type(item)
            if kind is int:
                if item > INT64_MAX:
                    return False
            elif kind is list or kind is tuple:  # a tuple where it is the key of a map
                todo.append(item)
            elif kind is dict:
                todo += item.keys(), item.values()
    return True


# How a class is decoded


@attrs.frozen
class _Part(Generic[T]):
    """One class of a codec."""

    decode: "Callable[[Any], T]"
    fast: bool
    """Whether msgspec encodes and decodes the class as it is."""


def _part_for(cls: type[T]) -> _Part[T]:
    if _known_to_msgspec(cls, set()):
        return _Part(msgspec.msgpack.Decoder(cls).decode, fast=True)
    structure = _CONVERTER.get_structure_hook(cls)

    def decode(data: Any) -> Any:
        return structure(_GENERIC.decode(data), cls)

    return _Part(decode, fast=False)


def _known_to_msgspec(kind: Any, seen: set[Any]) -> bool:
    """Whether msgspec means by a type what cattrs does, for all that it is made of."""
    if not isinstance(kind, type) or get_origin(kind) is not None:
        return not _is_union(kind) and all(
            _known_to_msgspec(part, seen) for part in get_args(kind) if part is not Ellipsis
        )
    if kind in seen or not attrs.has(kind):
        return True
    seen.add(kind)
    hints = get_type_hints(kind)
    return all(
        field.converter is None
        and field.alias == field.name
        and field.init
        and _known_to_msgspec(hints[field.name], seen)
        for field in attrs.fields(kind)
    )


def _is_union(kind: Any) -> bool:
    """Whether a type is a union of several attrs classes."""
    return len(dict(_members(kind))) > 1


def _members(kind: Any) -> Iterator[tuple[str, type]]:
    """Give the attrs classes of a union by their names."""
    if get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            if attrs.has(member):
                yield member.__name__, member


# What cattrs is told


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind in (int, float, bool, str, bytes):
        converter.register_structure_hook(kind, _strictly(kind))
    converter.register_structure_hook_factory(
        _is_union, lambda kind: _structure_union(converter, kind)
    )
    converter.register_unstructure_hook_factory(
        _is_union, lambda _: lambda value: _unstructure_member(converter, value)
    )
    return converter


def _strictly(wanted: type) -> Callable[[Any, Any], Any]:
    """Refuse what is of another type, where cattrs would convert it; 1 is a float, too."""

    def structure(value: Any, _: Any) -> Any:
        if wanted is float and type(value) is int:
            return float(value)
        if type(value) is not wanted:
            raise TypeError(f"expected {wanted.__name__}, got {type(value).__name__}")
        return value

    return structure


def _structure_union(converter: cattrs.Converter, union: Any) -> Callable[[Any, Any], Any]:
    members: Mapping[str, type] = dict(_members(union))
    optional = type(None) in get_args(union)

    def structure(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        name, body = value
        return converter.structure(body, members[name])

    return structure


def _unstructure_member(converter: cattrs.Converter, value: Any) -> Any:
    return None if value is None else [type(value).__name__, converter.unstructure(value)]


_CONVERTER: Final = _make_converter()
