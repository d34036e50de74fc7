"""However many mistakes others make, a server says a bounded number of lines."""

from trio440.cli.reports import MOST_LINES, WINDOW_SECONDS, Reports
from trio440.errors import BadMessage


def test_a_flood_of_mistakes_is_a_few_lines_and_a_count() -> None:
    clock, lines = [100.0], list[str]()
    reports = Reports("trio440 raft", lines.append, lambda: clock[0])
    for number in range(1000):
        reports.take(BadMessage(f"mistake {number}"))
    assert lines == [f"trio440 raft: mistake {number}" for number in range(MOST_LINES)]
    clock[0] += WINDOW_SECONDS
    lines.clear()
    reports.take(BadMessage("late"))
    left_out = 1000 - MOST_LINES
    assert lines == [f"trio440 raft: {left_out} more reports were left out", "trio440 raft: late"]
    clock[0] += WINDOW_SECONDS
    lines.clear()
    reports.take(BadMessage("later"))
    reports.take(ValueError("nobody's mistake but the program's"))
    assert lines == ["trio440 raft: later"]
