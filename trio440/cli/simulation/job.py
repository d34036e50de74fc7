"""A job process: runs the histories it is asked for, one after the other.

``python -m trio440.cli.simulation.job MODULE:FUNCTION`` reads requests from standard input and
answers on standard output, one line each (:mod:`trio440.cli.simulation.wire`); what the systems
print goes to standard error. It ends with its standard input, which also ends with its parent;
Ctrl-C is the parent's to handle.
"""

import gc
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import BinaryIO

from click import ClickException

from trio440.cli.simulation.histories import Run, find_run, limited, write_page
from trio440.cli.simulation.patches import load_ablations
from trio440.cli.simulation.wire import Answer, Patch, Request, decode_request, encode
from trio440.errors import Trio440Error
from trio440.sim.campaign import SIMULATOR_FAILED
from trio440.sim.outcome import Failure, Outcome

__all__ = ["main"]

STDIN, STDOUT, STDERR = 0, 1, 2


class _Job:
    def __init__(self, run: Run, answers: BinaryIO) -> None:
        self._run = run
        self._answers = answers
        self._load_ablations = cache(load_ablations)

    def answer(self, answer: Answer) -> None:
        """Write an answer."""
        self._answers.write(encode(answer))
        self._answers.flush()

    def serve(self, request: Request) -> None:
        """Run what is asked for and answer."""
        setup = request.setup
        try:
            with (
                limited(setup, request.limit_seconds, self._end_hung),
                self._patched(request.patch),
            ):
                outcome, trace = self._run(setup, keep_trace=request.page is not None)
            if request.page is not None:
                write_page(request.page, outcome, trace)
        except Trio440Error as error:
            self.answer(Answer(error=str(error)))
        except ClickException as error:
            self.answer(Answer(error=error.message))
        except Exception as error:  # noqa: BLE001 - a bug of the simulator: its seed is told
            failure = Failure(SIMULATOR_FAILED, f"{type(error).__name__}: {error}", at=0)
            self.answer(Answer(outcome=Outcome(setup, "", 0, 0, failure=failure)))
        else:
            self.answer(Answer(outcome=outcome))

    def _end_hung(self, outcome: Outcome) -> None:
        self.answer(Answer(outcome=outcome, last=True))

    def _patched(self, patch: Patch | None) -> AbstractContextManager[object]:
        if patch is None:
            return nullcontext()
        return self._load_ablations(Path(patch.folder))[patch.name].apply()


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(STDOUT), "wb")
    os.dup2(STDERR, STDOUT)
    job = _Job(find_run(sys.argv[1]), answers)
    gc.freeze()
    try:
        job.answer(Answer())
        for line in os.fdopen(STDIN, "rb", closefd=False):
            job.serve(decode_request(line))
    except BrokenPipeError:
        os._exit(os.EX_OK)


if __name__ == "__main__":
    main()
