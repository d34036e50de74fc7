"""What a namespace says to its engine, and what it makes of the answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from trio440.errors import OperationRefused, StoreUnavailable
from trio440.kv import (
    Append,
    AtomicNamespace,
    Change,
    CompareAndSet,
    Condition,
    Count,
    Delete,
    Entry,
    Expire,
    Get,
    Increment,
    List,
    Operation,
    Page,
    Put,
    Refused,
    Result,
    Transaction,
)
from trio440.kv.operations import Changed, Committed, Counted, Found


class Scripted(AtomicNamespace):
    """Gives the answers that it is told to give, and keeps what it was asked."""

    engine = "memory"

    def __init__(self, *answers: Result) -> None:
        self.answers = list(answers)
        self.asked: list[Operation] = []

    async def execute(self, operations: Sequence[Operation]) -> Sequence[Result]:
        self.asked += operations
        return [self.answers.pop(0) for _ in operations]

    def watch(
        self, prefix: bytes = b"", *, after: bytes | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        raise NotImplementedError


async def test_each_method_asks_one_thing() -> None:
    entry = Entry(b"k", b"v", 7, 500)
    space = Scripted(
        Found(entry),
        Changed(8, existed=True),
        Changed(9, existed=True),
        Changed(9, existed=False),
        Page((entry,), more=True),
        Counted(3),
        Committed(9, succeeded=False),
        Changed(10, existed=False, number=5),
        Changed(11, existed=True, number=2),
        Committed(12, succeeded=True),
    )
    assert await space.get(b"k") == entry
    assert await space.put(b"k", b"v", ttl_ms=500) == 8
    assert await space.delete(b"k") is True
    assert await space.expire(b"k", None) is False
    assert await space.list(b"p", after=b"pa", limit=2) == Page((entry,), more=True)
    assert await space.count(b"p") == 3
    assert await space.compare_and_set(b"k", b"a", None) is False
    assert await space.increment(b"n", 5) == 5
    assert await space.append(b"k", b"x") == 2
    condition = Condition(b"k", version=7)
    assert (await space.transact([condition], [Get(b"k")])).succeeded
    assert space.asked == [
        Get(b"k"),
        Put(b"k", b"v", 500),
        Delete(b"k"),
        Expire(b"k", None),
        List(b"p", b"pa", 2),
        Count(b"p"),
        CompareAndSet(b"k", b"a", None),
        Increment(b"n", 5),
        Append(b"k", b"x"),
        Transaction((condition,), (Get(b"k"),)),
    ]


async def test_what_is_refused_is_an_error() -> None:
    space = Scripted(Refused("a key is empty"))
    with pytest.raises(OperationRefused, match=r"^a key is empty$"):
        await space.get(b"")


async def test_an_answer_to_something_else_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="was answered with"):
        await Scripted(Counted(1)).get(b"k")


def test_what_reads_only_has_not_happened() -> None:
    assert StoreUnavailable("n1 is silent").may_have_happened
    error = StoreUnavailable("n1 is silent", may_have_happened=False)
    assert not error.may_have_happened
    assert str(error) == "the store cannot be reached: n1 is silent"


def test_operations_are_compared_and_hashed_by_what_they_say() -> None:
    assert {Put(b"k", b"v"), Put(b"k", b"v")} == {Put(b"k", b"v", None)}
    assert len({Get(b"k"), Delete(b"k")}) == 2
