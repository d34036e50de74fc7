"""What a campaign and its job processes say to each other: one JSON object a line."""

from typing import Final

import attrs
import msgspec

from trio440.sim.outcome import Outcome, Setup

__all__ = ["RUN", "Answer", "Patch", "Request", "decode_answer", "decode_request", "encode"]

RUN: Final = "trio440.sim.running:run"
"""What runs a history, as ``MODULE:FUNCTION``: takes a setup and ``keep_trace``, returns its
outcome and its trace."""


@attrs.frozen
class Patch:
    """An ablation to be applied while the history runs."""

    folder: str
    """Where the ablations are."""
    name: str


@attrs.frozen(kw_only=True)
class Request:
    """Run a history."""

    setup: Setup
    limit_seconds: float
    """Real time after which it counts as hanging."""
    patch: Patch | None = None
    page: str | None = None
    """A file that gets its timeline."""


@attrs.frozen(kw_only=True)
class Answer:
    """What came of one request; with neither field it says that the process is ready."""

    outcome: Outcome | None = None
    error: str | None = None
    """Why nothing can be run, in one line."""
    last: bool = False
    """The process ends after this one."""


_requests: Final = msgspec.json.Decoder(Request)
_answers: Final = msgspec.json.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """Return the message as a line."""
    return msgspec.json.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Return the request that a campaign wrote."""
    return _requests.decode(line)


def decode_answer(line: bytes) -> Answer:
    """Return the answer that a job wrote."""
    return _answers.decode(line)
