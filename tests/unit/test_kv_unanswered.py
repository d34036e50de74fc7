"""What is said of servers that have not answered."""

import pytest

from trio440.errors import (
    BadMessage,
    ConnectionRefused,
    HandshakeRefused,
    ResolutionFailed,
    Trio440Error,
)
from trio440.kv.unanswered import LONGEST_PROBLEM, MOST_NAMED, explain, join_problems

WHERE = "n1:7000"


@pytest.mark.parametrize(
    ("failure", "seconds", "reason", "said"),
    [
        (
            ConnectionRefused("n1", 7000, "cannot be reached: no", nobody_listens=True),
            2.0,
            "nobody listens there",
            "nobody listens at n1:7000",
        ),
        (
            ConnectionRefused("n1", 7000, "cannot be reached: no route to host"),
            2.0,
            "it cannot be reached: no route to host",
            None,
        ),
        (ResolutionFailed("n1", 7000, "is an unknown host"), None, "it is an unknown host", None),
        (None, 2.0, "nothing came within 2 s", None),
        (None, 1.4996, "nothing came within 1.5 s", None),
        (None, None, "the connection broke", None),
        (HandshakeRefused(WHERE, "busy", "busy: it is full"), 2.0, "busy: it is full", None),
        (
            BadMessage("it speaks HTTP"),
            2.0,
            "it is no port for clients of a store: it speaks HTTP",
            None,
        ),
    ],
)
def test_each_failure_is_explained(
    failure: Trio440Error | None, seconds: float | None, reason: str, said: str | None
) -> None:
    found = explain(WHERE, failure, seconds)
    assert (found.address, found.reason) == (WHERE, reason)
    assert str(found) == (said or f"n1:7000 did not answer: {reason}")


def test_what_a_stranger_says_is_shown_and_not_obeyed() -> None:
    said = "\x1b[2J\r\nsurprise " + "\x07" * 1000
    found = explain(WHERE, BadMessage(said), None)
    assert found.reason.startswith("it is no port for clients of a store: \\x1b[2J surprise \\x07")
    for line in (found.reason, str(found), join_problems([found, said])):
        assert line.isprintable()
        assert len(line) < 10 * LONGEST_PROBLEM


def test_problems_are_one_line_of_bounded_length() -> None:
    problems = [f"n{number}: it\nhas\r\nfailed {'x' * 500}" for number in range(MOST_NAMED + 3)]
    line = join_problems(problems)
    assert line.isprintable()
    assert line.startswith("n0: it has failed xxx")
    assert line.endswith("x; and 3 more")
    assert len(line) < (LONGEST_PROBLEM + 2) * MOST_NAMED + 20
    assert join_problems(["n1: a", "n2: b"]) == "n1: a; n2: b"
    assert "more" not in join_problems(["a"] * MOST_NAMED)
