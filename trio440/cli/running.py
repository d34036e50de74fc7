"""How a command runs: signals, exit statuses and the one line that an error gets.

Every sub-command, and every script in ``examples/``, is an async function run by one of two
functions, inside :func:`guard`:

:func:`run` is for what ends by itself (a client, a job). :func:`run_server` is for what runs
until it is told to stop; its function is given a :class:`Stop`::

    async def serve(stop: Stop) -> None:
        async with open_server(port, host=host) as server:
            announce(server.address)
            await stop.wait()
        # here the server has flushed, as leaving its context normally does

    sys.exit(guard(lambda: run_server(serve, grace_seconds=5)))

What ends a command, and how:

=================  ==========================================================  ===========
what happens       what the command does                                       exit status
=================  ==========================================================  ===========
it returns         leaving its contexts has flushed what was left              what it gave, 0
SIGINT (Ctrl-C)    it is cancelled: nothing is flushed or waited for           130
SIGTERM, server    the stop is requested; after the grace period: cancelled    0
SIGTERM otherwise  it is cancelled, as for SIGINT                              143
stdout was closed  it ends quietly, as ``cat`` does                            141
Trio440Error       one line for each on stderr, exception groups opened        1
no descriptors     one line on stderr                                          1
bad command line   one line on stderr                                          2
other exceptions   a bug: the traceback is shown                               1
=================  ==========================================================  ===========

A command that does not let itself be cancelled in time (it is blocked in a write, or shields
itself) is ended by an alarm: :data:`LAST_RESORT_SECONDS` after SIGINT, as long after the end of
the grace period. The alarm goes on until it has been heard. A second SIGTERM ends the grace period
at once.

Beside the signals this module owns standard output and input: :func:`emit`, :func:`announce`,
:func:`note` and :func:`read_stdin`.
"""

import errno
import math
import os
import select
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeAlias, TypeVarTuple

import trio
from click import ClickException, Context, UsageError
from click.exceptions import Exit, NoArgsIsHelpError

from trio440.core.host import Address, format_address
from trio440.errors import Trio440Error

__all__ = [
    "LAST_RESORT_SECONDS",
    "OutputClosed",
    "Stop",
    "announce",
    "emit",
    "end_with_stdin",
    "guard",
    "leaves_of",
    "note",
    "read_stdin",
    "run",
    "run_server",
]

STATUS_ERROR: Final = 1
STATUS_INTERRUPTED: Final = 128 + signal.SIGINT
STATUS_TERMINATED: Final = 128 + signal.SIGTERM
STATUS_OUTPUT_CLOSED: Final = 128 + signal.SIGPIPE

LAST_RESORT_SECONDS: Final = 0.5
"""How long a cancelled command may take before its process is ended regardless."""
_AGAIN_SECONDS: Final = 0.1
"""How long after an alarm the next one is due. One that comes between the interpreter's last look
for signals and a call that blocks does not interrupt the call, and is heard behind it only."""

Args = TypeVarTuple("Args")

Status: TypeAlias = int | None
"""What a command returns: its exit status, or None for success."""


class OutputClosed(Exception):
    """Whoever read our standard output has left; the command has nobody to work for."""


class Stop:
    """The request that a server stop gracefully; :func:`run_server` makes one and passes it."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._scopes: set[trio.CancelScope] = set()

    @property
    def requested(self) -> bool:
        """Whether the stop has been requested."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when the stop is requested. Cancelled: nothing happened."""
        await self._event.wait()

    @contextmanager
    def cuts_short(self) -> Iterator[trio.CancelScope]:
        """Cancel the body when the stop is requested, and go on behind it.

        For a server whose work is one long await rather than a context that is left.
        """
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.requested:
                scope.cancel()
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    def request(self) -> None:
        """Request the stop; idempotent. What SIGTERM does."""
        self._event.set()
        for scope in self._scopes:
            scope.cancel()


def run(main: Callable[[], Awaitable[Status]]) -> int:
    """Run a command that ends by itself and return its exit status.

    SIGINT and SIGTERM cancel it. Exceptions come out as they are, for :func:`guard`.
    """
    return _run(lambda _: main(), Stop(), None)


def run_server(main: Callable[[Stop], Awaitable[Status]], *, grace_seconds: float = 5.0) -> int:
    """Run a command that works until it is told to stop and return its exit status.

    Args:
        main: is passed the :class:`Stop`.
        grace_seconds: how long it may take to finish after SIGTERM; then it is cancelled.
    """
    return _run(main, Stop(), grace_seconds)


def _run(main: Callable[[Stop], Awaitable[Status]], stop: Stop, grace_seconds: float | None) -> int:
    """Run ``main`` under trio, a server if there is a grace period."""
    life = _Life(stop, grace_seconds)
    status: Status = None

    async def root() -> None:
        nonlocal status
        with life.under_signals():
            status = await main(stop)

    try:
        trio.run(root)
    except (Trio440Error, BaseExceptionGroup) as error:
        # What a command that was cut short says about its cut connections interests nobody.
        if life.ended is None or not all(isinstance(e, Trio440Error) for e in leaves_of(error)):
            raise
    return life.ended or status or os.EX_OK


class _Life:
    """What the signals make of one command: nothing, a stop, the end."""

    def __init__(self, stop: Stop, grace_seconds: float | None) -> None:
        self.ended: int | None = None
        """The status that a signal gave it."""
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._stopping = False
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None

    @contextmanager
    def under_signals(self) -> Iterator[None]:
        """Handle the signals while the body runs, and cancel it where they ask for it.

        After a signal the rest is leaving. An alarm is set, for that may hang, too, and signals
        are ignored from then on: however late one comes, it changes no status.
        """
        self._token = trio.lowlevel.current_trio_token()
        signals = (signal.SIGINT, signal.SIGTERM)
        signal.signal(signal.SIGALRM, self._on_alarm)  # first: the others set the alarm
        before = {number: signal.signal(number, self._on_signal) for number in signals}
        try:
            with self._scope:
                yield
        finally:
            leaving = self._stopping or self.ended is not None
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if leaving else handler)
            if leaving and self.ended is None:
                self._set_alarm(0.0)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Interrupt whatever is running between two of its bytecodes."""
        if number == signal.SIGINT:
            self._end(STATUS_INTERRUPTED)
        elif self._grace_seconds is None:
            self._end(STATUS_TERMINATED)
        elif self._stopping:
            self._end(os.EX_OK)
        else:
            self._stopping = True
            self._set_alarm(self._grace_seconds)
            self._soon(self._begin_stop, self._grace_seconds)

    def _end(self, status: int) -> None:
        if self.ended is None:
            self.ended = status
        self._set_alarm(0.0)
        self._soon(self._scope.cancel)

    def _begin_stop(self, grace_seconds: float) -> None:
        self._scope.deadline = trio.current_time() + grace_seconds
        self._stop.request()

    def _soon(self, function: Callable[[*Args], object], *args: *Args) -> None:
        if self._token is not None:
            self._token.run_sync_soon(function, *args)

    def _set_alarm(self, seconds: float) -> None:
        if math.isfinite(seconds):
            signal.setitimer(signal.ITIMER_REAL, seconds + LAST_RESORT_SECONDS, _AGAIN_SECONDS)

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        os._exit(self.ended or os.EX_OK)


def guard(program: Callable[[], Status], *, name: str = "trio440") -> int:
    """Run a whole program and return its exit status, with one line on stderr for each error.

    Args:
        program: does everything, the parsing of its arguments included.
        name: what the error lines begin with.

    Raises:
        Exception: what is no :class:`~trio440.errors.Trio440Error`: a bug, not hidden.
    """
    _fill_standard_descriptors()
    try:
        status = program() or os.EX_OK
        _write_stdout(b"")
    except SystemExit as ending:
        if not isinstance(ending.code, int | None):
            raise
        status = ending.code or os.EX_OK
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:
        found = _expected_status(error, name)
        if found is None:
            signal.setitimer(signal.ITIMER_REAL, 0)  # or the alarm may cut the traceback short
            raise
        status = found
    if signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        # A signal has ended or stopped it and its alarm is set, but to take the interpreter down
        # may last longer: with numba's machine code about a second.
        os._exit(status)
    return status


def _expected_status(error: BaseException, name: str) -> int | None:
    """Report an error that a command may end with; None for a bug, unreported."""
    leaves = [_as_expected(leaf) for leaf in leaves_of(error)]
    expected = (Trio440Error, ClickException, OutputClosed, KeyboardInterrupt, Exit)
    if not all(isinstance(leaf, expected) for leaf in leaves):
        return None
    for leaf in leaves:
        if isinstance(leaf, KeyboardInterrupt):
            return STATUS_INTERRUPTED
        if isinstance(leaf, OutputClosed):
            _abandon_stdout()
            return STATUS_OUTPUT_CLOSED
        if isinstance(leaf, Exit):
            return leaf.exit_code
    status = STATUS_ERROR
    lines: dict[str, None] = {}
    for leaf in leaves:
        if isinstance(leaf, NoArgsIsHelpError):
            leaf.show()
            return leaf.exit_code
        prefix, text = name, str(leaf) or type(leaf).__name__
        if isinstance(leaf, ClickException):
            status, text = leaf.exit_code, leaf.format_message()
            context: Context | None = leaf.ctx if isinstance(leaf, UsageError) else None
            prefix = name if context is None else context.command_path
        lines[f"{prefix}: error: {' '.join(text.split())}"] = None
    for line in lines:
        note(line)
    return status


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that are no groups: the error itself, or those in it."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    else:
        yield error


def _as_expected(error: BaseException) -> BaseException:
    """Put those errors of the system into words that a command may end with.

    A broken pipe is one if it is our standard output, whoever wrote there.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return ClickException(f"{_reason(error)}; see 'ulimit -n'")
    if isinstance(error, BrokenPipeError):
        stdout = select.poll()
        stdout.register(1, select.POLLOUT)
        if any(events & select.POLLERR for _, events in stdout.poll(0)):
            return OutputClosed()
    return error


def announce(address: Address) -> None:
    """Print ``listening on HOST:PORT``, the first line of every server's standard output.

    Raises:
        OutputClosed: nobody reads it.
    """
    emit(f"listening on {format_address(address)}")


def emit(line: str | bytes, *, end: bytes = b"\n") -> None:
    """Write a line to standard output and flush it; blocks while a pipe is full.

    Args:
        line: text goes out as UTF-8, bytes as they are.
        end: what follows it.

    Raises:
        OutputClosed: the reader of the pipe has left.
    """
    data = line if isinstance(line, bytes) else line.encode(errors="surrogateescape")
    _write_stdout(data + end)


def note(line: str) -> None:
    """Write a line to standard error; one that cannot be written is dropped."""
    if sys.stderr is not None:
        try:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the place that prints
        except OSError:
            return


async def read_stdin(limit: int = 65_536) -> bytes:
    """Read what standard input has, up to ``limit`` bytes; ``b""`` at its end.

    The read happens in a thread, so that a terminal shared with other programs stays in
    blocking mode. Cancelled: the thread is left behind and what it reads is lost.

    Raises:
        ClickException: it cannot be read.
    """
    try:
        return await trio.to_thread.run_sync(os.read, 0, limit, abandon_on_cancel=True)
    except OSError as error:
        raise ClickException(f"standard input cannot be read: {_reason(error)}") from None


def end_with_stdin() -> None:
    """Have this process interrupted, as by Ctrl-C, at the end of its standard input.

    Whoever starts it keeps the other end of a pipe: however that program ends, killed included,
    this one ends, too. What is read is dropped.
    """

    def watch() -> None:
        try:
            while os.read(0, 65_536):
                pass
        except OSError:
            pass  # that input has ended as well
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, name="end with stdin", daemon=True).start()


def _fill_standard_descriptors() -> None:
    """Keep 0, 1 and 2 from becoming sockets in a program that was started without them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _write_stdout(data: bytes) -> None:
    """Write and flush; a program that was started without standard output writes nowhere."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        _abandon_stdout()
        raise ClickException(f"standard output cannot be written: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def _abandon_stdout() -> None:
    """Let what is still buffered go nowhere, or the interpreter's own flush would complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
