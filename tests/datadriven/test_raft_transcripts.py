"""Runs the transcripts beside this file; TRIO440_REWRITE=1 writes what comes out into them."""

import os
from pathlib import Path

import pytest

from tests.support.raft_transcript import rewrite

TRANSCRIPTS = sorted(Path(__file__).parent.glob("raft/*.txt"))


def test_there_are_transcripts() -> None:
    assert TRANSCRIPTS


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_transcript_comes_out_as_written(path: Path) -> None:
    before = path.read_text()
    after = rewrite(before)
    if os.environ.get("TRIO440_REWRITE") == "1":
        path.write_text(after)
    else:
        assert after == before
