"""What only the real host can promise: descriptors, threads, signals and other processes."""

import errno
import os
import signal
import socket
import struct
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.net import until
from tests.support.processes import PATIENCE_SECONDS, finished, started
from tests.support.tools import require_tool
from trio440.core.host import ByteStream
from trio440.core.real import REAL_HOST

pytestmark = pytest.mark.real

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Held:
    """Something that can be watched going away."""


def script(source: str) -> list[str]:
    """The command that runs a Python program with the ports at hand."""
    header = "import os, sys, threading, time, trio\nfrom trio440.core.real import REAL_HOST\n"
    return [sys.executable, "-c", header + textwrap.dedent(source)]


@contextmanager
def reset_when_closed(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A plain connection whose end is a reset."""
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        yield sock


async def receive_to_end(stream: ByteStream) -> None:
    while await stream.receive_some():
        pass


def descriptors() -> set[int]:
    """The open descriptors, without the one that lists them."""
    listed = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - numbers, no paths
    return {number for number in listed if Path(f"/proc/self/fd/{number}").exists()}


# Sockets


async def test_no_descriptor_passes_to_a_program_that_is_started(tmp_path: Path) -> None:
    before = descriptors()
    net, disk = REAL_HOST.net, REAL_HOST.disk(str(tmp_path))
    async with aclosing(await net.listen_tcp()) as listener:
        client = await net.connect_tcp(*listener.local_address[:2])
        server = await listener.accept()
        async with aclosing(client), aclosing(server):
            with (
                closing(await net.bind_udp()),
                closing(disk.open_append("log")),
                disk.lock("LOCK"),
            ):
                ours = descriptors() - before
                assert len(ours) == 6
                assert not any(os.get_inheritable(number) for number in ours)


async def test_accept_goes_on_after_connections_that_were_reset() -> None:
    async with aclosing(await REAL_HOST.net.listen_tcp()) as listener:
        address = listener.local_address[:2]
        for _ in range(3):
            with reset_when_closed(address) as sock:
                sock.send(b"and gone")
        client = await REAL_HOST.net.connect_tcp(*address)
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                server = await listener.accept()
                if server.remote_address == client.local_address:
                    break
                with pytest.raises(trio.BrokenResourceError):
                    await receive_to_end(server)
                await server.aclose()
        await client.aclose()
        await server.aclose()


class _BreakingSocket:
    """A listening socket some of whose connections are gone before they are accepted."""

    def __init__(self, sock: trio.socket.SocketType, errors: list[int]) -> None:
        self._sock = sock
        self._errors = errors

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    async def accept(self) -> object:
        if self._errors:
            await trio.lowlevel.checkpoint()
            raise OSError(self._errors.pop(), "gone before it was accepted")
        return await self._sock.accept()


async def test_accept_passes_over_connections_that_the_kernel_reports_as_gone() -> None:
    gone = [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH]
    async with aclosing(await REAL_HOST.net.listen_tcp()) as listener:
        listener._sock = _BreakingSocket(listener._sock, gone)  # type: ignore[attr-defined]  # no kernel reports them when asked to
        client = await REAL_HOST.net.connect_tcp(*listener.local_address[:2])
        server = await listener.accept()
        assert gone == []
        await client.aclose()
        await server.aclose()


async def test_what_arrived_before_a_reset_is_received_first() -> None:
    async with aclosing(await REAL_HOST.net.listen_tcp()) as listener:
        with reset_when_closed(listener.local_address[:2]) as sock:
            sock.send(b"last words")
            server = await listener.accept()
        async with aclosing(server):
            assert await server.receive_some() == b"last words"
            with pytest.raises(trio.BrokenResourceError):
                await server.receive_some()


def test_running_out_of_descriptors_is_an_error_that_passes() -> None:
    status, out, err = finished(
        script(
            """
            import errno, resource
            from trio440.errors import AddressUnavailable

            async def main():
                net = REAL_HOST.net
                listener = await net.listen_tcp()
                clients = [await net.connect_tcp(*listener.local_address)]
                used = len(os.listdir("/proc/self/fd")) - 1
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
                try:
                    await listener.accept()
                except OSError as error:
                    print(errno.errorcode[error.errno])
                for attempt in (net.bind_udp, net.listen_tcp):
                    try:
                        await attempt()
                    except AddressUnavailable as error:
                        print(error)
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                server = await listener.accept()
                print(server.remote_address == clients[0].local_address)

            trio.run(main)
            """
        )
    )
    problem = "127.0.0.1:0 cannot be used: too many open files"
    assert out.splitlines() == ["EMFILE", problem, problem, "True"]
    assert (status, err) == (0, "")


# The disk


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    disk = REAL_HOST.disk(str(tmp_path))
    holder = script(
        f"""
        with REAL_HOST.disk({str(tmp_path)!r}).lock("LOCK"):
            print("held", flush=True)
            time.sleep(3600)
        """
    )
    with started(holder) as process:
        assert process.line() == "held"
        with pytest.raises(BlockingIOError), disk.lock("LOCK"):
            pytest.fail("held twice")
        process.signal(signal.SIGKILL)
        process.end()
        with disk.lock("LOCK"):
            pass


def test_a_forked_child_does_not_keep_a_lock_that_was_given_up(tmp_path: Path) -> None:
    status, out, err = finished(
        script(
            f"""
            disk = REAL_HOST.disk({str(tmp_path)!r})
            with disk.lock("LOCK"):
                read, write = os.pipe()
                child = os.fork()
                if child == 0:
                    os.close(write)
                    os.read(read, 1)
                    os._exit(0)
                os.close(read)
            with disk.lock("LOCK"):
                print("free")
            os.close(write)
            os.waitpid(child, 0)
            """
        )
    )
    assert (status, out, err) == (0, "free\n", "")


def test_an_append_goes_on_where_the_kernel_stopped_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    disk = REAL_HOST.disk(str(tmp_path))
    with closing(disk.open_append("log")) as file:
        file.append(b"more than seven bytes")
        assert file.size == 21
    assert disk.read("log") == b"more than seven bytes"


def test_syncing_reaches_the_kernel(tmp_path: Path) -> None:
    strace = require_tool("strace")
    trace = tmp_path / "trace"
    program = script(
        f"""
        disk = REAL_HOST.disk({str(tmp_path / "tree")!r})
        file = disk.open_append("log")
        file.append(b"record")
        file.sync()
        disk.sync_file("log")
        disk.sync_directory("")
        """
    )
    status, _, err = finished(
        [strace, "-f", "-y", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync", *program]
    )
    if "ptrace" in err and "not permitted" in err:
        pytest.skip("strace may not trace processes here")
    assert status == 0, err
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines() if "sync(" in line]
    names = [(call.split("(")[0], call.split("<")[1].split(">")[0]) for call in calls]
    tree = str(tmp_path / "tree")
    assert names == [
        ("fsync", str(tmp_path)),
        ("fdatasync", f"{tree}/log"),
        ("fsync", f"{tree}/log"),
        ("fsync", tree),
    ]


# Threads


async def test_a_worker_is_one_thread_beside_the_loop() -> None:
    async with REAL_HOST.blocking.open_worker("the owner") as worker:
        threads = [await worker.run(threading.current_thread) for _ in range(3)]
        assert len(set(threads)) == 1
        assert threads[0] is not threading.current_thread()
        assert threads[0].name == "the owner"
        assert threads[0].is_alive()
    assert not threads[0].is_alive()


async def test_the_loop_goes_on_while_a_call_runs() -> None:
    go = threading.Event()
    async with REAL_HOST.blocking.open_worker("test") as worker, trio.open_nursery() as nursery:
        nursery.start_soon(worker.run, go.wait, 5)
        await wait_all_tasks_blocked()
        go.set()


async def test_a_cancelled_wait_returns_at_once_and_the_work_goes_on() -> None:
    go = threading.Event()
    order: list[str] = []

    def slow() -> None:
        go.wait(PATIENCE_SECONDS)
        order.append("slow")

    async with REAL_HOST.blocking.open_worker("test") as worker:
        with trio.move_on_after(0.01) as scope:
            await worker.run(slow)
        assert scope.cancelled_caught
        with trio.move_on_after(0.01) as scope:
            await worker.run(order.append, "queued behind it, and cancelled")
        assert scope.cancelled_caught
        assert order == []
        go.set()
        await worker.run(order.append, "last")
    assert order == ["slow", "queued behind it, and cancelled", "last"]


async def test_leaving_waits_for_the_running_call_and_drops_the_others() -> None:
    running, go = threading.Event(), threading.Event()
    order: list[str] = []
    closed: list[str] = []

    def slow() -> None:
        running.set()
        go.wait(PATIENCE_SECONDS)
        order.append("slow")

    async def drop(name: str) -> None:
        try:
            await worker.run(order.append, name)
        except trio.ClosedResourceError:
            closed.append(name)

    async with trio.open_nursery() as nursery:
        async with REAL_HOST.blocking.open_worker("test") as worker:
            nursery.start_soon(worker.run, slow)
            await trio.to_thread.run_sync(running.wait, PATIENCE_SECONDS)
            nursery.start_soon(drop, "first")
            nursery.start_soon(drop, "second")
            await wait_all_tasks_blocked()
            threading.Timer(0.05, go.set).start()
        assert order == ["slow"]
    assert sorted(closed) == ["first", "second"]
    assert order == ["slow"]


async def test_leaving_by_cancellation_waits_for_the_running_call_too() -> None:
    running, done = threading.Event(), threading.Event()

    def slow() -> None:
        running.set()
        time.sleep(0.1)
        done.set()

    with trio.CancelScope() as scope:
        async with REAL_HOST.blocking.open_worker("test") as worker, trio.open_nursery() as nursery:
            nursery.start_soon(worker.run, slow)
            await trio.to_thread.run_sync(running.wait, PATIENCE_SECONDS)
            scope.cancel()
    assert scope.cancelled_caught
    assert done.is_set()


async def test_a_resting_worker_keeps_nothing_alive() -> None:
    async with REAL_HOST.blocking.open_worker("test") as worker:
        argument = Held()
        watched = weakref.ref(argument)
        result = weakref.ref(await worker.run(lambda given: given, argument))
        del argument
        await until(lambda: watched() is None and result() is None)  # the thread is about to rest


@pytest.mark.parametrize("holder", ["the main task", "a child task"])
def test_ctrl_c_ends_a_process_whose_worker_is_busy(holder: str) -> None:
    program = script(
        f"""
        async def hold():
            async with REAL_HOST.blocking.open_worker("busy") as worker:
                await worker.run(print, "running")
                sys.stdout.flush()
                await worker.run(time.sleep, 0.3)
                await worker.run(time.sleep, 0.3)
                await trio.sleep_forever()

        async def main():
            if {holder!r} == "the main task":
                await hold()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold)

        try:
            trio.run(main)
        except* KeyboardInterrupt:
            print("interrupted", threading.active_count())
        """
    )
    with started(program) as process:
        assert process.line() == "running"
        process.signal(signal.SIGINT)
        status, out, err = process.end()
    assert (status, out.split()[:1], err) == (0, ["interrupted"], "")


def test_a_loop_that_crashes_does_not_hang_in_its_workers() -> None:
    status, out, _ = finished(
        script(
            """
            async def main():
                async with REAL_HOST.blocking.open_worker("orphan") as worker:
                    await worker.run(print, "running")
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(worker.run, time.sleep, 0.1)
                        await trio.sleep(0.01)
                        task = trio.lowlevel.current_task()
                        trio.lowlevel.reschedule(task)

            try:
                trio.run(main)
            except trio.TrioInternalError:
                time.sleep(0.2)
                print("crashed")
            """
        )
    )
    assert (status, out) == (0, "running\ncrashed\n")


def test_the_root_of_a_disk_is_made_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    for _ in range(2):
        REAL_HOST.disk(str(tmp_path / "a" / "b"))
    assert synced == [tmp_path, tmp_path / "a"], "every directory that got a new name, once"


def test_forked_processes_draw_different_numbers() -> None:
    source = """
        for _ in range(2):
            if os.fork() == 0:
                print(REAL_HOST.rng.random(), flush=True)
                os._exit(0)
            os.wait()
        print(REAL_HOST.rng.random(), flush=True)
    """
    status, out, err = finished(script(source))
    assert (status, err) == (0, "")
    assert len(set(out.split())) == 3
