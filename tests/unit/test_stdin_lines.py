"""Lines of standard input, in whatever pieces it comes."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio440.cli import stdin_lines
from trio440.cli.stdin_lines import StdinLines

PIECES = st.lists(st.binary(min_size=1, max_size=6) | st.just(b"\n"), max_size=12)


async def lines_of(pieces: list[bytes], max_bytes: int) -> list[bytes]:
    rest = iter([*pieces, b""])

    async def read_stdin() -> bytes:
        await trio.lowlevel.checkpoint()
        return next(rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stdin_lines, "read_stdin", read_stdin)
        lines = StdinLines(max_bytes)
        found = []
        while (line := await lines.next()) is not None:
            found.append(line)
        assert await lines.next() is None
        return found


@given(PIECES, st.integers(0, 9))
def test_pieces_make_no_difference(pieces: list[bytes], max_bytes: int) -> None:
    whole = b"".join(pieces).split(b"\n")
    expected = [line[: max_bytes + 1] for line in whole[: -1 if whole[-1] == b"" else None]]
    assert trio.run(lines_of, pieces, max_bytes) == expected
