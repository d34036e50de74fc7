"""Actors in one system: telling, asking, names, dead letters, statistics, timers."""

from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.support.actor_cast import (
    Add,
    Counter,
    Debtor,
    Fail,
    Get,
    Items,
    Log,
    Wait,
)
from trio440.actors import (
    Actor,
    ActorSystem,
    Context,
    Limits,
    MailboxPolicy,
    Networking,
    Question,
    Ref,
    handler,
    message,
    open_actor_system,
)
from trio440.errors import (
    ActorFailed,
    ActorStopped,
    AskTimedOut,
    InvalidParameter,
    LimitReached,
    MailboxFull,
    NameTaken,
    SystemStopped,
)


async def reasons(system: ActorSystem) -> dict[str, int]:
    await trio.testing.wait_all_tasks_blocked()
    return system.statistics().dead_by_reason


async def test_what_is_told_is_handled_in_order_and_asked_after() -> None:
    log = Log()
    async with open_actor_system() as system:
        counter = await system.spawn(Counter, log)
        for number in range(200):
            system.tell(counter, Add(number))
        assert await system.ask(counter, Get()) == sum(range(200))
        assert log.lines == ["+", *map(str, range(200))]
        assert str(counter) == "local/1"
    assert log.lines[-1] == "-"


async def test_a_function_is_an_actor() -> None:
    async def double(context: Context[Add], message: Add, into: Ref[Add]) -> None:
        context.tell(into, Add(2 * message.amount))

    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
        doubler = await system.spawn(double, counter)
        system.tell(doubler, Add(4))
        await trio.testing.wait_all_tasks_blocked()
        assert await system.ask(counter, Get()) == 8


async def test_one_receive_may_handle_everything_and_factories_take_keywords() -> None:
    class Echo(Actor[Get | Add]):
        def __init__(self, *, answer: int) -> None:
            self.answer = answer

        async def receive(self, message: Get | Add) -> int:
            del message
            return self.answer

    async with open_actor_system() as system:
        echo = await system.spawn(partial(Echo, answer=5))
        assert await system.ask(echo, Get()) == 5


async def test_messages_are_copied_where_they_are_told() -> None:
    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
        items = Items([1])
        system.tell(counter, items)
        items.items.append(100)
        assert await system.ask(counter, Get()) == 1
        counts = system.statistics()
        assert counts.bytes_sent == len(b"\x81\xa5items\x91\x01")
        assert counts.sent_without_encoding == 1
        assert counts.sent_from_outside == 2


async def test_an_actor_handles_one_message_at_a_time() -> None:
    active, most = 0, 0

    async def slow(_: Context[Add], message: Add) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await trio.sleep(message.amount)
        active -= 1

    async with open_actor_system() as system:
        ref = await system.spawn(slow)
        for _ in range(3):
            system.tell(ref, Add(1))
        began = trio.current_time()
        await system.stop(ref, drain=True)
        assert trio.current_time() - began == pytest.approx(3)
    assert most == 1


async def test_a_late_answer_reaches_nobody() -> None:
    async with open_actor_system() as system:
        debtor = await system.spawn(Debtor)
        with pytest.raises(AskTimedOut, match="within 1 s"):
            await system.ask(debtor, Get(), timeout_seconds=1)
        answers: list[int] = []

        async def ask_again() -> None:
            answers.append(await system.ask(debtor, Get(), timeout_seconds=9))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_again)
            await trio.testing.wait_all_tasks_blocked()
            system.tell(debtor, Add(7))  # answers both
        assert answers == [7]
        assert await reasons(system) == {"already_answered": 1}
        assert system.statistics().open_asks == 0


async def test_a_cancelled_ask_is_forgotten() -> None:
    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
        system.tell(counter, Wait(10))
        with trio.move_on_after(1):
            await system.ask(counter, Get(), timeout_seconds=100)
        assert system.statistics().open_asks == 0
        await trio.sleep(20)
        assert await reasons(system) == {"already_answered": 1}


async def test_asks_end_in_the_error_that_says_what_happened() -> None:
    async with open_actor_system() as system:
        counter = await system.spawn(Counter)

        async def fail(_: Context[Any], message: Get) -> int:
            raise KeyError("a key")

        failing = await system.spawn(fail)
        with pytest.raises(ActorFailed, match="KeyError: 'a key'") as caught:
            await system.ask(failing, Get())
        assert isinstance(caught.value.__cause__, KeyError)
        await system.stop(counter)
        with pytest.raises(ActorStopped, match="local/1 has stopped"):
            await system.ask(counter, Get())
        with pytest.raises(ActorStopped, match="never been"):
            await system.ask(attrs.evolve(counter, counter=99), Get())
        with pytest.raises(InvalidParameter, match="timeout_seconds"):
            await system.ask(failing, Get(), timeout_seconds=-1)

        async def answers_lists(_: Context[Any], message: Get) -> Any:
            return [1]

        with pytest.raises(ActorFailed, match=r"an answer must be a message, .*, not \[1\]"):
            await system.ask(await system.spawn(answers_lists), Get())


async def test_every_message_that_reaches_nobody_is_a_dead_letter_with_its_reason() -> None:
    @attrs.frozen
    class Unregistered:
        pass

    @message("test.Picky")
    @attrs.define
    class Picky:
        number: int = attrs.field(validator=attrs.validators.lt(10))

    async with open_actor_system(name="here") as system:
        counter: Ref[Any] = await system.spawn(Counter)
        stopped: Ref[Any] = await system.spawn(Counter)
        await system.stop(stopped)
        picky = Picky(1)
        with system.dead_letters() as letters:
            system.tell(counter, Unregistered())
            system.tell(counter, Items([1 << 64]))
            system.tell(counter, picky)
            system.tell(stopped, Add(1))
            system.tell(attrs.evolve(counter, counter=50), Add(2))
            system.tell(attrs.evolve(counter, incarnation=1), Add(3))
            system.tell(attrs.evolve(counter, address="there"), Add(4))
            await trio.testing.wait_all_tasks_blocked()
            heard = [letters.receive_nowait() for _ in range(7)]
        system.tell(stopped, Add(5))
        assert {letter.reason for letter in heard} == {
            "unknown_message",
            "unencodable",
            "unhandled",
            "stopped",
            "unknown_actor",
            "other_life",
            "unreachable",
        }
        counts = system.statistics()
        assert counts.dead_letters == 8
        assert counts.dead_by_reason["stopped"] == 2
        with pytest.raises(InvalidParameter, match="@message"):
            await system.ask(counter, Unregistered())  # type: ignore[arg-type]


async def test_who_listens_to_dead_letters_too_slowly_misses_some_and_blocks_nobody() -> None:
    async with open_actor_system() as system:
        gone = await system.spawn(Counter)
        await system.stop(gone)
        with system.dead_letters(2) as letters:
            for number in range(5):
                system.tell(gone, Add(number))
            assert [letters.receive_nowait().message.amount for _ in range(2)] == [0, 1]
        counts = system.statistics()
        assert (counts.dead_letters, counts.dead_letters_unheard) == (5, 3)


async def test_a_one_shot_reference_takes_one_answer() -> None:
    @message("test.Query")
    @attrs.frozen
    class Query:
        reply_to: Ref[Add]

    async def answer(context: Context[Query], message: Query) -> None:
        context.tell(message.reply_to, Add(1))
        context.tell(message.reply_to, Add(2))

    async with open_actor_system() as system:
        ref = await system.spawn(answer)
        with system.open_reply(Add) as reply:
            with pytest.raises(AskTimedOut):
                await reply.wait(timeout_seconds=1)
            system.tell(ref, Query(reply.ref))
            assert await reply.wait() == Add(1)
        system.tell(reply.ref, Add(3))
        assert await reasons(system) == {"already_answered": 1, "stopped": 1}
        assert system.statistics().one_shots_used == 1


async def test_names_belong_to_actors_while_they_live() -> None:
    async with open_actor_system() as system:
        first = await system.spawn(Counter, name="counter")
        assert system.lookup("counter") == first
        with pytest.raises(NameTaken, match="local/1"):
            await system.spawn(Counter, name="counter")
        await system.stop(first)
        assert system.lookup("counter") is None
        second = await system.spawn(Counter, name="counter")
        assert system.lookup("counter") == second
        system.register("alias", second)
        system.unregister("alias")
        system.unregister("alias")
        assert system.lookup("alias") is None
        assert system.statistics().actors == 1
        with pytest.raises(InvalidParameter, match="name"):
            await system.spawn(Counter, name="")


async def test_lives_of_a_system_are_told_apart() -> None:
    refs: list[Ref[Any]] = []
    for _ in range(2):
        async with open_actor_system(name="same") as system:
            refs.append(await system.spawn(Counter))
            system.tell(refs[0], Add(1))
            assert system.incarnation == refs[-1].incarnation
            expected = {} if len(refs) == 1 else {"other_life": 1}
            assert await reasons(system) == expected
    assert refs[0] < refs[1]
    assert str(refs[0]) == str(refs[1])


@pytest.mark.parametrize("name", ["", "x" * 201, 5])
async def test_a_system_has_a_name(name: Any) -> None:
    with pytest.raises(InvalidParameter, match="name"):
        async with open_actor_system(name=name):
            pass


@pytest.mark.parametrize("options", [{"port": 7000}, {"networking": Networking(seeds=["a:1"])}])
async def test_a_system_that_is_to_meet_others_needs_a_host(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match="host must be given along with a port"):
        async with open_actor_system(**options):
            pass


def test_seeds_are_several() -> None:
    with pytest.raises(InvalidParameter, match="seeds must be a sequence of addresses"):
        Networking(seeds="127.0.0.1:7000")


async def test_a_system_shows_its_address_and_how_many_live_there() -> None:
    async with open_actor_system(name="here") as system:
        assert repr(system) == "<ActorSystem here, 0 actors>"
        await system.spawn(Counter)
        assert repr(system) == "<ActorSystem here, 1 actor>"


async def test_what_is_told_after_the_end_is_dead_and_what_is_asked_fails() -> None:
    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
    system.tell(counter, Add(1))
    assert system.statistics().dead_by_reason == {"stopped": 1}
    with pytest.raises(SystemStopped, match="local"):
        await system.spawn(Counter)
    with pytest.raises(SystemStopped):
        await system.ask(counter, Get())


async def test_an_ask_for_itself_is_refused() -> None:
    async def narcissus(context: Context[Get], message: Get) -> int:
        return await context.ask(context.ref, message)

    async with open_actor_system() as system:
        with pytest.raises(ActorFailed, match="waits for itself"):
            await system.ask(await system.spawn(narcissus), Get())


async def test_timers_keep_their_grid_and_leave_out_what_was_missed() -> None:
    seen: list[float] = []

    async def note(_: Context[Add], message: Add) -> None:
        seen.append(trio.current_time() - began)
        if message.amount and len(seen) == 2:
            await trio.sleep(3.5)

    async with open_actor_system() as system:
        ref = await system.spawn(note)
        began = trio.current_time()
        system.tell_after(ref, Add(0), 0.5)
        await trio.sleep(1)
        assert seen == [pytest.approx(0.5)]
        timer = system.tell_every(ref, Add(0), 2, first_seconds=0)
        await trio.sleep(4.5)
        assert seen[1:] == [pytest.approx(at) for at in (1, 3, 5)]
        timer.cancel()
        timer.cancel()
        assert not timer.is_running
        await trio.sleep(5)
        assert len(seen) == 4
        assert system.statistics().timers == 0
        with pytest.raises(InvalidParameter, match="more than 0"):
            system.tell_every(ref, Add(0), 0)
        with pytest.raises(InvalidParameter, match="delay_seconds"):
            system.tell_after(ref, Add(0), -1)


async def test_a_timer_sends_the_message_as_it_was() -> None:
    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
        items = Items([1])
        system.tell_after(counter, items, 1)
        items.items.append(2)
        assert system.statistics().bytes_sent == 0
        await trio.sleep(2)
        assert system.statistics().bytes_sent == len(b"\x81\xa5items\x91\x01")
        assert await system.ask(counter, Get()) == 1


async def test_timers_die_with_the_life_that_started_them() -> None:
    class Ticking(Actor[Add | Get | Fail]):
        def __init__(self) -> None:
            self.ticks = 0

        async def on_start(self) -> None:
            self.context.tell_every(self.context.ref, Add(1), 1)

        @handler
        async def add(self, message: Add) -> None:
            self.ticks += message.amount

        @handler
        async def get(self, message: Get) -> int:
            del message
            return self.ticks

        @handler
        async def fail(self, message: Fail) -> None:
            raise ValueError(message.why)

    async with open_actor_system() as system:
        ticking = await system.spawn(Ticking)
        await trio.sleep(3.5)
        assert await system.ask(ticking, Get()) == 3
        system.tell(ticking, Fail())
        await trio.sleep(3.2)
        assert await system.ask(ticking, Get()) == 3, "one timer, not two"
        assert system.statistics().timers == 1
        await system.stop(ticking)
        assert system.statistics().timers == 0
        await trio.sleep(5)
        assert await reasons(system) == {}


async def test_rates_count_from_one_actor_to_one_reference() -> None:
    class Chatter(Actor[Add]):
        def __init__(self, to: Ref[Add]) -> None:
            self.to = to

        @handler
        async def add(self, message: Add) -> None:
            for _ in range(message.amount):
                self.context.tell(self.to, Add(1))

    async with open_actor_system() as system:
        counter = await system.spawn(Counter)
        chatter = await system.spawn(Chatter, counter)
        system.tell(chatter, Add(10))
        await trio.testing.wait_all_tasks_blocked()
        assert system.statistics().highest_rate == 10
        assert system.statistics().sent_by_actors == 10
        await trio.sleep(3.95)
        assert system.statistics().highest_rate == 2
        await system.stop(chatter)
        assert system.statistics().highest_rate == 2


async def test_a_system_has_limits() -> None:
    limits = Limits(actors=2, timers=1, open_asks=1, mailbox=MailboxPolicy(1))
    async with open_actor_system(limits=limits) as system:
        counter = await system.spawn(Counter)
        other = await system.spawn(Counter)
        with pytest.raises(LimitReached, match="2 actors"):
            await system.spawn(Counter)
        system.tell_after(counter, Add(1), 100)
        with pytest.raises(LimitReached, match="1 timers"):
            system.tell_after(counter, Add(1), 100)
        with system.open_reply(Add), pytest.raises(LimitReached, match="1 one-shot"):
            await system.ask(counter, Get())
        system.tell(other, Wait(1))
        await trio.testing.wait_all_tasks_blocked()
        system.tell(other, Add(1))
        with pytest.raises(MailboxFull, match=r"local/2 is full, its limit is 1"):
            await system.ask(other, Get())
        statistics = system.actor_statistics(other)
        assert statistics is not None
        assert (statistics.waiting, statistics.handled) == (1, 0)


async def test_stashed_messages_are_handled_when_the_actor_says_so() -> None:
    class Gate(Actor[Add | Get]):
        def __init__(self) -> None:
            self.total: int | None = None

        @handler
        async def add(self, message: Add) -> None:
            self.total = message.amount
            self.context.unstash_all()

        @handler
        async def get(self, message: Get) -> int:
            del message
            if self.total is None:
                self.context.stash()
                return 0
            self.total += 1
            return self.total

    async with open_actor_system() as system:
        gate = await system.spawn(Gate)
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await system.ask(gate, Get()))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            system.tell(gate, Add(10))
        assert sorted(answers) == [11, 12, 13]


@message("test.Echo")
@attrs.frozen
class Echo(Question[str | None]):
    text: str | None


async def test_answers_may_be_nothing() -> None:
    async def echo(_: Context[Echo], message: Echo) -> str | None:
        return message.text

    async with open_actor_system() as system:
        ref = await system.spawn(echo)
        assert await system.ask(ref, Echo("a")) == "a"
        assert await system.ask(ref, Echo(None)) is None
