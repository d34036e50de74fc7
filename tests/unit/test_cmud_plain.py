"""Lines for a pipe."""

from hypothesis import given
from hypothesis import strategies as st

from trio440.cli.cmud_plain import wrapped

LINES = st.text(st.sampled_from("ab  é"), max_size=120).map(str.rstrip)


@given(st.lists(LINES, min_size=1, max_size=4), st.integers(8, 60))
def test_lines_are_broken_at_words_and_lose_nothing(lines: list[str], width: int) -> None:
    broken = [*wrapped("\n".join(lines), width)]
    assert all(len(line) <= width for line in broken if len(line.strip()) < width)
    assert "".join("".join(broken).split()) == "".join("".join(lines).split())
    for line in lines:
        if len(line) <= width:
            assert line in broken


def test_what_a_line_is_broken_into_is_indented_like_it() -> None:
    assert [*wrapped("  aa bb cc dd", 8)] == ["  aa bb", "  cc dd"]
    assert [*wrapped("aa bb\n\n   cc   dd", 12)] == ["aa bb", "", "   cc   dd"]
