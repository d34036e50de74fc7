"""Which method of an actor handles which message, read from the annotations. Pure."""

import inspect
import types
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from trio440.actors.messages import MARK, answer_kind
from trio440.errors import InvalidParameter

__all__ = ["Handler", "Table", "annotated_in", "declared_by", "handler", "table_of", "taken_by"]

HANDLES: Final = "__trio440_handler__"

Handler: TypeAlias = Callable[[Any, Any], Coroutine[Any, Any, Any]]
"""``await handler(actor, message)``; of a question, it returns the answer."""

HandlerT = TypeVar("HandlerT", bound=Callable[..., Coroutine[Any, Any, Any]])


@attrs.frozen
class Table:
    """The handlers of one class of actors."""

    by_class: Mapping[type, Handler]
    fallback: Handler | None
    """For messages of all other classes."""
    says_goodbye: bool = True
    """Whether the class has an ``on_stop`` of its own."""
    says_hello: bool = True
    """Whether it has an ``on_start`` or an ``on_restart`` of its own."""


def handler(method: HandlerT) -> HandlerT:
    """Decorate an async method of an actor: it handles the messages its parameter is of.

    The parameter may be of one registered class or of a union of several. A question's handler
    returns the answer.

    Raises:
        InvalidParameter: it is no async function.
    """
    if not inspect.iscoroutinefunction(method):
        raise InvalidParameter("a handler", method, "an async method")
    vars(method)[HANDLES] = True
    return method


def table_of(
    cls: type,
    fallback: Handler | None,
    *,
    declared: tuple[type, ...] = (),
    says_goodbye: bool = True,
    says_hello: bool = True,
) -> Table:
    """Collect the handlers of a class and of those it inherits from.

    Raises:
        InvalidParameter: a handler's parameter has no annotation, or one that is no message; two
            handlers are for one class; a question's handler returns something else; nothing
            handles a class that is declared.
    """
    found: dict[type, Handler] = {}
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if not inspect.isfunction(method) or HANDLES not in vars(method):
            continue
        for kind in _kinds(method):
            if kind in found:
                raise InvalidParameter("a handler", method.__qualname__, f"the only one for {kind}")
            found[kind] = method
    missing = ", ".join(kind.__name__ for kind in declared if kind not in found)
    if missing and fallback is None:
        what = f"one with a handler, or a receive, for {missing}, which it declares"
        raise InvalidParameter("an actor", cls.__name__, what)
    return Table(found, fallback, says_goodbye, says_hello)


def declared_by(cls: type, base: type) -> tuple[type, ...]:
    """Return the classes of messages in the type argument that a class gives to a generic base.

    Read from its own bases and from those that it inherits. What is no class registered as a
    message, such as ``Any``, a type variable or a name in quotes, declares nothing.
    """
    return tuple(
        kind
        for each in cls.__mro__
        for declaration in vars(each).get("__orig_bases__", ())
        if get_origin(declaration) is base
        for kind in _alternatives(get_args(declaration)[0])
        if isinstance(kind, type) and MARK in vars(kind)
    )


def taken_by(function: Callable[..., Any]) -> tuple[type, ...]:
    """Return the classes of messages that an async function takes as an actor, as far as it says.

    Read from the annotation of its second parameter; where there is none, or none that is known
    at run time, it says nothing.
    """
    while isinstance(function, partial):
        if function.args:
            return ()
        function = function.func
    parameters = list(inspect.signature(function).parameters)
    try:
        kind = get_type_hints(function).get(parameters[1]) if parameters[1:] else None
    except (NameError, TypeError):
        return ()
    return _messages_among([kind])


def annotated_in(factory: Callable[..., Any]) -> tuple[type, ...]:
    """Return the classes of messages that a function or a class takes, as far as it says.

    Read from the annotations of its parameters, which are known at run time or say nothing.
    """
    while isinstance(factory, partial):
        factory = factory.func
    function: Any = factory
    if isinstance(factory, type):
        function = factory.__init__  # type: ignore[misc]  # it is looked at, and not called
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        return ()
    return _messages_among(kind for name, kind in hints.items() if name != "return")


def _messages_among(kinds: Iterable[Any]) -> tuple[type, ...]:
    return tuple(
        each
        for kind in kinds
        for each in _alternatives(kind)
        if isinstance(each, type) and MARK in vars(each)
    )


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (Union, types.UnionType):
        yield from get_args(kind)
    else:
        yield kind


def _kinds(method: Handler) -> list[type]:
    """Return the classes of messages that a handler is for."""
    name = getattr(method, "__qualname__", repr(method))
    parameters = list(inspect.signature(method).parameters)
    try:
        hints = get_type_hints(method)
    except NameError as error:
        raise InvalidParameter("a handler", name, f"annotated with known names: {error}") from None
    if len(parameters) != 2 or parameters[1] not in hints:  # noqa: PLR2004 - self and the message
        raise InvalidParameter("a handler", name, "of one parameter that has an annotation")
    kinds = list(_alternatives(hints[parameters[1]]))
    for each in kinds:
        if not isinstance(each, type) or MARK not in vars(each):
            raise InvalidParameter("a handler", name, f"for classes registered as messages: {each}")
        answer, given = answer_kind(each), hints.get("return", Any)
        # A reply that is held is returned in the answer's place: Reply[int], or int | Reply[int].
        if answer is not None and given is not Any and answer not in (given, *get_args(given)):
            raise InvalidParameter("a handler", name, f"returning {answer}, which answers {each}")
    return kinds
