"""The values that options take."""

from typing import Any

import click
import pytest

from trio440.cli.mine import SPEED
from trio440.cli.options import SECONDS
from trio440.cli.protocol import PERCENT
from trio440.cli.simulation.arguments import LIMIT


@pytest.mark.parametrize("option", [SECONDS, PERCENT, SPEED, LIMIT])
@pytest.mark.parametrize("text", ["nan", "-NaN", "-1", "x"])
def test_a_number_is_in_its_range_or_refused(option: click.ParamType[Any], text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not"):
        option.convert(text, None, None)


def test_a_number_in_its_range_is_taken() -> None:
    assert SECONDS.convert("0.5", None, None) == 0.5
    assert SECONDS.convert("inf", None, None) > 1e300
