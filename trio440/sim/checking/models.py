"""Models of common objects: registers, maps, queues, locks, and linekv's lists.

What a model is, and how to make one: :mod:`trio440.sim.checking.model`.
"""

from trio440.sim.checking.history import Call, Value
from trio440.sim.checking.model import (
    IMPOSSIBLE,
    Deterministic,
    Impossible,
    Result,
    no_such_call,
)

__all__ = ["CasRegister", "KeyValue", "LineStore", "Lock", "Queue", "Register"]


class Register(Deterministic[Value]):
    """A place for one value: ``read() -> value``, ``write(value) -> None``."""

    name = "register"

    def __init__(self, initial: Value = None) -> None:
        """Say what is in it before the first write."""
        self._initial = initial

    @staticmethod
    def read(key: Value = None) -> Call:
        """Ask for the value."""
        return Call("read", (), key)

    @staticmethod
    def write(value: Value, key: Value = None) -> Call:
        """Set the value."""
        return Call("write", (value,), key)

    def initial(self) -> Value:
        """Return the value before the first write."""
        return self._initial

    def apply(self, state: Value, call: Call) -> tuple[Value | Impossible, Value]:
        """Read or write."""
        match call.name, call.args:
            case "read", ():
                return state, state
            case "write", (value,):
                return None, value
            case _:
                raise no_such_call(call, "read() or write(value)")

    def reads(self, call: Call, result: Result) -> bool:  # noqa: ARG002 - reads are reads
        """Whether it is a read."""
        return call.name == "read"


class CasRegister(Register):
    """A register that also has ``cas(old, new) -> bool``: write ``new`` if it holds ``old``."""

    name = "compare-and-set register"

    @staticmethod
    def cas(old: Value, new: Value, key: Value = None) -> Call:
        """Set the value to ``new`` if it is ``old``; the result is whether it was."""
        return Call("cas", (old, new), key)

    def apply(self, state: Value, call: Call) -> tuple[Value | Impossible, Value]:
        """Read, write, or compare and set."""
        match call.name, call.args:
            case "read", ():
                return state, state
            case "write", (value,):
                return None, value
            case "cas", (old, new):
                return (True, new) if state == old else (False, state)
            case _:
                raise no_such_call(call, "read(), write(value) or cas(old, new)")

    def reads(self, call: Call, result: Result) -> bool:
        """Whether it is a read or a refused compare-and-set."""
        return call.name == "read" or (call.name == "cas" and result is False)


class KeyValue(Deterministic[Value]):
    """Values by keys, None where there is none.

    =========================  ==============================================================
    ``get(key)``               the value
    ``put(key, value)``        None
    ``delete(key)``            None
    ``append(key, value)``     None; strings, bytes and tuples grow, what was absent is set
    ``cas(key, old, new)``     whether the value was ``old`` and is now ``new``
    =========================  ==============================================================
    """

    name = "key-value store"

    @staticmethod
    def get(key: Value) -> Call:
        """Ask for the value of a key."""
        return Call("get", (), key)

    @staticmethod
    def put(key: Value, value: Value) -> Call:
        """Set the value of a key."""
        return Call("put", (value,), key)

    @staticmethod
    def delete(key: Value) -> Call:
        """Remove a key."""
        return Call("delete", (), key)

    @staticmethod
    def append(key: Value, value: str | bytes | tuple[Value, ...]) -> Call:
        """Lengthen the value of a key."""
        return Call("append", (value,), key)

    @staticmethod
    def cas(key: Value, old: Value, new: Value) -> Call:
        """Set the value of a key to ``new`` if it is ``old``; None means absent."""
        return Call("cas", (old, new), key)

    def initial(self) -> Value:
        """Return None: no key has a value."""
        return None

    def apply(self, state: Value, call: Call) -> tuple[Value | Impossible, Value]:
        """Carry out a call on one key."""
        match call.name, call.args:
            case "get", ():
                return state, state
            case "put", (value,):
                return None, value
            case "delete", ():
                return None, None
            case "append", (str() | bytes() | tuple() as value,):
                return _append(state, value)
            case "cas", (old, new):
                return (True, new) if state == old else (False, state)
            case _:
                allowed = "get(), put(value), delete(), append(value) or cas(old, new)"
                raise no_such_call(call, f"{allowed} with a key")

    def reads(self, call: Call, result: Result) -> bool:
        """Whether it is a get or a refused compare-and-set."""
        return call.name == "get" or (call.name == "cas" and result is False)


class Queue(Deterministic[tuple[Value, ...]]):
    """First in, first out: ``enqueue(value) -> None``, ``dequeue() -> value``, None if empty."""

    name = "queue"

    @staticmethod
    def enqueue(value: Value, key: Value = None) -> Call:
        """Put a value, which is not None, at the end."""
        return Call("enqueue", (value,), key)

    @staticmethod
    def dequeue(key: Value = None) -> Call:
        """Take the value at the head; the result is None where there is none."""
        return Call("dequeue", (), key)

    def initial(self) -> tuple[Value, ...]:
        """Return the empty queue."""
        return ()

    def apply(
        self, state: tuple[Value, ...], call: Call
    ) -> tuple[Value | Impossible, tuple[Value, ...]]:
        """Enqueue or dequeue."""
        match call.name, call.args:
            case "enqueue", (value,) if value is not None:
                return None, (*state, value)
            case "dequeue", ():
                return (state[0], state[1:]) if state else (None, state)
            case _:
                raise no_such_call(call, "enqueue(value), the value not None, or dequeue()")

    def reads(self, call: Call, result: Result) -> bool:
        """Whether it found the queue empty."""
        return call.name == "dequeue" and result is None


class Lock(Deterministic[Value]):
    """One owner at a time.

    ``acquire(owner)`` gives True if nobody held the lock, else False; one that waits returns True
    or never. ``release(owner)`` gives True if that owner held it, else False. Who holds it and
    acquires it again gets False. An owner is not None.
    """

    name = "lock"

    @staticmethod
    def acquire(owner: Value, key: Value = None) -> Call:
        """Ask for the lock."""
        return Call("acquire", (owner,), key)

    @staticmethod
    def release(owner: Value, key: Value = None) -> Call:
        """Give the lock back."""
        return Call("release", (owner,), key)

    def initial(self) -> Value:
        """Return None: nobody holds it."""
        return None

    def apply(self, state: Value, call: Call) -> tuple[Value | Impossible, Value]:
        """Acquire or release."""
        match call.name, call.args:
            case "acquire", (owner,) if owner is not None:
                return (True, owner) if state is None else (False, state)
            case "release", (owner,) if owner is not None:
                return (True, None) if state == owner else (False, state)
            case _:
                raise no_such_call(call, "acquire(owner) or release(owner), the owner not None")

    def reads(self, call: Call, result: Result) -> bool:  # noqa: ARG002 - both calls alike
        """Whether it was refused."""
        return result is False

    def show_state(self, state: Value) -> str:
        """Name the owner."""
        return "free" if state is None else f"held by {state!r}"


class LineStore(Deterministic[tuple[Value, ...]]):
    """A list of values by key, as :mod:`trio440.linekv` keeps them.

    =========================  ==============================================================
    ``put(key, value)``        append; the result is None
    ``get(key)``               a tuple of the values, oldest first, empty where there is none
    ``delete(key)``            remove all; the result is None
    ``update(key, old, new)``  remove the first ``old``, if there is one, and append ``new``; None
    =========================  ==============================================================

    That server answers ``get`` alone: what a connection sent before a ``get`` has happened when
    that is answered, and may be ended with ``ok()`` then. What it refuses is a ``fail()``.
    """

    name = "store of lists"

    @staticmethod
    def put(key: Value, value: Value) -> Call:
        """Append a value to the list of a key."""
        return Call("put", (value,), key)

    @staticmethod
    def get(key: Value) -> Call:
        """Ask for the list of a key."""
        return Call("get", (), key)

    @staticmethod
    def delete(key: Value) -> Call:
        """Remove a key with its list."""
        return Call("delete", (), key)

    @staticmethod
    def update(key: Value, old: Value, new: Value) -> Call:
        """Remove the first ``old`` and append ``new``."""
        return Call("update", (old, new), key)

    def initial(self) -> tuple[Value, ...]:
        """Return the list of a key that nobody has put."""
        return ()

    def apply(
        self, state: tuple[Value, ...], call: Call
    ) -> tuple[Value | Impossible, tuple[Value, ...]]:
        """Carry out a request on one key."""
        match call.name, call.args:
            case "put", (value,):
                return None, (*state, value)
            case "get", ():
                return state, state
            case "delete", ():
                return None, ()
            case "update", (old, new):
                if old not in state:
                    return None, (*state, new)
                place = state.index(old)
                return None, (*state[:place], *state[place + 1 :], new)
            case _:
                allowed = "put(value), get(), delete() or update(old, new) with a key"
                raise no_such_call(call, allowed)

    def reads(self, call: Call, result: Result) -> bool:  # noqa: ARG002 - gets are gets
        """Whether it is a get."""
        return call.name == "get"


def _append(
    state: Value, value: str | bytes | tuple[Value, ...]
) -> tuple[Value | Impossible, Value]:
    match state, value:
        case None, _:
            return None, value
        case str(), str():
            return None, state + value
        case bytes(), bytes():
            return None, state + value
        case tuple(), tuple():
            return None, (*state, *value)
        case _:
            return IMPOSSIBLE, state
