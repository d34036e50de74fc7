"""References: where a message goes, as a value. Pure.

A reference holds no actor and no system, so it can be compared, hashed, sent inside messages and
kept anywhere. That is also why it has no ``tell``: to send takes a system, and a value that had
one could not cross a network. ``system.tell(ref, message)`` and ``context.tell(ref, message)``
say who sends, and a type checker holds the message against the reference's type.
"""

from collections.abc import Coroutine
from typing import Generic, TypeVar

import attrs

from trio440.errors import InvalidParameter

__all__ = ["Ref", "check_ref"]

M_contra = TypeVar("M_contra", contravariant=True)


@attrs.frozen(order=True, repr=False)
class Ref(Generic[M_contra]):
    """A reference to an actor that takes messages of type ``M``, shown as ``address/counter``.

    It stays valid while its actor is restarted. Once the actor has stopped it leads to the dead
    letters, for no counter is used twice in one life of a system. References are ordered by
    address as text, counter as a number, and incarnation; the higher one wins a tie.

    A reference to an actor that takes more is one to an actor that takes less: ``Ref[Add | Get]``
    is a ``Ref[Add]``.
    """

    address: str
    """Of the actor's system."""
    counter: int
    """The actor's number in its system, 1 or more: one sequence for all that can be told."""
    incarnation: int
    """The life of the system: a later life at the same address has a higher one."""

    def __str__(self) -> str:
        return f"{self.address}/{self.counter}"

    def __repr__(self) -> str:
        return f"<Ref {self.address}/{self.counter} of life {self.incarnation}>"

    def is_of_another_life(self, address: str, incarnation: int) -> bool:
        """Whether it was made at an address, in another life of the system there."""
        return self.address == address and self.incarnation != incarnation


def check_ref(ref: object) -> None:
    """Refuse what is no reference, such as the None of a ``lookup``.

    Raises:
        InvalidParameter: it is none.
    """
    if not isinstance(ref, Ref):
        hint = " (was it awaited?)" if isinstance(ref, Coroutine) else ""
        raise InvalidParameter("ref", ref, f"a reference to an actor{hint}")
