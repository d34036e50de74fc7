"""The types that users of channels, select and epoch timers see; mypy reads this, nothing runs it.

Each ``type: ignore`` below is an error that mypy must find: an unused one is an error itself.
"""

from typing import Literal, assert_never, assert_type

from trio440.core import (
    REAL_HOST,
    Case,
    Chan,
    ChanStatistics,
    Ended,
    EpochTimer,
    Host,
    ReceiveCase,
    Received,
    SendCase,
    Sent,
    Tick,
    select,
    select_nowait,
)


async def a_channel_carries_one_type(numbers: Chan[int]) -> None:
    await numbers.send(1)
    numbers.send_nowait(1)
    await numbers.send("one")  # type: ignore[arg-type]
    numbers.send_nowait("one")  # type: ignore[arg-type]
    numbers.sending("one")  # type: ignore[arg-type]
    assert_type(await numbers.receive(), int)
    assert_type(numbers.receive_nowait(), int)
    assert_type([value async for value in numbers], list[int])
    assert_type(numbers.receiving(), Case[Received[int] | Ended])
    assert_type(numbers.sending(1), Case[Sent])
    assert_type(numbers.statistics(), ChanStatistics)
    with numbers as same:
        assert_type(same, Chan[int])
    Chan[int](1.5)  # type: ignore[arg-type]


async def match_knows_which_value_belongs_to_which_case(
    numbers: Chan[int], words: Chan[str], out: Chan[bytes]
) -> None:
    match await select(numbers.receiving(), words.receiving(), out.sending(b"")):
        case 0, Received(number):
            assert_type(number, int)
        case 1, Received(word):
            assert_type(word, str)
        case 2, Sent():
            pass
        case (0 | 1) as index, Ended():
            assert_type(index, Literal[0, 1])
        case other:
            assert_never(other)


async def a_forgotten_outcome_is_noticed(numbers: Chan[int]) -> None:
    match await select(numbers.receiving(), timeout_seconds=1.0):
        case 0, Received(number):
            assert_type(number, int)
        case 0, Ended():
            pass
        case forgotten:
            assert_never(forgotten)  # type: ignore[arg-type]  # None: the time went by


async def without_match_the_index_narrows_too(numbers: Chan[int], words: Chan[str]) -> None:
    happened = await select(numbers.receiving(), words.sending("a"))
    assert_type(happened, tuple[Literal[0], Received[int] | Ended] | tuple[Literal[1], Sent])
    if happened[0] == 0:
        assert_type(happened[1], Received[int] | Ended)


async def only_a_timeout_or_a_default_may_give_none(
    a: Chan[int], seconds: float | None, ports: Host
) -> None:
    assert_type(await select(a.receiving()), tuple[Literal[0], Received[int] | Ended])
    assert_type(await select(a.sending(1), ports=ports), tuple[Literal[0], Sent])
    assert_type(await select(a.sending(1), timeout_seconds=None), tuple[Literal[0], Sent])
    assert_type(await select(a.sending(1), timeout_seconds=1), tuple[Literal[0], Sent] | None)
    assert_type(await select(a.sending(1), timeout_seconds=seconds), tuple[Literal[0], Sent] | None)
    assert_type(select_nowait(a.sending(1)), tuple[Literal[0], Sent] | None)
    assert_type(select_nowait(a.sending(1), ports=REAL_HOST), tuple[Literal[0], Sent] | None)


async def a_case_may_be_switched_off(a: Chan[int], b: Chan[str], *, wanted: bool) -> None:
    maybe: ReceiveCase[int] | None = a.receiving() if wanted else None
    offer: SendCase | None = b.sending("a") if wanted else None
    assert_type(
        await select(maybe, offer),
        tuple[Literal[0], Received[int] | Ended] | tuple[Literal[1], Sent],
    )


async def up_to_six_cases_are_told_apart(a: Chan[int], b: Chan[str]) -> None:
    match select_nowait(
        a.receiving(),
        b.receiving(),
        a.sending(1),
        b.sending(""),
        a.receiving(),
        b.receiving(),
    ):
        case 4, Received(number):
            assert_type(number, int)
        case 5, Received(word):
            assert_type(word, str)
        case 3, outcome:
            assert_type(outcome, Sent)
        case _:
            pass


async def any_number_of_cases_share_a_type(many: list[Chan[int]], out: Chan[str]) -> None:
    receiving = [ch.receiving() for ch in many]
    assert_type(await select(*receiving), tuple[int, Received[int] | Ended])
    match await select(out.sending(""), *receiving, timeout_seconds=1):
        case index, Received(value):
            assert_type(index, int)
            assert_type(value, int)
        case _:
            pass


async def only_cases_can_be_selected(a: Chan[int]) -> None:
    await select(a)  # type: ignore[call-overload]
    await select(a.receive())  # type: ignore[call-overload]
    await select(1.0)  # type: ignore[call-overload]


def received_values_are_covariant(case: Case[Received[bool] | Ended]) -> Case[object]:
    wider: ReceiveCase[int] = case
    return wider


async def a_timer_gives_ticks(ports: Host) -> None:
    timer = EpochTimer(2.0, ports=ports)
    assert_type(await timer.wait(), Tick)
    async for tick in timer:
        assert_type(tick.number, int)
        assert_type(tick.count, int)
    assert_type(timer.next_deadline, float)
    tick.number = 1  # type: ignore[misc]
