"""Deliberate bugs in the core: channels, selects, parking, epoch timers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest.mock import patch

import trio
from outcome import Value

from trio440.core import channels, parking, selecting
from trio440.core.channels import Chan, Received
from trio440.core.epochs import EpochTimer, Tick
from trio440.core.parking import Parked
from trio440.sim.ablating import Ablation
from trio440.sim.outcome import Order

__all__ = ["ABLATIONS"]

Patch = AbstractContextManager[object]


def lose_on_cancellation() -> Patch:
    wait = Parked.wait

    async def wait_and_look_around(self: Parked) -> Any:
        result = await wait(self)
        await trio.lowlevel.checkpoint()
        return result

    return patch.object(Parked, "wait", wait_and_look_around)


def sleep_between_scan_and_park() -> Patch:
    wait = selecting._wait_for_any

    async def yield_and_wait(cases: Any, order: Sequence[int]) -> Any:
        await trio.lowlevel.checkpoint()
        return await wait(cases, order)

    return patch.object(selecting, "_wait_for_any", yield_and_wait)


def overlook_plain_senders() -> Patch:
    attempt = Chan._attempt_receive

    def attempt_receive(self: Chan[Any]) -> Any:
        return attempt(self) if self._capacity or self._senders or self._closed else None

    return patch.object(Chan, "_attempt_receive", attempt_receive)


def leave_the_queues_later() -> Patch:
    wake, wait = Parked.wake, Parked.wait
    woken: dict[Parked, bool] = {}

    def wake_once(self: Parked, result: Any) -> None:
        if self in woken:
            return
        woken[self] = True
        queues = [[*queue.items()] for queue in self._queues]
        wake(self, result)
        for queue, entries in zip(self._queues, queues, strict=True):
            queue.clear()
            queue.update(entries)

    async def wait_and_leave(self: Parked) -> Any:
        try:
            return await wait(self)
        finally:
            woken.pop(self, None)
            self._leave()

    return patch.multiple(Parked, wake=wake_once, wait=wait_and_leave)


def forget_parked_selects() -> Patch:
    def close(self: Chan[Any]) -> None:
        self._closed = True
        self._memory_send.close()

    return patch.object(Chan, "close", close)


def forget_parked_senders() -> Patch:
    def close(self: Chan[Any]) -> None:
        senders, self._senders = self._senders, None
        real_close(self)
        self._senders = senders

    real_close = Chan.close
    return patch.object(Chan, "close", close)


def starve_the_last_case() -> Patch:
    def draw_order(count: int, _rng: object) -> Sequence[int]:
        return range(count)

    return patch.object(selecting, "_draw_order", draw_order)


def serve_the_last_receiver() -> Patch:
    def serve_receiver(_self: object, receivers: Any, value: object) -> None:
        parked, (index, _) = receivers.popitem(last=True)
        parked.wake(Value((index, Received(value))))

    return patch.object(Chan, "_serve_receiver", serve_receiver)


def overtake_plain_receivers() -> Patch:
    def serve_receiver(_self: object, receivers: Any, value: object) -> None:
        parked, (index, _) = receivers.popitem(last=False)
        parked.wake(Value((index, Received(value))))

    return patch.object(Chan, "_serve_receiver", serve_receiver)


def leave_room_in_the_buffer() -> Patch:
    def receive(self: Chan[Any], senders: Any) -> Any:
        try:
            return self._memory_receive.receive_nowait()
        except trio.WouldBlock:
            parked, (index, value) = senders.popitem(last=False)
            parked.wake(Value((index, channels.SENT)))
            return value

    return patch.object(Chan, "_receive_and_serve_sender", receive)


def yield_without_a_shield() -> Patch:
    return patch.object(trio.lowlevel, "cancel_shielded_checkpoint", trio.lowlevel.checkpoint)


def never_yield() -> Patch:
    return patch.object(parking.Turn, "is_over", lambda _: False)


def drift() -> Patch:
    async def wait(self: EpochTimer) -> Tick:
        tick = await real_wait(self)
        self._start = self._clock.now() - tick.number * self._period
        return tick

    real_wait = EpochTimer.wait
    return patch.object(EpochTimer, "wait", wait)


def add_periods_up() -> Patch:
    def due(self: EpochTimer, number: int) -> float:
        moment = self._start
        for _ in range(number):
            moment += self._period
        return moment

    return patch.object(EpochTimer, "_due", due)


def forget_late_ticks() -> Patch:
    async def wait(self: EpochTimer) -> Tick:
        return Tick((await real_wait(self)).number, 1)

    real_wait = EpochTimer.wait
    return patch.object(EpochTimer, "wait", wait)


def deliver_late_ticks_one_by_one() -> Patch:
    return patch.object(EpochTimer, "_epochs_before", lambda self, _: self._fetched + 1)


def lose_a_tick_on_cancellation() -> Patch:
    async def wait(self: EpochTimer) -> Tick:
        try:
            return await real_wait(self)
        except trio.Cancelled:
            self._fetched += 1
            raise

    real_wait = EpochTimer.wait
    return patch.object(EpochTimer, "wait", wait)


def bug(
    apply: Callable[[], Patch],
    description: str,
    *,
    within: int = 20,
    profile: str = "hostile",
    order: Order = "random",
) -> Ablation:
    return Ablation(
        name=f"core-{apply.__name__.replace('_', '-')}",
        system="core",
        level="B",
        profile=profile,
        order=order,
        description=description,
        apply=apply,
        within=within,
    )


ABLATIONS: Final = [
    bug(lose_on_cancellation, "a select that was served may still be cancelled: its value is lost"),
    bug(sleep_between_scan_and_park, "a select lets others run before it stands in its queues"),
    bug(overlook_plain_senders, "a select does not see senders that wait in a plain send"),
    bug(leave_the_queues_later, "a served select stays in its other queues until it runs"),
    bug(forget_parked_selects, "close wakes nobody who stands in a select"),
    bug(forget_parked_senders, "close forgets the selects that wait to send"),
    bug(starve_the_last_case, "of several ready cases a select takes the first"),
    bug(serve_the_last_receiver, "of several parked receivers the latest is served"),
    bug(overtake_plain_receivers, "a parked select is served before a plain receive that is older"),
    bug(leave_room_in_the_buffer, "a receive makes room and lets no parked sender fill it"),
    bug(
        yield_without_a_shield,
        "the switch after every 64th ready operation can be cancelled, when it has happened",
        within=200,
        order="pct",
    ),
    bug(never_yield, "operations that are always ready never let others run"),
    bug(drift, "an epoch timer starts its grid anew at every tick"),
    bug(add_periods_up, "an epoch timer adds its periods up instead of multiplying"),
    bug(forget_late_ticks, "a late tick counts for one epoch, whatever it stands for"),
    bug(deliver_late_ticks_one_by_one, "late ticks come one by one"),
    bug(lose_a_tick_on_cancellation, "a cancelled wait takes its tick along"),
]
