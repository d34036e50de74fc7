import enum
from typing import Any, Literal

import attrs
import pytest

from trio440.actors.messages import Question, Vocabulary, answer_kind, is_shareable, message
from trio440.actors.ref import Ref
from trio440.errors import BadMessage, InvalidParameter


@message("test.Point")
@attrs.frozen
class Point:
    x: int
    y: int = 0


@message("test.Point", version=2)
@attrs.define
class Point2:
    x: int
    tags: list[str] = attrs.field(factory=list)


@message("test.Ask")
@attrs.frozen
class Ask(Question[Point]):
    pass


class Colour(enum.Enum):
    RED = 1


@attrs.frozen
class Frozen:
    kind: Literal["a", "b"]
    who: Ref[Any]
    parts: tuple[Point, ...]
    few: frozenset[str]
    perhaps: Point | None = None
    colour: Colour = Colour.RED


@attrs.frozen
class HoldsList:
    items: list[int]


@attrs.frozen
class HoldsHolder:
    inner: HoldsList


@attrs.frozen
class HoldsTupleOfLists:
    inner: tuple[list[int], ...]


@attrs.frozen
class HoldsAnything:
    value: Any


@attrs.frozen(slots=False)
class Tree:
    left: "Tree | None" = None


@attrs.define
class Empty:
    pass


def test_a_message_is_known_by_name_and_version() -> None:
    vocabulary = Vocabulary()
    first, second = vocabulary.learn(Point), vocabulary.learn(Point2)
    assert (first.name, first.version, first.shared) == ("test.Point", 1, True)
    assert (second.name, second.version, second.shared) == ("test.Point", 2, False)
    assert vocabulary.learn(Point) is first
    data = second.codec.encode(Point2(3))
    assert vocabulary.decode_untrusted("test.Point", 2, data) == Point2(3)
    with pytest.raises(BadMessage, match="version 3"):
        vocabulary.decode_untrusted("test.Point", 3, data)
    with pytest.raises(BadMessage):
        vocabulary.decode_untrusted("test.Point", 1, b"\x81\xa1x\xa1y")


def test_a_second_class_of_one_name_is_refused_by_the_system_that_knows_the_first() -> None:
    @message("test.Point")
    @attrs.frozen
    class Impostor:
        x: int

    vocabulary = Vocabulary()
    vocabulary.learn(Point)
    with pytest.raises(InvalidParameter, match=r"test\.Point"):
        vocabulary.learn(Impostor)
    assert Vocabulary().learn(Impostor).name == "test.Point"


def test_what_is_no_message() -> None:
    @attrs.frozen
    class Bare:
        pass

    class Derived(Point):
        pass

    for cls in (Bare, Derived, int):
        with pytest.raises(InvalidParameter, match="must be of a class registered with @message"):
            Vocabulary().learn(cls)
    with pytest.raises(InvalidParameter, match="must be an instance of a class"):
        Vocabulary().learn(type)
    with pytest.raises(InvalidParameter, match="attrs class, with @message above @attrs"):
        message("x")(int)
    with pytest.raises(InvalidParameter, match="once"):
        message("y")(Point)


@pytest.mark.parametrize(("name", "version"), [("", 1), ("x" * 201, 1), ("x", 0), ("x", True)])
def test_names_and_versions_have_a_range(name: str, version: int) -> None:
    with pytest.raises(InvalidParameter, match=r"name must be|version must be"):
        message(name, version=version)


def test_what_is_copied_is_another_object_and_what_is_shared_is_the_same() -> None:
    vocabulary = Vocabulary()
    mutable, frozen = Point2(1, ["a"]), Point(1)
    copied, size = vocabulary.copy(vocabulary.learn(Point2), mutable)
    assert copied == mutable
    assert copied is not mutable
    assert copied.tags is not mutable.tags
    assert size == len(vocabulary.learn(Point2).codec.encode(mutable))
    assert vocabulary.copy(vocabulary.learn(Point), frozen) == (frozen, 0)
    assert vocabulary.copy(vocabulary.learn(Point), frozen)[0] is frozen


@pytest.mark.parametrize("cls", [Point, Frozen, Ask, Tree, int, str, type(None)])
def test_what_is_frozen_all_the_way_down_may_be_shared(cls: Any) -> None:
    assert is_shareable(cls)


@pytest.mark.parametrize(
    "cls", [Point2, HoldsList, HoldsHolder, HoldsTupleOfLists, HoldsAnything, Empty, list[int]]
)
def test_what_could_change_is_not_shared(cls: Any) -> None:
    assert not is_shareable(cls)


def test_what_is_promised_not_to_change_is_shared() -> None:
    @message("test.Promised", shared=True)
    @attrs.frozen
    class Promised:
        held: tuple[HoldsList, ...]

    @message("test.Heir")
    @attrs.frozen
    class Heir(Promised):
        pass

    vocabulary = Vocabulary()
    held = Promised((HoldsList([1]),))
    assert vocabulary.copy(vocabulary.learn(Promised), held) == (held, 0)
    copied, size = vocabulary.copy(vocabulary.learn(Heir), Heir(held.held))
    assert copied == Heir(held.held)
    assert copied.held is not held.held
    assert size, "a class that is derived has promised nothing"


def test_answers_are_plain_or_messages() -> None:
    vocabulary = Vocabulary()
    for plain in (None, True, 1, 1.5, "text", b"bytes"):
        assert vocabulary.copy_answer(plain) is plain
    answer = Point2(1, ["a"])
    assert vocabulary.copy_answer(answer) == answer
    assert vocabulary.copy_answer(answer) is not answer
    for wrong in ([1], {}, object(), 1 << 63):
        with pytest.raises(InvalidParameter):
            vocabulary.copy_answer(wrong)


@pytest.mark.parametrize(
    "kind", [list, list[int], dict[str, int], tuple[int, ...], int | list[int], set[int]]
)
def test_no_question_is_answered_with_a_container(kind: Any) -> None:
    @attrs.frozen
    class AskAll(Question[kind]):
        pass

    with pytest.raises(InvalidParameter, match=r"an answer must be a message, None, .*; a message"):
        message("test.AskAll")(AskAll)


def test_a_class_whose_types_cannot_be_looked_up_is_refused_as_such() -> None:
    @message("test.Lost")
    @attrs.frozen
    class Lost:
        inner: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 - on purpose

    with pytest.raises(InvalidParameter, match=r"name 'Nowhere' is not defined.*not <class .*Lost"):
        Vocabulary().learn(Lost)


def test_a_question_says_what_answers_it() -> None:
    assert answer_kind(Ask) is Point
    assert answer_kind(Point) is None
