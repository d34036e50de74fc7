"""What is refused where it enters."""

from typing import Any, Literal

import attrs
import pytest

from trio440.actors.checks import check_choice, check_count, check_seconds, check_text, checked
from trio440.errors import InvalidParameter


@pytest.mark.parametrize("value", ["", "x" * 201, 7, None, "a\ud800"])
def test_what_is_no_text(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="what must be"):
        check_text("what", value)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1"])
def test_what_is_no_count(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="a whole number of at least 1"):
        check_count("what", value)


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "1", None])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="0 or more, and finite"):
        check_seconds("what", value)


def test_what_is_no_choice() -> None:
    with pytest.raises(InvalidParameter, match="one of a, b"):
        check_choice("what", "c", Literal["a", "b"])


def test_a_field_is_checked_under_its_own_name() -> None:
    @attrs.frozen
    class Some:
        few: int = attrs.field(validator=checked(check_count, 0))

    assert Some(0).few == 0
    with pytest.raises(InvalidParameter, match="few must be a whole number of at least 0"):
        Some(-1)
