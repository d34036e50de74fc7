"""Every program and every command that the documents show does what they say.

In ``README.md``, ``CONTRIBUTING.md`` and ``docs/*.md``:

- a fenced ``python`` block is a complete program and ends with status 0; when the next block is
  ``text``, with the line ``It prints:`` alone between the two, that is exactly its output;
- a fenced ``console`` block is a dialogue: each line after ``$ `` is run by bash in the
  project's folder, with ``.venv/bin`` first in the path, and must succeed and print the lines
  below it; a line of ``...`` stands for any lines. ``trio440`` with plain words needs no bash. One
  that ends in ``&`` is a server: the next command waits for its first line. Port 9999 is replaced
  by a free one, and ``/tmp`` by a folder of the test's own;
- ``make TARGET`` in such a block is not run: the target must exist;
- ``<!-- not run: REASON -->`` on the line before a block leaves it out; ``<!-- slow -->`` leaves it
  to the runs that take the slow tests, too.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from tests.support.net import free_port
from tests.support.processes import PATIENCE_SECONDS, ROOT, TRIO440, finished, started
from tests.support.tools import require_tool

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
DOCUMENTED_PORT = re.compile(r"\b9999\b")
DOCUMENTED_FOLDER = re.compile(r"/tmp\b")  # noqa: S108 - it is never used


@attrs.frozen
class Block:
    document: Path
    line: int
    language: str
    body: str
    before: str
    """The text between the block before and this one."""

    @property
    def name(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def runs(self) -> bool:
        return not re.search(r"<!-- not run: .+ -->\n*\Z", self.before)

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        is_slow = re.search(r"<!-- slow -->\n*\Z", self.before)
        mines = re.search(r"\btrio440(\.mining| mine)\b", self.body)
        return [pytest.mark.slow] * bool(is_slow) + [pytest.mark.mines] * bool(mines)


def blocks_of(document: Path) -> Iterator[Block]:
    text = document.read_text()
    end = 0
    for match in FENCE.finditer(text):
        body = re.sub(rf"^{match['indent']}", "", match["body"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        yield Block(document, line, match["language"], body, text[end : match.start()])
        end = match.end()


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
PROGRAMS = [
    (block, following)
    for block, following in zip(BLOCKS, [*BLOCKS[1:], None], strict=True)
    if block.language == "python" and block.runs
]
DIALOGUES = [block for block in BLOCKS if block.language == "console" and block.runs]


@pytest.mark.parametrize(
    ("block", "following"),
    [pytest.param(*pair, id=pair[0].name, marks=pair[0].marks) for pair in PROGRAMS],
)
def test_a_program_runs(block: Block, following: Block | None, tmp_path: Path) -> None:
    if "redis-cli" in block.body:
        require_tool("redis-cli")
    program = tmp_path / "program.py"
    program.write_text(block.body)
    status, out, err = finished([sys.executable, program], cwd=tmp_path)
    assert (status, err) == (0, "")
    if following is not None and following.before.strip() == "It prints:":
        assert out == following.body


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=block.name, marks=block.marks) for block in DIALOGUES]
)
def test_a_dialogue_goes_as_shown(block: Block, tmp_path: Path) -> None:
    if re.search(r"\bnc\b", block.body):
        require_tool("nc")
    port = str(free_port())
    body = DOCUMENTED_PORT.sub(port, block.body)
    body = DOCUMENTED_FOLDER.sub(str(tmp_path), body)
    assert body.startswith("$ "), "a console block begins with a command"
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with ExitStack() as servers:
        for step in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            if target := re.fullmatch(r"make ([a-z-]+)( .*)?", command):
                assert re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
                continue
            if command.endswith("&"):
                words = shlex.split(command.removesuffix("&"))
                assert words[0] == "trio440"
                server = servers.enter_context(started([*TRIO440, *words[1:]]))
                assert_shown(shown, server.line() + "\n")
                continue
            if re.fullmatch(r"trio440 [\w./: -]+", command):
                status, out, err = finished([*TRIO440, *shlex.split(command)[1:]])
                assert status == 0, (command, err)
                assert_shown(shown, out)
                continue
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={**os.environ, **environment},
                timeout=PATIENCE_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
            assert_shown(shown, done.stdout)


def assert_shown(shown: str, printed: str) -> None:
    pattern = "".join(
        "(?:.*\n)*" if line == "..." else re.escape(line) + "\n" for line in shown.splitlines()
    )
    assert re.fullmatch(pattern, printed), f"shown:\n{shown}\nprinted:\n{printed}"


def test_the_documents_show_something_that_runs() -> None:
    assert PROGRAMS
    assert DIALOGUES
