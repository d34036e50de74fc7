"""``trio440 kv shell``: a store from a prompt, or from a pipe.

A command is carried out under a scope of its own, which Ctrl-C cancels. The store being away ends
a command and nothing else: the next one looks for it anew.
"""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import click
import trio

from trio440 import kv
from trio440.cli.completion import Completed, complete, split_typed
from trio440.cli.kv_options import FALSE, as_bytes, namespace_options
from trio440.cli.kv_session import Draft, StoreSession, open_store_session
from trio440.cli.kv_shell_base import Failed, Left, Printer, visible
from trio440.cli.kv_shell_commands import VOCABULARY
from trio440.cli.kv_shell_words import Request
from trio440.cli.line_history import LineHistory, state_path
from trio440.cli.running import emit, leaves_of, note, run
from trio440.cli.stdin_lines import StdinLines, can_draw, is_person
from trio440.cli.tables import is_terminal
from trio440.core.lifetimes import open_service_nursery
from trio440.errors import StoreUnavailable, Trio440Error
from trio440.kv.operations import SimpleOperation

__all__ = ["Completer", "Shell", "carry_out_lines", "shell"]

HISTORY_FILE: Final = "kv_shell_history"
MAX_HISTORY: Final = 1_000
MAX_TYPED: Final = 16_384
"""Characters of a line that is edited."""
MAX_LINE: Final = 4 << 20
"""Bytes of a line that comes from a pipe."""
COMPLETION_SECONDS: Final = 0.5
MAX_CHOICES: Final = 100


@click.command()
@namespace_options
def shell(addresses: list[str], namespace: str, timeout: float) -> int:
    """Use a store from a prompt; the command help lists what there is.

    Ctrl-C cancels the command that is under way, or clears the line. Ctrl-D ends. Without a
    terminal commands are read from standard input, and the exit status is 1 where one failed.
    """

    async def main() -> int:
        async with open_store_session(addresses, namespace, timeout_seconds=timeout) as session:
            if is_person() and is_terminal():
                await _converse(session)
                return 0
            return await carry_out_lines(session)

    return run(main)


class Shell:
    """Carries out commands, one after the other."""

    def __init__(self, session: StoreSession, printer: Printer) -> None:
        """Begin.

        Args:
            session: at the store.
            printer: shows what there is.
        """
        self.is_over = False
        """Whether a command has ended the shell."""
        self.has_failed = False
        """Whether any command has failed."""
        self.line: int | None = None
        """The number of the line, where errors are to name it."""
        self._session = session
        self._printer = printer
        self._scope: trio.CancelScope | None = None
        """Of the command that is under way."""

    @property
    def prompt(self) -> str:
        """Name the namespace, its engine, and whether it answers."""
        said: list[str] = [self._session.engine] if self._session.engine else []
        said += [] if self._session.is_open else ["away"]
        said += ["multi"] if self._session.draft is not None else []
        return f"{visible(as_bytes(self._session.name))} ({', '.join(said)})> "

    async def connect(self) -> None:
        """Open the namespace to begin with; a store that is away is a failure like others.

        Raises:
            InvalidParameter: there is no such namespace.
        """
        with trio.CancelScope() as self._scope:
            try:
                await self._session.space()
            except StoreUnavailable as error:
                self.fail(str(error))
        self._scope = None

    async def carry_out(self, line: str) -> None:
        """Carry out one line; whatever is wrong with it is one line on standard error."""
        try:
            request = VOCABULARY.parse(line)
        except click.UsageError as error:
            self.fail(error.format_message())
            return
        if request is None:
            return
        with trio.CancelScope() as self._scope:
            await self._try(request)
        if self._scope.cancelled_caught and not request.word.endless:
            doubt = self._session.is_open
            self.fail(f"cancelled{_outcome(request, may_have_happened=doubt)}")
        self._scope = None

    def interrupt(self) -> bool:
        """Cancel the command that is under way; return whether there is one."""
        if self._scope is None:
            return False
        self._scope.cancel()
        return True

    def fail(self, problem: str) -> None:
        """Say what is wrong."""
        self.has_failed = True
        if self.line is not None and self._session.draft is not None:
            self._session.draft.is_spoiled = True  # nobody has read that one of its lines is wrong
        place = "" if self.line is None else f"line {self.line}: "
        note(f"{place}error: {visible(as_bytes(' '.join(problem.split())))}")

    async def _try(self, request: Request) -> None:
        try:
            if self._session.draft is not None and not request.word.drafts:
                _draft(self._session.draft, request)
                return
            assert request.word.callback is not None  # noqa: S101 - each of them has a function
            await request.word.callback(self._session, self._printer, **request.given)
        except Left:
            self.is_over = True
        except (Failed, click.UsageError) as error:
            self.fail(error.format_message() if isinstance(error, click.UsageError) else str(error))
        except (Trio440Error, BaseExceptionGroup) as error:
            leaves = [*leaves_of(error)]
            if not all(isinstance(leaf, Trio440Error) for leaf in leaves):
                raise
            texts = dict.fromkeys(str(leaf) for leaf in leaves)
            away = [leaf for leaf in leaves if isinstance(leaf, StoreUnavailable)]
            outcome = ""
            if away:
                self._session.drop()
                doubt = any(leaf.may_have_happened for leaf in away)
                outcome = _outcome(request, may_have_happened=doubt)
            self.fail("; ".join(texts) + outcome)


def _draft(draft: Draft, request: Request) -> None:
    """Make a command part of the transaction that is being written.

    Raises:
        Failed: it cannot be.
    """
    word = request.word
    operation = None if word.operation is None else word.operation(**request.given)
    if not isinstance(operation, SimpleOperation):
        reason = "cannot be part of a transaction, which exec or discard ends"
        raise Failed(f"{word.name!r} {reason}" if operation is None else f"this {reason}")
    draft.add(operation)
    emit("queued")


def _outcome(request: Request, *, may_have_happened: bool) -> str:
    """Say whether a command that got no answer may have been carried out."""
    if not request.word.changes:
        return ""
    return "; it may have been carried out" if may_have_happened else "; nothing was changed"


class Completer:
    """Completes commands, keys, namespaces and options."""

    def __init__(self, session: StoreSession) -> None:
        """Begin; where the session's namespace is not open neither keys nor names are known."""
        self._session = session

    async def complete(self, before: str) -> tuple[int, Completed]:
        """Complete the word before the cursor; see :data:`~trio440.cli.line_terminal.Complete`."""
        typed = split_typed(before)
        names: list[str] = []
        more = False
        wanted, word = VOCABULARY.wanted(typed.words, typed.word)
        if wanted == "commands":
            names = sorted(VOCABULARY.words)
        elif wanted == "options" and word is not None:
            names = sorted(name for option in word.options for name in option.opts)
        elif wanted is not None and self._session.is_open:
            with self._session.ports.clock.move_on_after(COMPLETION_SECONDS):
                try:
                    ask = self._keys if wanted == "keys" else self._namespaces
                    names, more = await ask(typed.word)
                except Trio440Error:
                    pass
        return typed.start, complete(typed.word, names, more=more)

    async def _keys(self, word: str) -> tuple[list[str], bool]:
        """Return keys that can be typed, and whether there are more."""
        space = await self._session.space()
        page = await space.list(as_bytes(word), limit=MAX_CHOICES)
        names = [entry.key.decode(errors="replace") for entry in page.entries]
        return [name for name in names if name.isprintable() and "\ufffd" not in name], page.more

    async def _namespaces(self, _: str) -> tuple[list[str], bool]:
        offers = await kv.discover(self._session.addresses, ports=self._session.ports)
        return sorted(name for name in offers if name.isprintable()), False


# Faces


class _Face(Protocol):
    """Where a person types."""

    async def ask(self, prompt: str) -> str | None:
        """Return the next line; None at the end of input."""

    def interrupt(self) -> None:
        """Forget the line that is being typed."""


class _PlainTerminal:
    """A terminal that edits lines itself."""

    def __init__(self) -> None:
        self._lines = StdinLines(MAX_LINE)
        self._prompt = ""

    async def ask(self, prompt: str) -> str | None:
        self._prompt = prompt
        emit(prompt, end=b"")
        line = await self._lines.next()
        self._prompt = ""
        if line is None:
            emit("")
            return None
        return line.decode(errors="surrogateescape")

    def interrupt(self) -> None:
        emit(f"\n{self._prompt}", end=b"")  # the terminal has shown ^C


async def _converse(session: StoreSession) -> None:
    """Let a person use the store, until the end of input."""
    one = Shell(session, Printer(for_person=True))
    history = LineHistory(state_path(HISTORY_FILE, os.environ) if can_draw() else None)
    async with _open_face(session, history) as face, open_service_nursery() as nursery:
        await nursery.start(_hear_interrupts, one, face)
        await one.connect()
        told = False
        while not one.is_over:
            if history.problem is not None and not told:
                note(history.problem)
                told = True
            if (line := await face.ask(one.prompt)) is None:
                break
            history.add(line)
            await one.carry_out(line)


@asynccontextmanager
async def _open_face(session: StoreSession, history: LineHistory) -> AsyncIterator[_Face]:
    if not can_draw():
        yield _PlainTerminal()
        return
    from trio440.cli.line_editor import LineEditor  # noqa: PLC0415 - rich is slow
    from trio440.cli.line_terminal import open_line_terminal  # noqa: PLC0415 - rich is slow

    editor = LineEditor(history.lines, max_line=MAX_TYPED, max_history=MAX_HISTORY)
    async with open_line_terminal(editor, Completer(session).complete) as terminal:
        yield terminal


async def _hear_interrupts(
    one: Shell, face: _Face, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            one.interrupt()
            face.interrupt()


async def carry_out_lines(session: StoreSession) -> int:
    """Carry out the lines of standard input, and return the exit status."""
    one = Shell(session, Printer(for_person=False))
    await one.connect()
    lines = StdinLines(MAX_LINE)
    number = 0
    while not one.is_over and (line := await lines.next()) is not None:
        number += 1
        one.line = number
        if len(line) > MAX_LINE:
            one.fail(f"a line has at most {MAX_LINE} bytes")
        else:
            await one.carry_out(line.decode(errors="surrogateescape"))
    if session.draft is not None:
        one.fail("the transaction was not carried out: it has no exec")
    return FALSE if one.has_failed else 0
