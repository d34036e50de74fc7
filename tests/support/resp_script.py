"""What Redis answers to a script of commands, recorded, and how to play it to any server.

``tests/vectors/resp/redis-7.0.txt`` holds sections, each a connection of its own on an empty store:
``# NAME``, then lines ``> COMMAND`` as one types it, each with ``< ANSWER``, a Python literal, once
for each answer. ``python -m tests.support.resp_script PORT`` records anew, from a redis-server
on that port, which it empties.
"""

import ast
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from tests.support.processes import PATIENCE_SECONDS

RECORD = Path(__file__).resolve().parents[1] / "vectors" / "resp" / "redis-7.0.txt"
QUIET_SECONDS = 0.1
"""Redis has said everything, when it is recorded, once it is silent for so long."""


@attrs.define
class Step:
    """A command, and what was answered."""

    command: str
    answers: list[bytes] = attrs.field(factory=list)


def read_record() -> dict[str, list[Step]]:
    """Return the sections by their names."""
    sections: dict[str, list[Step]] = {}
    steps: list[Step] = []
    for line in RECORD.read_text().splitlines():
        mark, text = line[:1], line[2:]
        if mark == "#":
            steps = sections[text] = []
        elif mark == ">":
            steps.append(Step(text))
        elif mark == "<":
            steps[-1].answers.append(ast.literal_eval(text))
    return sections


def answers_in(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut what a server has sent into whole answers, and what is left of them."""
    found = []
    while (end := _end(data, 0)) is not None:
        found.append(data[:end])
        data = data[end:]
    return found, data


def _end(data: bytes, start: int) -> int | None:
    """Return where the answer ends that begins at a place; None where it does not."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    mark, text, end = data[start : start + 1], data[start + 1 : line_end], line_end + 2
    if mark == b"$" and int(text) >= 0:
        end += int(text) + 2
        return end if end <= len(data) else None
    if mark in b"*~>%" and int(text) >= 0:
        for _ in range(int(text) * (2 if mark == b"%" else 1)):
            following = _end(data, end)
            if following is None:
                return None
            end = following
    return end


class Connection:
    """A blocking connection to a server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._rest = b""

    def close(self) -> None:
        self._socket.close()

    def say(self, data: bytes, count: int | None = None) -> list[bytes]:
        """Send bytes and return so many answers, or those that come until it is quiet."""
        self._socket.sendall(data)
        self._socket.settimeout(QUIET_SECONDS if count is None else PATIENCE_SECONDS)
        found: list[bytes] = []
        with suppress(TimeoutError):
            while count is None or len(found) < count:
                piece = self._socket.recv(65_536)
                if not piece:
                    break
                answers, self._rest = answers_in(self._rest + piece)
                found += answers
        return found


def play(port: int, steps: list[Step]) -> Iterator[Step]:
    """Send a section's commands to a server, and yield what it answers to each."""
    connection = Connection(port)
    try:
        connection.say(b"flushall\r\n", 1)
        for step in steps:
            count = len(step.answers) or None
            yield Step(step.command, connection.say(f"{step.command}\r\n".encode(), count))
    finally:
        connection.close()


def record(port: int) -> None:
    """Write down what a Redis answers."""
    lines = []
    for name, steps in read_record().items():
        lines.append(f"# {name}")
        for step in play(port, [Step(each.command) for each in steps]):
            lines.append(f"> {step.command}")
            lines += [f"< {answer!r}" for answer in step.answers]
    RECORD.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    record(int(sys.argv[1]))
