"""Where failures and losses are reported by default: the standard logger ``trio440.actors``.

It logs, and installs no handler: where and how records are shown is the application's choice.
Without any, Python's last resort writes the lines to standard error.
"""

import logging
from collections.abc import Iterable
from typing import Any, Final

from trio440.actors.notices import DeadReason
from trio440.actors.ref import Ref
from trio440.errors import ActorFailed

__all__ = ["LOUD", "Losses", "log_failure", "log_silence"]

LOGGER: Final = logging.getLogger("trio440.actors")
LOUD: Final[frozenset[DeadReason]] = frozenset(
    {"mailbox_full", "undecodable", "unencodable", "unhandled", "unknown_message"}
)
"""Why a message is lost that its program meant to be handled. The other dead letters are what
happens when actors end."""
MAX_SAID: Final = 100


def log_failure(failure: ActorFailed) -> None:
    """Log one line at level ERROR, and the traceback of the cause at DEBUG.

    A crash loop logs each of its restarts. It cannot flood the log: a child's budget of restarts
    bounds how many there are within its period, and its supervisor fails at the next one.
    """
    LOGGER.error("%s", failure)
    if failure.__cause__ is not None:
        LOGGER.debug("The traceback:", exc_info=failure.__cause__)


def log_silence(address: str, problems: Iterable[str]) -> None:
    """Log at level WARNING that a system has found none of its seeds, and what each said.

    Who starts first finds none either. So it is no error, and the seeds are asked again.
    """
    LOGGER.warning(
        "%s has found none of its seeds yet and goes on asking: %s", address, "; ".join(problems)
    )


class Losses:
    """Logs the first dead letter of a kind: a class of messages, and a reason among ``LOUD``.

    Once for each, at level WARNING, and at most 100 in the life of a system: what is lost in
    numbers is counted and not logged.
    """

    def __init__(self) -> None:
        self._said: set[tuple[DeadReason, type]] = set()

    def note(self, ref: Ref[Any], message: Any, reason: DeadReason, detail: str) -> None:
        """Hear of a dead letter."""
        kind = (reason, type(message))
        if kind in self._said or len(self._said) >= MAX_SAID:
            return
        self._said.add(kind)
        LOGGER.warning(
            "%s to %s is lost: %s%s; others like it are only counted",
            type(message).__qualname__,
            ref,
            reason,
            detail and f", {detail}",
        )
