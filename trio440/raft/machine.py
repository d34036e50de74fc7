"""What a Raft log is for: a state machine, the same at every peer. Pure.

Three methods are enough, as for hashicorp/raft's FSM. A machine that answers questions, of
:meth:`Peer.read` and of clients, is :class:`Queryable` too; one whose changes can be waited for is
:class:`Watchable`.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["Queryable", "StateMachine", "Watch", "Watchable"]


class StateMachine(Protocol):
    """Deterministic: the same commands give the same results and the same snapshots everywhere.

    It looks at no clock and at no chance, and it raises nothing for any command: what it does not
    understand has a result that says so. Its limits are part of what it is, the same at all
    peers. One task uses it at a time.
    """

    def apply(self, index: int, command: bytes) -> bytes:
        """Carry out a command and return its result.

        Args:
            index: of its entry in the log; rises from call to call, with gaps.
            command: anything.
        """

    def snapshot(self) -> Callable[[], bytes]:
        """Take hold of the state as it is now and return what encodes it.

        That may be called later and on another thread, while commands are applied: it gives the
        state of this moment. Equal states give equal bytes.
        """

    def restore(self, data: bytes) -> None:
        """Replace the state by that of a snapshot.

        Raises:
            BadMessage: it is no snapshot of such a machine; nothing was changed.
        """


@runtime_checkable
class Queryable(StateMachine, Protocol):
    """A state machine that answers questions."""

    def query(self, request: bytes) -> bytes:
        """Answer a question, and change nothing.

        Like ``apply`` it raises nothing: what is wrong with a question is said in the answer.
        """


class Watch(Protocol):
    """A question that is answered when there is something to tell."""

    def poll(self) -> bytes | None:
        """Return the answer, None where there is nothing to tell yet.

        To be asked again whenever commands were applied, or a snapshot was restored: what was
        looked at once is not looked at again.
        """

    def progress(self) -> bytes:
        """Return the answer of one for whom there was nothing: how far it has looked."""


@runtime_checkable
class Watchable(Protocol):
    """A state machine whose changes can be waited for."""

    def watch(self, request: bytes) -> Watch:
        """Begin to watch; whatever the request, its answer says what is wrong with it."""
