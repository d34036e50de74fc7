from itertools import permutations
from typing import Any

import attrs

from trio440.actors.messages import message
from trio440.actors.ref import Ref
from trio440.wire.codec import Codec


def ref(address: str = "a", counter: int = 1, incarnation: int = 1) -> Ref[Any]:
    return Ref(address, counter, incarnation)


def test_a_reference_is_shown_as_address_and_counter() -> None:
    assert str(ref("10.0.0.1:80", 17, 5)) == "10.0.0.1:80/17"
    assert "17" in repr(ref("a", 17, 5))
    assert "life 5" in repr(ref("a", 17, 5))


def test_equal_references_are_one_key() -> None:
    assert ref() == ref()
    assert len({ref(), ref(), ref(counter=2), ref(incarnation=2), ref("b")}) == 4


def test_the_order_is_address_as_text_then_counter_as_number_then_incarnation() -> None:
    ordered = [ref("a:10"), ref("a:9", 9, 7), ref("a:9", 10, 1), ref("a:9", 10, 2), ref("b")]
    for shuffled in list(permutations(ordered))[::7]:
        assert sorted(shuffled) == ordered
    assert max(ref(counter=9), ref(counter=10)).counter == 10


def test_an_earlier_life_of_the_same_address_is_told_apart() -> None:
    assert ref(incarnation=1).is_of_another_life("a", 2)
    assert not ref(incarnation=2).is_of_another_life("a", 2)
    assert not ref("b", 1, 1).is_of_another_life("a", 2)


@message("test.Letter")
@attrs.frozen
class Letter:
    reply_to: Ref[int | str]
    others: tuple[Ref[Any], ...] = ()


def test_references_travel_inside_messages() -> None:
    codec = Codec(Letter)
    letter = Letter(ref("a:9", 10, 1 << 60), (ref(), ref("b")))
    read = codec.decode_untrusted(codec.encode(letter))
    assert read == letter
    assert read.reply_to.incarnation == 1 << 60
