"""Where failures of actors are reported by default: the standard logger ``trio440.actors``.

It logs, and installs no handler: where and how records are shown is the application's choice.
Without any, Python's last resort writes the lines to standard error.
"""

import logging
from typing import Final

from trio440.errors import ActorFailed

__all__ = ["log_failure"]

LOGGER: Final = logging.getLogger("trio440.actors")


def log_failure(failure: ActorFailed) -> None:
    """Log one line at level ERROR, and the traceback of the cause at DEBUG.

    A crash loop logs each of its restarts. It cannot flood the log: a child's budget of restarts
    bounds how many there are within its period, and its supervisor fails at the next one.
    """
    LOGGER.error("%s", failure)
    if failure.__cause__ is not None:
        LOGGER.debug("The traceback:", exc_info=failure.__cause__)
