"""Checkers: whether what clients saw is what one object, with one order of calls, would do."""

from trio440.sim.checking.explanation import Attempt, Explanation, Shown
from trio440.sim.checking.history import Call, Ending, History, Invocation, Operation, Value
from trio440.sim.checking.linearizability import (
    DEFAULT_STEP_LIMIT,
    Answer,
    Verdict,
    check_linearizable,
)
from trio440.sim.checking.model import (
    IMPOSSIBLE,
    UNKNOWN,
    Deterministic,
    Impossible,
    Model,
    Result,
    Unknown,
)
from trio440.sim.checking.models import CasRegister, KeyValue, LineStore, Lock, Queue, Register

__all__ = [
    "DEFAULT_STEP_LIMIT",
    "IMPOSSIBLE",
    "UNKNOWN",
    "Answer",
    "Attempt",
    "Call",
    "CasRegister",
    "Deterministic",
    "Ending",
    "Explanation",
    "History",
    "Impossible",
    "Invocation",
    "KeyValue",
    "LineStore",
    "Lock",
    "Model",
    "Operation",
    "Queue",
    "Register",
    "Result",
    "Shown",
    "Unknown",
    "Value",
    "Verdict",
    "check_linearizable",
]
