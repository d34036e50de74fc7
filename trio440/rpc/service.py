"""Services: what can be asked, with the types of questions and answers. Pure.

::

    class Calculator(Service):
        add = method(Add, Sum)
        note = one_way(Note)

``Calculator.add`` is the description of a method, which a server's :class:`Routes` take with a
handler; ``Calculator(client).add`` is the call, which takes an ``Add`` and returns a ``Sum``. Both
are typed: a type checker knows what goes in and what comes out.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, overload

import attrs

from trio440.errors import InvalidParameter
from trio440.rpc.envelope import encode_name
from trio440.rpc.hello import Peer
from trio440.wire.codec import Codec

__all__ = [
    "BoundMethod",
    "BoundTell",
    "Caller",
    "Method",
    "OneWay",
    "Route",
    "Routes",
    "Service",
    "method",
    "one_way",
]

A = TypeVar("A")
R = TypeVar("R")
P = TypeVar("P")

Handler: TypeAlias = Callable[[A, Peer], Awaitable[R] | R]
"""Answers a request of a peer. An ``async def`` may wait, and then has a task to itself; a ``def``
must not block. Both begin where the request was read."""


class Caller(Protocol):
    """What a service needs of a client."""

    async def call(
        self, method: "Method[A, R]", request: A, *, timeout_seconds: float | None = None
    ) -> R:
        """Ask and return the answer."""

    def tell(self, method: "OneWay[A]", message: A) -> bool:
        """Send without an answer; whether there was room."""


class _Named:
    """Something of a service that has a name on the wire."""

    def __init__(self) -> None:
        self._name = ""
        self.wire_name = b""

    @property
    def name(self) -> str:
        """``Service.method``, as both sides know it."""
        return self._name

    def bind(self, name: str) -> None:
        """Take the name; once, when the service is defined."""
        if self._name:
            raise InvalidParameter("method", self._name, "in one service only")
        self.wire_name = encode_name(name)
        self._name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


class Method(_Named, Generic[A, R]):
    """A question with an answer; :func:`method` makes one."""

    def __init__(self, request: Codec[A], result: Codec[R]) -> None:
        super().__init__()
        self.request: Final = request
        self.result: Final = result

    @overload
    def __get__(self, service: None, owner: type) -> "Method[A, R]": ...
    @overload
    def __get__(self, service: "Service", owner: type) -> "BoundMethod[A, R]": ...
    def __get__(self, service: "Service | None", owner: type) -> "Method[A, R] | BoundMethod[A, R]":
        """Return the description for the class, the call for a service of a client."""
        return self if service is None else BoundMethod(self, service.caller)


class OneWay(_Named, Generic[A]):
    """A message without an answer; :func:`one_way` makes one."""

    def __init__(self, message: Codec[A]) -> None:
        super().__init__()
        self.message: Final = message

    @overload
    def __get__(self, service: None, owner: type) -> "OneWay[A]": ...
    @overload
    def __get__(self, service: "Service", owner: type) -> "BoundTell[A]": ...
    def __get__(self, service: "Service | None", owner: type) -> "OneWay[A] | BoundTell[A]":
        """Return the description for the class, the sender for a service of a client."""
        return self if service is None else BoundTell(self, service.caller)


def method(request: type[A] | Codec[A], result: type[R] | Codec[R]) -> Method[A, R]:
    """Describe a method of a service.

    Args:
        request: the attrs class of the question, or a codec of several:
            ``Codec[Put | Delete](Put, Delete)``.
        result: of the answer, likewise.
    """
    return Method(_codec(request), _codec(result))


def one_way(message: type[A] | Codec[A]) -> OneWay[A]:
    """Describe a message of a service that is not answered; as :func:`method`."""
    return OneWay(_codec(message))


def _codec(kind: type[P] | Codec[P]) -> Codec[P]:
    return kind if isinstance(kind, Codec) else Codec(kind)


class BoundMethod(Generic[A, R]):
    """A method of a client's service: call it."""

    __slots__ = ("_ask",)

    def __init__(self, method: Method[A, R], caller: Caller) -> None:
        self._ask = partial(caller.call, method)

    def __call__(
        self, request: A, *, timeout_seconds: float | None = None
    ) -> Coroutine[Any, Any, R]:
        """Ask; see :meth:`trio440.rpc.Client.call`."""
        return self._ask(request, timeout_seconds=timeout_seconds)


class BoundTell(Generic[A]):
    """A one-way message of a client's service: call it."""

    __slots__ = ("_tell",)

    def __init__(self, method: OneWay[A], caller: Caller) -> None:
        self._tell = partial(caller.tell, method)

    def __call__(self, message: A) -> bool:
        """Send; see :meth:`trio440.rpc.Client.tell`."""
        return self._tell(message)


class Service:
    """Base of services; an instance is a service of one client's server.

    On the wire its methods are called ``Name.method``, with the class's name or the one that is
    given: ``class Calculator(Service, name="calc")``.
    """

    def __init_subclass__(cls, name: str | None = None) -> None:
        super().__init_subclass__()
        for key, value in vars(cls).items():
            if isinstance(value, _Named):
                value.bind(f"{cls.__name__ if name is None else name}.{key}")

    def __init__(self, caller: Caller) -> None:
        self.caller: Final = caller


@attrs.frozen
class Route:
    """A handler and what it is for."""

    name: str
    handler: Callable[[Any, Peer], Any]
    decode_untrusted: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    """Of the result."""
    is_answered: bool
    waits: bool
    """Whether the handler is async, hence may wait."""


class Routes:
    """What a server can be asked, and who answers."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    @property
    def by_name(self) -> Mapping[str, Route]:
        """The routes, as messages name them."""
        return MappingProxyType(self._routes)

    def add(self, method: Method[A, R], handler: Handler[A, R]) -> None:
        """Let ``handler(request, peer)`` answer a method.

        Raises:
            InvalidParameter: the method has a handler already, or belongs to no service.
        """
        self._add(method, handler, method.request, method.result)

    def add_one_way(self, method: OneWay[A], handler: Handler[A, None]) -> None:
        """Let ``handler(message, peer)`` take a message; errors as :meth:`add`.

        Messages of one connection reach a ``def`` in the order in which they were sent.
        """
        self._add(method, handler, method.message, None)

    def answers(self, method: Method[A, R]) -> Callable[[Handler[A, R]], Handler[A, R]]:
        """Decorate the handler of a method; :meth:`add` in another form."""

        def decorate(handler: Handler[A, R]) -> Handler[A, R]:
            self.add(method, handler)
            return handler

        return decorate

    def takes(self, method: OneWay[A]) -> Callable[[Handler[A, None]], Handler[A, None]]:
        """Decorate the handler of a one-way message; :meth:`add_one_way` in another form."""

        def decorate(handler: Handler[A, None]) -> Handler[A, None]:
            self.add_one_way(method, handler)
            return handler

        return decorate

    def _add(
        self,
        method: Method[Any, Any] | OneWay[Any],
        handler: Callable[[Any, Peer], Any],
        taken: Codec[Any],
        given: Codec[Any] | None,
    ) -> None:
        if not method.name:
            raise InvalidParameter("method", method, "part of a service")
        if method.name in self._routes:
            raise InvalidParameter("method", method, "without a handler so far")
        waits = any(map(inspect.iscoroutinefunction, (handler, getattr(handler, "__call__", None))))  # noqa: B004 - of an object, the method is what is async
        self._routes[method.name] = Route(
            method.name,
            handler,
            taken.decode_untrusted,
            taken.encode if given is None else given.encode,
            given is not None,
            waits,
        )
