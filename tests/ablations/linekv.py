"""Deliberate bugs in the line-protocol server: its lines, its store, its sessions."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest.mock import patch

import attrs

from trio440.linekv import changes, owner
from trio440.linekv.outbox import Outbox, Pool
from trio440.linekv.owner import StoreOwner
from trio440.linekv.protocol import (
    Delete,
    Get,
    LineSplitter,
    Put,
    Request,
    Update,
    parse_untrusted_request,
)
from trio440.linekv.session import Session
from trio440.linekv.store import Store
from trio440.sim.ablating import Ablation
from trio440.sim.systems import linekv_desk

__all__ = ["ABLATIONS"]

Bug = Callable[[], AbstractContextManager[object]]


# Lines and requests


def loses_what_is_cut() -> AbstractContextManager[object]:
    """The beginning of a line that comes in two pieces is lost."""
    real = LineSplitter.feed

    def feed(self: LineSplitter, data: bytes) -> list[bytes]:
        lines = real(self, data)
        self._unfinished.clear()
        return lines

    return patch.object(LineSplitter, "feed", feed)


def half_a_line_counts() -> AbstractContextManager[object]:
    """The end of the requests ends the line before it."""
    real = Session._receive

    async def receive(self: Session) -> Any:
        data = await real(self)
        unfinished = self.__dict__.get("unfinished", False)
        self.__dict__["unfinished"] = bool(data) and not data.endswith(b"\n")
        return b"\n" if unfinished and not data else data

    return patch.object(Session, "_receive", receive)


def _parsing(change: Callable[[Request], Request]) -> AbstractContextManager[object]:
    real = parse_untrusted_request
    return patch.object(linekv_desk, "parse_untrusted_request", lambda line: change(real(line)))


def values_end_at_a_colon() -> AbstractContextManager[object]:
    def change(request: Request) -> Request:
        if isinstance(request, Put):
            return Put(request.key, request.value.partition(b":")[0])
        return request

    return _parsing(change)


def carriage_returns_stay() -> AbstractContextManager[object]:
    def feed(self: LineSplitter, data: bytes) -> list[bytes]:
        *lines, rest = (bytes(self._unfinished) + data).split(b"\n")
        self._unfinished = bytearray(rest)
        return lines

    return patch.object(LineSplitter, "feed", feed)


# The store


def _applying(apply: Callable[[Any, Store, Request], Any]) -> AbstractContextManager[object]:
    real = Store.apply
    return patch.object(Store, "apply", lambda self, request: apply(real, self, request))


def equal_values_are_merged() -> AbstractContextManager[object]:
    def apply(real: Any, store: Store, request: Request) -> Any:
        if isinstance(request, Put) and request.value in store._values.get(request.key, ()):
            return None
        return real(store, request)

    return _applying(apply)


def update_keeps_the_place() -> AbstractContextManager[object]:
    def apply(real: Any, store: Store, request: Request) -> Any:
        values = store._values.get(request.key, [])
        if isinstance(request, Update) and request.old in values:
            values[values.index(request.old)] = request.new
            return None
        return real(store, request)

    return _applying(apply)


def update_takes_the_last() -> AbstractContextManager[object]:
    def apply(real: Any, store: Store, request: Request) -> Any:
        values = store._values.get(request.key, [])
        if isinstance(request, Update) and request.old in values:
            values.reverse()
            values.remove(request.old)
            values.reverse()
            values.append(request.new)
            return None
        return real(store, request)

    return _applying(apply)


def update_needs_its_old_value() -> AbstractContextManager[object]:
    def apply(real: Any, store: Store, request: Request) -> Any:
        if isinstance(request, Update) and request.old not in store._values.get(request.key, ()):
            return None
        return real(store, request)

    return _applying(apply)


def deletes_are_not_logged() -> AbstractContextManager[object]:
    real = changes.encode_changes

    def encode(requests: Iterable[Request]) -> bytes:
        return real(one for one in requests if not isinstance(one, Delete))

    return patch.object(linekv_desk, "encode_changes", encode)


def snapshots_lack_equal_values() -> AbstractContextManager[object]:
    real = changes.encode_contents

    def encode(contents: changes.Contents) -> bytes:
        return real([(key, tuple(dict.fromkeys(values))) for key, values in contents])

    return patch.object(linekv_desk, "encode_contents", encode)


# Sessions and the owner of the store


def answers_go_to_another_client() -> AbstractContextManager[object]:
    """Now and then an answer is queued for the client that asked before."""
    recent: deque[Session] = deque(maxlen=2)
    count = 0
    real = Session._enqueue

    async def enqueue(self: Session, answer: Any) -> None:
        nonlocal count
        count += 1
        recent.append(self)
        await real(recent[0] if count % 20 == 0 else self, answer)

    return patch.object(Session, "_enqueue", enqueue)


def gets_overtake_puts() -> AbstractContextManager[object]:
    real = StoreOwner._carry_out

    async def carry_out(self: StoreOwner, requests: list[Request]) -> Any:
        last = requests[-1]
        if not isinstance(last, Get):
            return await real(self, requests)
        answered = await real(self, [last, *requests[:-1]])
        first, *rest = answered.answers
        return attrs.evolve(answered, answers=[*rest, first])

    return patch.object(StoreOwner, "_carry_out", carry_out)


def answers_wait_for_the_next() -> AbstractContextManager[object]:
    """An answer of several lines is queued only when the next batch comes."""
    held: dict[Session, Any] = {}
    real = Session._enqueue

    async def enqueue(self: Session, answer: Any) -> None:
        before = held.pop(self, None)
        if before is not None:
            await real(self, before)
        if answer.left > 2:
            held[self] = answer
        else:
            await real(self, answer)

    return patch.object(Session, "_enqueue", enqueue)


def answers_before_the_disk() -> AbstractContextManager[object]:
    async def settled(_self: Session, answered: Any) -> Any:
        return answered.answers

    return patch.object(Session, "_settled", settled)


def answers_what_was_not_logged() -> AbstractContextManager[object]:
    """An answer waits for the record before the last."""
    real = Session._settled

    async def settled(self: Session, answered: Any) -> Any:
        return await real(self, attrs.evolve(answered, index=max(0, answered.index - 1)))

    return patch.object(Session, "_settled", settled)


def closes_without_flushing() -> AbstractContextManager[object]:
    def end(self: Outbox) -> None:
        self._lines.clear()
        self._ended = True
        self._filled.unpark()

    return patch.object(Outbox, "end", end)


@contextmanager
def queues_without_bound() -> Iterator[None]:
    real = Outbox.__init__

    def init(self: Outbox, *args: Any) -> None:
        real(self, *args)
        self._max_lines = self._max_charge = 1 << 40

    with (
        patch.object(Outbox, "__init__", init),
        patch.object(Pool, "most", lambda _self, _now: 1 << 40),
    ):
        yield


def the_log_is_one_segment() -> AbstractContextManager[object]:
    """Snapshots are taken, and nothing is removed."""
    return patch.object(owner, "LEAST_SEGMENT_BYTES", 1 << 24)


_PURE: Final[dict[Bug, tuple[str, str]]] = {
    loses_what_is_cut: ("flaky", "loses the beginning of a line that comes in two pieces"),
    values_end_at_a_colon: ("flaky", "cuts values at a colon"),
    carriage_returns_stay: ("flaky", "takes the carriage return of a line end for content"),
    equal_values_are_merged: ("flaky", "keeps a value that is put twice once"),
    update_keeps_the_place: ("flaky", "puts an updated value in the place of the old one"),
    update_takes_the_last: ("flaky", "removes the last of several old values"),
    update_needs_its_old_value: ("flaky", "ignores an Update whose old value is absent"),
    deletes_are_not_logged: ("crashes", "does not log Deletes"),
    snapshots_lack_equal_values: ("crashes", "writes equal values once into a snapshot"),
}
_SHELL: Final[dict[Bug, tuple[str, str]]] = {
    half_a_line_counts: ("flaky", "carries out half a line when its client goes"),
    answers_go_to_another_client: ("flaky", "gives answers to another client"),
    gets_overtake_puts: ("flaky", "carries out a Get before the lines before it"),
    answers_wait_for_the_next: ("flaky", "keeps an answer back until the client asks again"),
    answers_before_the_disk: ("disks", "answers before the journal has synced"),
    answers_what_was_not_logged: ("disks", "answers when the record before is on disk"),
    closes_without_flushing: ("flaky", "drops queued answers when a client has ended its side"),
    the_log_is_one_segment: ("calm", "never frees what its snapshots stand for"),
    queues_without_bound: ("flaky", "queues whatever a client does not read"),
}


def _ablations() -> Iterable[Ablation]:
    for level, bugs in (("A", _PURE), ("B", _SHELL)):
        for bug, (profile, description) in bugs.items():
            yield Ablation(
                name=f"linekv-{bug.__name__.replace('_', '-')}",
                system="linekv",
                level=level,  # type: ignore[arg-type]
                profile=profile,
                description=description,
                apply=bug,
                within=60,
            )


ABLATIONS: Final = list(_ablations())
