"""What a Raft log is for: a state machine, the same at every peer. Pure."""

from collections.abc import Callable
from typing import Protocol

__all__ = ["StateMachine"]


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

    def query(self, request: bytes) -> bytes:
        """Answer a question, and change nothing."""

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
