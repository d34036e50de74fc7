"""A shell's commands as words: which there are, what each takes, what a line says. No I/O.

They are click's commands without its groups: a line is read as a shell reads it, by shlex, and its
words as those of a sub-command. Their functions are not called by click: whoever carries a command
out calls them with what they need, and they may be asynchronous.
"""

import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, final

import attrs
import click
from click.exceptions import NoSuchCommand

__all__ = ["Request", "Vocabulary", "Wanted", "Word", "usage_of"]

Wanted: TypeAlias = Literal["commands", "keys", "namespaces", "options"]
"""What the word that is being typed may be."""
Function: TypeAlias = Callable[..., Awaitable[None]]


class Word(click.Command):
    """One command."""

    def __init__(
        self,
        *,
        completes: Wanted | None = None,
        changes: bool = False,
        endless: bool = False,
        operation: Callable[..., Any] | None = None,
        drafts: bool = False,
        **rest: Any,
    ) -> None:
        """Begin.

        Args:
            completes: what its first argument is.
            changes: whether it may change something in the store.
            endless: whether it goes on until it is cancelled.
            operation: returns what it is in a transaction, from what it was given.
            drafts: whether it may be used while a transaction is being written.
            rest: click's.
        """
        super().__init__(add_help_option=False, **rest)
        self.completes = completes
        self.changes = changes
        self.endless = endless
        self.operation = operation
        self.drafts = drafts

    @property
    def options(self) -> list[click.Option]:
        """Those that it takes."""
        return [each for each in self.params if isinstance(each, click.Option)]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return its arguments and options as its usage shows them."""
        pieces = []
        for each in self.params:
            piece = each.make_metavar(ctx)
            if isinstance(each, click.Option):
                piece = f"[{each.opts[0]}]" if each.is_flag else f"[{each.opts[0]} {piece}]"
            pieces.append(piece)
        return pieces


@attrs.frozen
class Request:
    """One command with what it was given."""

    word: Word
    given: Mapping[str, Any]
    """The arguments of its function, by their names."""


@final
class Vocabulary:
    """The commands of one shell, by their names."""

    def __init__(self) -> None:
        self.words: Final[dict[str, Word]] = {}
        """In the order in which they were added."""

    def add(self, name: str, *aliases: str, **settings: Any) -> Callable[[Function], Word]:
        """Make a function a command.

        Args:
            name: of the command.
            aliases: other names.
            settings: those of :class:`Word`.
        """

        def make(function: Function) -> Word:
            word = click.command(name, cls=Word, **settings)(function)
            self.words.update(dict.fromkeys((name, *aliases), word))
            return word

        return make

    def find(self, name: str) -> Word:
        """Return a command.

        Raises:
            UsageError: there is none of this name.
        """
        if (word := self.words.get(name)) is None:
            raise NoSuchCommand(name, possibilities=self.words)
        return word

    def parse(self, line: str) -> Request | None:
        """Read a line; None for an empty one.

        Raises:
            UsageError: it is no command, or not used like this.
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from None
        if not words:
            return None
        name, *rest = words
        word = self.find(name)
        try:
            with word.make_context(name, rest) as context:
                return Request(word, dict(context.params))
        except click.UsageError as error:
            message = f"{error.format_message()} Usage: {usage_of(word)}"
            raise click.UsageError(message) from None

    def wanted(self, words: Sequence[str], word: str) -> tuple[Wanted | None, Word | None]:
        """Say what a word that is being typed may be, and of which command it is.

        Args:
            words: those before it.
            word: as far as it is typed.
        """
        if not words:
            return "commands", None
        command = self.words.get(words[0])
        if command is None:
            return None, None
        with_value = {
            name for option in command.options if not option.is_flag for name in option.opts
        }
        places = 0
        is_value = False
        for each in words[1:]:
            places += not is_value and not each.startswith("--")
            is_value = not is_value and each in with_value
        if is_value:
            return None, command
        if word.startswith("-"):
            return "options", command
        return (command.completes if places == 0 else None), command


def usage_of(word: Word) -> str:
    """Return how a command is used."""
    return " ".join([word.name or "", *word.collect_usage_pieces(click.Context(word))])
