"""Plays the games beside this file; TRIO440_REWRITE=1 writes what comes out into them.

A line ``# ...`` says what a game is about, ``seed N`` is its chance, ``> ...`` what is typed; the
rest is what the game shows.
"""

import os
import random
import re
from pathlib import Path

import pytest
import trio

from trio440 import kv
from trio440.cli.cmud_plain import PlainFace, ScriptLines
from trio440.cmud import play

GAMES = sorted(Path(__file__).parent.glob("cmud/*.txt"))


def played(game: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Play a game again, and return how it is written down."""
    about, seed = re.findall(r"^(?:#.*|seed \d+)$", game, re.MULTILINE)
    typed = re.findall(r"^> (.*)$", game, re.MULTILINE)

    async def main() -> None:
        async with kv.open_memory() as world:
            chance = random.Random(int(seed.split()[1]))
            face = PlainFace(ScriptLines(typed), echo=True)
            await play(world, "ada", face, rng=chance, pace=0.0)

    trio.run(main)
    shown = re.sub(r"^ada [\w ]+> ?", "> ", capfd.readouterr().out, flags=re.MULTILINE)
    return f"{about}\n{seed}\n{shown}"


def test_there_are_games() -> None:
    assert GAMES


@pytest.mark.parametrize("path", GAMES, ids=lambda path: path.stem)
def test_a_game_goes_as_written(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = path.read_text()
    after = played(before, capfd)
    if os.environ.get("TRIO440_REWRITE") == "1":
        path.write_text(after)
    else:
        assert after == before
