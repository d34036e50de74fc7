"""The actors and messages that the tests of actors have in common."""

from typing import Any

import attrs
import trio

from trio440.actors import Actor, Down, Question, Ref, Reply, handler, message


@message("test.Add")
@attrs.frozen
class Add:
    amount: int


@message("test.Items")
@attrs.define
class Items:
    """Not frozen, so it is encoded where it is told."""

    items: list[int]


@message("test.Get")
@attrs.frozen
class Get(Question[int]):
    pass


@message("test.Fail")
@attrs.frozen
class Fail:
    why: str = "on purpose"


@message("test.Wait")
@attrs.frozen
class Wait:
    """Handled for so many seconds, or for ever."""

    seconds: float = 1e9


@message("test.Leave")
@attrs.frozen
class Leave:
    pass


@message("test.Watch")
@attrs.frozen
class Watch:
    ref: Ref[Any]


@attrs.define
class Log:
    """What actors have done, in order."""

    lines: list[str] = attrs.field(factory=list)

    def note(self, line: str) -> None:
        self.lines.append(line)


class Counter(Actor[Add | Items | Get | Fail | Wait | Leave]):
    """Counts, and says in a log what it does."""

    def __init__(self, log: Log | None = None, name: str = "") -> None:
        self.total = 0
        self.log = Log() if log is None else log
        self.name = name

    async def on_start(self) -> None:
        self.log.note(f"{self.name}+")

    async def on_stop(self) -> None:
        self.log.note(f"{self.name}-")

    @handler
    async def add(self, message: Add) -> None:
        self.total += message.amount
        self.log.note(f"{self.name}{message.amount}")

    @handler
    async def take(self, message: Items) -> None:
        self.total += sum(message.items)

    @handler
    async def get(self, message: Get) -> int:
        del message
        return self.total

    @handler
    async def fail(self, message: Fail) -> None:
        raise ValueError(message.why)

    @handler
    async def wait(self, message: Wait) -> None:
        with trio.move_on_after(message.seconds):
            await trio.sleep_forever()

    @handler
    async def leave(self, message: Leave) -> None:
        del message
        self.context.leave()


class Watcher(Actor[Watch | Down]):
    """Watches whom it is told to, and keeps what it hears."""

    def __init__(self, heard: list[Down]) -> None:
        self.heard = heard

    @handler
    async def watch(self, message: Watch) -> None:
        self.context.watch(message.ref)

    @handler
    async def down(self, message: Down) -> None:
        self.heard.append(message)


class Debtor(Actor[Get | Add]):
    """Answers when it is told a number."""

    def __init__(self) -> None:
        self.owed: list[Reply[int]] = []

    @handler
    async def get(self, message: Get) -> Reply[int]:
        reply = self.context.hold_reply(message)
        self.owed.append(reply)
        return reply

    @handler
    async def add(self, message: Add) -> None:
        while self.owed:
            self.owed.pop().answer(message.amount)
