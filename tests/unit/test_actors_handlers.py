from functools import partial
from typing import Any

import attrs
import pytest

from tests.support.actor_cast import Add, Counter, Debtor, Get, Items
from trio440.actors import Actor, Question, handler, message
from trio440.actors.handlers import annotated_in, table_of, taken_by
from trio440.errors import InvalidParameter


def test_handlers_are_found_by_their_annotation_and_inherited() -> None:
    class Louder(Counter):
        @handler
        async def add(self, message: Add) -> None:
            pass

    table = table_of(Louder, None)
    assert table.by_class[Add] is Louder.add
    assert table.by_class[Get] is Counter.get
    assert set(table_of(Debtor, None).by_class) == {Add, Get}


def test_one_handler_may_take_several_classes() -> None:
    class Both(Actor[Add | Items]):
        @handler
        async def both(self, message: Add | Items) -> None:
            pass

    assert set(table_of(Both, None).by_class) == {Add, Items}


def test_what_cannot_be_a_handler() -> None:
    @message("test.Q")
    @attrs.frozen
    class Q(Question[str]):
        pass

    class Twice(Actor[Any]):
        @handler
        async def one(self, message: Add) -> None: ...

        @handler
        async def two(self, message: Add) -> None: ...

    class Bare(Actor[Any]):
        @handler
        async def bare(self, message) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - that is what is wrong
            ...

    class Plain(Actor[Any]):
        @handler
        async def plain(self, message: int) -> None: ...

    class WrongAnswer(Actor[Any]):
        @handler
        async def answer(self, message: Q) -> int: ...  # type: ignore[empty-body]

    class Unknown(Actor[Any]):
        @handler
        async def unknown(self, message: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821 - likewise
            ...

    for cls, problem in (
        (Twice, "only one"),
        (Bare, "annotation"),
        (Plain, "registered"),
        (WrongAnswer, "returning"),
        (Unknown, "known names"),
    ):
        with pytest.raises(InvalidParameter, match=problem):
            table_of(cls, None)
    with pytest.raises(InvalidParameter, match="async"):
        handler(print)  # type: ignore[type-var]  # no async method


def test_a_function_says_what_it_takes_as_far_as_it_can() -> None:
    async def take(context: Any, message: Add, extra: int = 0) -> None: ...
    async def guess(context: Any, message: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - on purpose

    assert taken_by(take) == taken_by(partial(take, extra=1)) == (Add,)
    assert taken_by(partial(take, None)) == taken_by(guess) == ()


def test_a_factory_says_which_messages_it_is_given() -> None:
    class Begun(Actor[Any]):
        def __init__(self, number: int, first: Add | None, second: "Get") -> None: ...

    def make(add: Add) -> Get:
        raise NotImplementedError

    async def guess(context: Any, message: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - on purpose

    assert annotated_in(Begun) == annotated_in(partial(Begun, 1)) == (Add, Get)
    assert annotated_in(make) == (Add,)
    assert annotated_in(guess) == annotated_in(int) == annotated_in(Actor) == ()
