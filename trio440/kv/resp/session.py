"""One client of a RESP server: its requests in, batches to the namespace, its answers out.

Everything that one ``recv`` brings becomes one batch, and its answers one ``send``, as far as the
commands allow it: those that have to see a result before the next one is understood end a batch.
GET and SET alone take a shorter way than the rest, and a client that asks for nothing else is left
to the :mod:`~trio440.kv.resp.reactor`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from trio440.core.host import ByteStream, Host
from trio440.kv.operations import Get, Operation, Put
from trio440.kv.resp.batch import (
    Asking,
    Batch,
    Step,
    answers_alike,
    next_changed,
    next_found,
)
from trio440.kv.resp.calls import Client, CommandError, Facts, constant
from trio440.kv.resp.limits import Counters, Limits
from trio440.kv.resp.memory import Memory
from trio440.kv.resp.notifications import Hub
from trio440.kv.resp.outbox import Outbox, SlowReader
from trio440.kv.resp.parser import Request, RequestParser
from trio440.kv.resp.plain import (
    BATCH_OPERATIONS,
    GETS,
    SETS,
    lone_operation,
    plain_operations,
)
from trio440.kv.resp.reactor import Member, Reactor
from trio440.kv.resp.replies import OK, array, bulk, error, simple
from trio440.kv.resp.subscriptions import Subscriptions
from trio440.kv.resp.sweeping import list_keys, remove_all
from trio440.kv.resp.table import find_command, make_call
from trio440.kv.resp.transacting import Transacting

__all__ = ["Session", "Shared"]

READ_BYTES: Final = 65_536
GOODBYE_SECONDS: Final = 1.0
"""How long a client that is told why it is closed may take to read it."""

ALIKE_IN_A_ROW: Final = 8
"""So often a client that has asked for something else asks for nothing but GETs, or nothing but
SETs, before it is left to the reactor again."""
NEVER_QUEUED: Final = ("multi", "exec", "discard", "watch", "quit", "reset")


@attrs.frozen
class Shared:
    """What the sessions of a server share."""

    facts: Facts
    asking: Asking
    hub: Hub
    memory: Memory
    ports: Host
    reactor: Reactor | None
    """Where many clients are asked for at once; None: each client has its own task for all."""

    @property
    def limits(self) -> Limits:
        """The bounds."""
        return self.facts.limits

    @property
    def counters(self) -> Counters:
        """The counts."""
        return self.facts.counters


class Session:
    """Serves one client; made when it was accepted."""

    def __init__(self, stream: ByteStream, number: int, shared: Shared) -> None:
        self._stream = stream
        self._shared = shared
        self._counters = shared.counters
        self._client = Client(shared.facts, number)
        self._parser = RequestParser(shared.limits)
        self._account = shared.memory.open_account(self.close)
        self._outbox = Outbox(stream, shared.limits, shared.ports.clock, self._account)
        self._batch = Batch(shared.asking, self._outbox)
        self._transacting = Transacting(self._client, shared.asking, self._batch)
        self._subscriptions = Subscriptions(
            self._client,
            shared.hub,
            self._batch,
            self._outbox,
            drain_soon=self._drain_soon,
            close=self.close,
        )
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._receiving = False
        self._ending = False
        self._member: Member | None = None
        """While the reactor has it."""
        self._alike = ALIKE_IN_A_ROW
        self._is_plain = True
        """Nothing is kept for the client: a GET is a GET, and nothing waits to be sent."""

    def close(self) -> None:
        """Close the connection at once."""
        self._scope.cancel()

    def finish(self) -> None:
        """Read no more requests."""
        self._ending = True
        if self._member is not None and self._member.is_asking:
            self._member.is_leaving = True
        elif self._receiving:
            self._scope.cancel()

    async def run(self) -> None:
        """Serve until the client goes or is closed."""
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    try:
                        await self._serve()
                    finally:
                        # What is told from here on would find the nursery closed.
                        self._subscriptions.leave()
                    self._nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass
        except* SlowReader:
            self._counters.clients_closed_slow += 1
        finally:
            self._account.close()
            await self._stream.aclose()

    def _drain_soon(self) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._outbox.drain)

    async def _serve(self) -> None:
        feed, counters = self._parser.feed, self._counters
        while not self._ending:
            self._receiving = True
            data = await self._receive()
            self._receiving = False
            if data is None:
                continue
            if not data:
                return
            operations: Sequence[Operation] = ()
            requests: Sequence[Request] = ()
            if self._is_plain and (operation := lone_operation(data)):
                operations = (operation,)
            else:
                requests = feed(data)
                if self._is_plain and not self._parser.is_unfinished:
                    operations = plain_operations(requests)
            if operations:
                self._alike += 1
                counters.commands += len(operations)
                await self._answer(operations)
                continue
            self._alike = 0
            counters.commands += len(requests)
            await self._carry_out(requests)
            self._take_stock()
            if self._parser.problem is not None:
                counters.protocol_errors += 1
                await self._outbox.send(error(f"ERR Protocol error: {self._parser.problem}"))
                await self._say_goodbye()
                return

    def _take_stock(self) -> None:
        """Look at what is kept for the client, and whether the shortest way is open to it."""
        parser, transacting, subscriptions = self._parser, self._transacting, self._subscriptions
        self._account.keep(parser.held_bytes + transacting.held_bytes + subscriptions.held_bytes)
        self._is_plain = not (parser.is_unfinished or self._account.kept) and self._may_ask()

    async def _receive(self) -> bytes | bytearray | None:
        """Return the next bytes that are for this task; none at the end, None: look again."""
        shared = self._shared
        if shared.limits.idle_seconds is not None:
            return await self._receive_in_time(shared.limits.idle_seconds)
        if shared.reactor is None or not self._is_plain or self._alike < ALIKE_IN_A_ROW:
            return await self._stream.receive_some(READ_BYTES)
        self._member = Member(self._stream, self._outbox, self._client.encoding)
        try:
            data = await shared.reactor.attend(self._member)
        finally:
            self._member, self._alike = None, 0
        self._receiving = False
        await self._outbox.drain()
        return None if self._ending else data

    async def _receive_in_time(self, idle_seconds: float) -> bytes | bytearray:
        """Return the next bytes, none at the end, or when the client has been idle for too long."""
        if self._subscriptions.count:
            return await self._stream.receive_some(READ_BYTES)
        with self._shared.ports.clock.move_on_after(idle_seconds):
            return await self._stream.receive_some(READ_BYTES)
        self._counters.clients_closed_idle += 1
        return b""

    async def _answer(self, operations: Sequence[Operation]) -> None:
        """Carry out nothing but GETs, or nothing but SETs, and send the answers.

        For a client for whom nothing is kept.
        """
        results = await self._shared.asking.ask(operations)
        await self._outbox.send(answers_alike(self._client.encoding, operations, results))

    async def _say_goodbye(self) -> None:
        """Read until the client has closed: closing with bytes unread, it might lose the last."""
        with self._shared.ports.clock.move_on_after(GOODBYE_SECONDS):
            await self._stream.send_eof()
            while await self._stream.receive_some(READ_BYTES):
                pass

    async def _carry_out(self, requests: Sequence[Request]) -> None:
        batch = self._batch
        plain, answer = self._may_ask(), partial(next_found, self._client.encoding)
        for request in requests:
            size, name = len(request), request[0]
            if plain and size == 2 and name in GETS:  # noqa: PLR2004 - the shape
                batch.operations.append(Get(request[1]))
                batch.answers.append(answer)
            elif plain and size == 3 and name in SETS:  # noqa: PLR2004 - the shape
                batch.operations.append(Put(request[1], request[2]))
                batch.answers.append(next_changed)
            else:
                step = self._take(request)
                if step is not None:
                    await batch.flush()
                    await self._do(step)
                if self._ending:
                    break
                plain, answer = self._may_ask(), partial(next_found, self._client.encoding)
            if len(batch.answers) >= BATCH_OPERATIONS or len(batch.operations) >= BATCH_OPERATIONS:
                await batch.flush()
                await trio.lowlevel.checkpoint()
        await batch.flush()

    def _may_ask(self) -> bool:
        """Whether a GET is a GET, and is neither queued nor refused."""
        return self._transacting.queue is None and not self._subscriptions.confined

    def _take(self, request: Request) -> Step | None:
        """Add a request to the batch, or return what is to be done once that is carried out."""
        try:
            command = find_command(request)
            self._subscriptions.check_allowed(command, request)
        except CommandError as problem:
            self._batch.answers.append(error(self._transacting.reject(request, problem)))
            return None
        try:
            if self._transacting.queue is not None and command.step not in NEVER_QUEUED:
                self._transacting.add(command, request)
            elif command.step is not None:
                return self._begin(command.step, request)
            else:
                call = make_call(command, request, self._client)
                if command.name == "ping" and self._subscriptions.confined:
                    call = constant(array([bulk(b"pong"), bulk(b"".join(request[1:2]))]))
                self._batch.call(call)
        except CommandError as problem:
            self._batch.answers.append(error(str(problem)))
        return None

    def _begin(self, step: str, request: Request) -> Step | None:
        """Do what a session does itself, at once or once the batch is carried out."""
        if step.endswith("subscribe"):
            return self._subscriptions.begin(step, request)
        match step:
            case "keys" | "flush":
                return partial(self._sweep, step, request)
            case "reset":
                self._transacting.forget()
                self._subscriptions.leave()
                self._client.reset()
                self._batch.answers.append(simple("RESET"))
            case "quit":
                self._ending = True
                self._batch.answers.append(OK)
            case _:
                return self._transacting.begin(step, request)
        return None

    async def _do(self, step: Step) -> None:
        try:
            await step()
        except CommandError as problem:
            self._batch.answers.append(error(str(problem)))

    async def _sweep(self, step: str, request: Request) -> None:
        asking, limits = self._shared.asking, self._shared.limits
        if step == "keys":
            self._batch.answers.append(await list_keys(asking, request[1], limits))
        else:
            self._batch.answers.append(await remove_all(asking, request))
