"""What is refused where it enters: names, numbers, times and choices out of their ranges. Pure."""

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, get_args

from trio440.errors import InvalidParameter

__all__ = ["check_choice", "check_count", "check_seconds", "check_text", "checked"]

MAX_TEXT: Final = 200
NUMBER: Final = (int, float)

Validator: TypeAlias = Callable[[object, Any, Any], None]


def check_text(name: str, value: object, longest: int = MAX_TEXT) -> None:
    """Refuse what is no name.

    Raises:
        InvalidParameter: it is no text, empty, longer than ``longest`` characters, or no Unicode.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise InvalidParameter(name, value, f"text of 1 to {longest} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidParameter(name, value, "Unicode without lone surrogates") from None


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no number of things.

    Raises:
        InvalidParameter: it is no whole number of at least ``least``.
    """
    if type(value) is not int or value < least:
        raise InvalidParameter(name, value, f"a whole number of at least {least}")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no time to wait.

    Raises:
        InvalidParameter: it is negative, infinite or no number.
    """
    if not isinstance(value, NUMBER) or not 0 <= value < math.inf:
        raise InvalidParameter(name, value, "0 or more, and finite")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse what is none of the values of a ``Literal``.

    Raises:
        InvalidParameter: it is none.
    """
    if value not in get_args(choices):
        raise InvalidParameter(name, value, f"one of {', '.join(get_args(choices))}")


def checked(check: Callable[..., None], *args: Any) -> Validator:
    """Make the validator of an attrs field, which calls ``check(its name, its value, *args)``."""

    def validate(_: object, attribute: Any, value: Any) -> None:
        check(attribute.name, value, *args)

    return validate
