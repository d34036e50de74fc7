"""The journal and the durable server on a real disk, with real processes that die."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from tests.support.processes import PATIENCE_SECONDS, TRIO440, Program, finished, started
from tests.support.tools import require_tool
from trio440 import linekv
from trio440.errors import JournalBusy, JournalFailed
from trio440.journal import JournalLimits, open_journal

pytestmark = pytest.mark.real

HOLDER = """
import sys, trio
from trio440.journal import open_journal

async def main():
    async with open_journal(sys.argv[1]) as journal:
        await journal.append([b"mine"])
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def serve(data: Path) -> list[str]:
    return [*TRIO440, "linekv", "serve", "--port", "0", "--data", str(data)]


async def test_many_tasks_and_a_new_life(tmp_path: Path) -> None:
    directory, limits = str(tmp_path / "journal"), JournalLimits(segment_bytes=2000)
    indexes: list[int] = []

    async def append(number: int) -> None:
        for turn in range(10):
            indexes.append(await journal.append([b"%d-%d" % (number, turn)]))  # noqa: PERF401 - waits

    async with open_journal(directory, limits=limits) as journal:
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(append, number)
        statistics = journal.statistics()
        assert statistics.segments > 1
        assert statistics.commits < 300
        await journal.snapshot(b"a hundred", 100)
    assert sorted(indexes) == list(range(1, 301))
    async with open_journal(directory, limits=limits) as journal:
        recovered = journal.take_recovered()
        assert (recovered.snapshot, recovered.snapshot_index) == (b"a hundred", 100)
        assert len(recovered.records) == 200
        orders = [[r for r in recovered.records if r.startswith(b"%d-" % n)] for n in range(30)]
        assert all(order == sorted(order) for order in orders)
        await journal.truncate_after(150)
        assert await journal.append([b"next"]) == 151


async def test_another_process_has_it_open_until_it_dies(tmp_path: Path) -> None:
    directory = str(tmp_path / "journal")
    with started([sys.executable, "-c", HOLDER, directory]) as holder:
        assert holder.line() == "open"
        with pytest.raises(JournalBusy):
            async with open_journal(directory):
                pytest.fail("open twice")
        holder.signal(signal.SIGKILL)
        holder.end()
        async with open_journal(directory) as journal:
            assert journal.take_recovered().records == [b"mine"]


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalFailed, match="file/journal cannot be opened"):
        async with open_journal(str(tmp_path / "file" / "journal")):
            pytest.fail("opened")


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    with started(serve(tmp_path / "data")) as server:
        server.port()
        status, out, err = finished(serve(tmp_path / "data"))
        assert (status, out) == (1, "")
        assert err == f"trio440: error: the journal in {tmp_path / 'data'} is open elsewhere\n"
    [segment] = (tmp_path / "data").glob("segment-*")
    segment.write_bytes(b"x" * 200)
    status, out, err = finished(serve(tmp_path / "data"))
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"trio440: error: {segment} is damaged at byte 0: .+\n", err)


def test_what_a_killed_server_answered_is_there_again(tmp_path: Path) -> None:
    """A process that dies; that power cuts lose nothing either is shown on the simulated disk."""
    answered = 0
    for life in range(3):
        with started(serve(tmp_path / "data")) as server:
            port = server.port()

            async def work(port: int = port, server: Program = server, life: int = life) -> None:
                nonlocal answered
                async with linekv.connect(port=port) as client:
                    values = await client.get(b"k")
                    assert values == [b"%d" % number for number in range(len(values))]
                    assert len(values) >= answered
                    number = len(values)
                    for turn in range(30 + 10 * life):
                        await client.put(b"k", b"%d" % number)
                        number += 1
                        if turn % 3 == 0:
                            answered = len(await client.get(b"k"))
                            assert answered == number
                    server.signal(signal.SIGKILL)

            trio.run(work)
            server.end()
    assert answered >= 100


def test_the_sync_comes_before_the_answer(tmp_path: Path) -> None:
    strace, trace = require_tool("strace"), tmp_path / "trace"
    command = [strace, "-f", "-y", "-qq", "-s", "200", "-o", str(trace)]
    command += ["-e", "trace=write,fdatasync,sendto", "-e", "signal=none"]
    with started([*command, *serve(tmp_path / "data")]) as server:
        try:
            port = server.port()
        except AssertionError:
            pytest.skip("strace may not trace processes here")
        # strace that is killed lets what it traces run on: the server is ended by itself.
        child = int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text())
        try:
            with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)) as sock:
                for number in range(20):
                    sock.sendall(b"Put:k%d:precious\nGet:k%d\n" % (number, number))
                    assert sock.recv(1000) == b"k%d:precious\n" % number
        finally:
            os.kill(child, signal.SIGTERM)
        assert server.end()[0] == 0
    lines = trace.read_text().splitlines()
    syncs = list(completed_syncs(lines))
    for number in range(20):
        written = index_of(lines, rf'write\(\d+<.*/segment-\d+[^>]*>, ".*Put:k{number}:')
        answered = index_of(lines, rf'sendto\(\d+<.*>, "k{number}:precious')
        between = [begun for begun, ended in syncs if written < begun and ended < answered]
        assert between, f"no sync between lines {written} and {answered} of\n" + "\n".join(lines)


def completed_syncs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Where each sync of a segment begins and ends in the trace."""
    for begun, line in enumerate(lines):
        if not re.search(r"fdatasync\(\d+<.*/segment-", line):
            continue
        thread = line.split()[0]
        for ended in range(begun, len(lines)):
            if re.search(rf"^{thread} .*fdatasync.* = 0$", lines[ended]):
                yield begun, ended
                break


def index_of(lines: list[str], pattern: str) -> int:
    found = [place for place, line in enumerate(lines) if re.search(pattern, line)]
    assert len(found) == 1, (pattern, found)
    return found[0]
