"""The store's shell in virtual time: commands on each engine, a store that goes, Ctrl-C, Tab."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.support.kv_world import (
    ENGINES,
    PORT,
    KvWorld,
    addresses_of,
    open_kv_world,
    store_on,
)
from trio440 import kv
from trio440.cli import kv_shell, stdin_lines
from trio440.cli.completion import Completed
from trio440.cli.kv_session import StoreSession, open_store_session
from trio440.cli.kv_shell import COMPLETION_SECONDS, MAX_CHOICES, Completer, Shell
from trio440.cli.kv_shell_base import Printer
from trio440.errors import InvalidParameter

Capture = pytest.CaptureFixture[str]

EVENTUAL_ALONE = {"default": "eventual"}

EVERYWHERE = """
put a/1 one            | ok
put a/2 "zwei drei"    | ok
get a/2                | zwei drei
get a/3                ! there is no key 'a/3'
list a/                | a/1\tone|a/2\tzwei drei
list a/ --limit 1      | a/1\tone ! there are more keys than these 1
count                  | 2
delete a/2             | ok
delete a/2             ! there is no key 'a/2'
put t v --ttl 60       | ok
expire t never         | ok
expire t 30            | ok
expire x 30            ! there is no key 'x'
get ''                 ! empty
get                    ! Missing argument 'KEY'. Usage: get KEY
"""
ATOMIC = """
increment n            | 1
increment n -3         | -2
append n 5             | 3
get n                  | -25
append s x             | 1
increment s            ! the value is no decimal int64
cas n -- -25 7         | ok
cas n 8 9              ! not changed: 'n' differs
cas n 8 --absent       ! not changed: 'n' is there
cas m 8 --absent       | ok
cas m 8 --remove       | ok
get m                  ! there is no key 'm'
cas m 1                ! with --absent there is no EXPECTED, with --remove no VALUE. Usage: cas
get n --siblings       ! namespace has no siblings, only an eventual one has
put n 1 --sibling      ! namespace has no siblings, only an eventual one has
grant 60               | 1
put l v --lease 1      | ok
put l v --lease 7      ! there is no lease 7
put l v --lease 0      ! '--lease'
renew 1                | ok
keep-alive 1           | ok
renew 7                ! there is no lease 7
revoke 1               | ok
get l                  ! there is no key 'l'
revoke 1               ! there is no lease 1
grant 0                ! 'SECONDS': 0.0 is not in the range
"""
TRANSACTIONS = """
exec                   ! there is no transaction: multi begins one
if k --absent          ! there is no transaction: multi begins one
multi                  | ok
put a/1 one            | queued
put a/2 two            | queued
increment n 2          | queued
append n 5             | queued
get n                  | queued
list a/                | queued
list a/ --limit 1      | queued
count a/               | queued
expire a/2 60          | queued
delete a/2             | queued
exec                   | ok|ok|2|2|25|a/1	one|a/2	two|a/1	one|2|ok|ok ! more keys than these 1
multi                  | ok
if a/1 one             | queued
if a/2 --absent        | queued
if a/1 --present       | queued
if a/3 --version 0     | queued
put a/1 uno            | queued
else                   | ok
get a/1                | queued
else                   ! the transaction has an else already
exec                   | ok
multi                  | ok
if a/1 one             | queued
delete a/1             | queued
else                   | ok
get a/1                | queued
exec                   | uno ! a condition does not hold
multi                  | ok
if a/1 --absent        | queued
delete a/1             | queued
exec                   ! nothing was done: a condition does not hold
multi                  | ok
delete x               | queued
get a/1                | queued
get y                  | queued
increment a/1          | queued
exec                   | uno ! no key 'x'; there is no key 'y'; the value is no decimal int64
multi                  | ok
if a/1                 ! it takes either a VALUE or one option. Usage: if KEY
if a/1 v --absent      ! it takes either a VALUE or one option. Usage: if KEY
watch                  ! 'watch' cannot be part of a transaction, which exec or discard ends
cas a/1 1 2            ! 'cas' cannot be part of a transaction
use other              ! 'use' cannot be part of a transaction
multi                  ! 'multi' cannot be part of a transaction
grant 5                ! this cannot be part of a transaction
get a/1 --siblings     ! this cannot be part of a transaction
what                   ! No such command 'what'
put a/1 due            | queued
discard                | ok
discard                ! there is no transaction: multi begins one
get a/1                | uno
multi                  | ok
exec                   | ok
"""
EVENTUAL = """
increment n            ! the namespace 'default' is eventual: it cannot do this
append n 1             ! it cannot do this
cas n 1 2              ! it cannot do this
grant 5                ! it cannot do this
put n 1 --lease 1      ! it cannot do this
renew 1                ! it cannot do this
multi                  ! it cannot do this
put n 1 --sibling      | ok
get n --siblings       | 1 ! context
get x --siblings       ! there is no key 'x'
put n 1 --sibling --replacing 00   ! --sibling and --replacing exclude each other
put n 1 --sibling --lease 1        ! siblings have no --lease
put n 1 --replacing zz             ! 'zz' is no context of get --siblings
"""


@asynccontextmanager
async def shell_at(
    world: KvWorld, store: kv.Store, name: str = "default", *, seconds: float = 5.0
) -> AsyncIterator[tuple[Shell, StoreSession]]:
    """A shell on another machine, which has found its namespace."""
    _, ports = world.machine()
    addresses = addresses_of(store)
    async with open_store_session(addresses, name, timeout_seconds=seconds, ports=ports) as session:
        shell = Shell(session, Printer(for_person=True))
        await shell.connect()
        yield shell, session


async def carried_out(shell: Shell, line: str, capsys: Capture) -> tuple[str, str]:
    await shell.carry_out(line)
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize("name", ["default", "exact", "here"])
async def test_every_command_on_every_engine(name: str, capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, count=2, namespaces={name: ENGINES[name]}) as (store, _),
        shell_at(world, store, name) as (shell, _),
    ):
        assert shell.prompt == f"{name} ({store.offers[name].engine})> "
        rest = EVENTUAL if name == "default" else ATOMIC + "delete n | ok" + TRANSACTIONS
        for row in (EVERYWHERE + rest).strip().splitlines():
            line = row.partition("|")[0].partition("!")[0]
            said, _, problems = row[len(line) :].partition("!")
            out, err = await carried_out(shell, line, capsys)
            assert out == "".join(f"{each}\n" for each in said.strip(" |").split("|") if each), row
            assert len(err.splitlines()) == bool(problems), row
            assert any(problem.strip() in err for problem in problems.split("|")), (row, err)
        assert shell.has_failed


async def test_namespaces_status_help_and_the_end(capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world) as (store, _),
        shell_at(world, store) as (shell, _),
    ):
        out, err = await carried_out(shell, "namespaces", capsys)
        assert [line.split("\t")[:2] for line in out.splitlines()] == [
            ["default", "eventual"],
            ["exact", "linearizable"],
            ["here", "memory"],
        ]
        await carried_out(shell, "put k of-default", capsys)
        assert await carried_out(shell, "use exact", capsys) == ("ok\n", "")
        assert shell.prompt == "exact (linearizable)> "
        assert (await carried_out(shell, "get k", capsys))[1] == "error: there is no key 'k'\n"
        err = (await carried_out(shell, "use nix", capsys))[1]
        assert err == "error: namespace must be one of default, exact, here, not 'nix'\n"
        assert shell.prompt == "exact (linearizable)> "
        await carried_out(shell, "use default", capsys)
        assert await carried_out(shell, "get k", capsys) == ("of-default\n", "")
        out, err = await carried_out(shell, "status", capsys)
        assert [line.split()[0] for line in out.splitlines()] == [
            *("namespace", "default", "exact", "here")
        ]
        out, err = await carried_out(shell, "help", capsys)
        words = [line.split()[0] for line in out.splitlines()]
        assert words == [
            *("get", "put", "delete", "expire", "list", "count", "watch"),
            *("increment", "append", "cas", "grant", "renew", "revoke"),
            *("multi", "if", "else", "exec", "discard"),
            *("status", "use", "namespaces", "help", "quit"),
        ]
        out, err = await carried_out(shell, "help put", capsys)
        assert "--ttl SECONDS" in out
        assert "'what'" in (await carried_out(shell, "help what", capsys))[1]
        assert not shell.is_over
        assert await carried_out(shell, "quit", capsys) == ("", "")
        assert shell.is_over


async def test_siblings_are_replaced_by_their_context(capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces=EVENTUAL_ALONE) as (store, _),
        shell_at(world, store) as (shell, _),
    ):
        await carried_out(shell, "put cart milk --sibling", capsys)
        await carried_out(shell, "put cart bread --sibling --ttl 900", capsys)
        out, err = await carried_out(shell, "get cart --siblings", capsys)
        assert out == "bread\nmilk\n"
        word, context = err.split()
        assert word == "context"
        await carried_out(shell, "put cart eggs --sibling", capsys)
        both = await carried_out(shell, f"put cart both --replacing {context}", capsys)
        assert both == ("ok\n", "")
        assert (await carried_out(shell, "get cart --siblings", capsys))[0] == "both\neggs\n"
        assert await carried_out(shell, "get cart", capsys) == ("both\n", "")


async def test_a_lease_ends_with_its_keys_unless_it_is_renewed(capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces={"here": "memory"}) as (store, _),
        shell_at(world, store, "here") as (shell, _),
    ):
        lease = (await carried_out(shell, "grant 2.5", capsys))[0].strip()
        await carried_out(shell, f"put k v --lease {lease}", capsys)
        for _ in range(3):
            await trio.sleep(2)
            assert await carried_out(shell, f"renew {lease}", capsys) == ("ok\n", "")
        assert (await carried_out(shell, "get k", capsys))[0] == "v\n"
        await trio.sleep(3)
        assert (await carried_out(shell, "get k", capsys))[1] == "error: there is no key 'k'\n"


async def test_a_transaction_that_is_written_is_seen_and_outlives_a_store_that_is_away(
    capsys: Capture,
) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces={"here": "memory"}) as (store, _),
        shell_at(world, store, "here") as (shell, session),
    ):
        await carried_out(shell, "multi", capsys)
        assert shell.prompt == "here (memory, multi)> "
        await carried_out(shell, "put k v", capsys)
        assert (await carried_out(shell, "get", capsys))[1].startswith("error: Missing argument")
        session.drop()
        assert (await carried_out(shell, "help exec", capsys))[1] == ""
        assert await store.namespaces["here"].get(b"k") is None
        assert await carried_out(shell, "exec", capsys) == ("ok\n", "")
        assert shell.prompt == "here (memory)> "
        world.network.weather(delay=10_000_000)
        await carried_out(shell, "multi", capsys)
        await carried_out(shell, "put k w", capsys)
        out, err = await carried_out(shell, "exec", capsys)
        assert (out, err.count("\n")) == ("", 1)
        assert err.endswith("; it may have been carried out\n")


async def test_what_was_written_is_there_at_once(capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, count=4, namespaces=EVENTUAL_ALONE) as (store, _),
        shell_at(world, store) as (shell, _),
    ):
        for number in range(8):
            assert await carried_out(shell, f"put k {number}", capsys) == ("ok\n", "")
            assert await carried_out(shell, "get k", capsys) == (f"{number}\n", "")


@pytest.mark.parametrize("name", ["default", "exact", "here"])
async def test_a_store_that_is_away_is_one_line_until_it_is_back(
    name: str, capsys: Capture
) -> None:
    async with open_kv_world(latency_ms=10) as world:
        host, ports = world.machine()
        _, elsewhere = world.machine()
        addresses = [f"{host}:{PORT + number}" for number in (0, 1)]
        config = kv.StoreConfig(
            host=host, start_port=PORT, namespaces={name: ENGINES[name]}, directory="kv", id="n1"
        )
        async with open_store_session(addresses, name, ports=elsewhere) as session:
            shell = Shell(session, Printer(for_person=True))
            await shell.connect()
            assert capsys.readouterr().err.startswith("error: the store cannot be reached: ")
            assert shell.prompt == f"{name} (away)> "
            for turn in range(2):
                async with kv.open_store(config, ports=ports):
                    assert await carried_out(shell, "put k v", capsys) == ("ok\n", "")
                    assert await carried_out(shell, "get k", capsys) == ("v\n", "")
                    assert shell.prompt == f"{name} ({ENGINES[name]})> "
                if turn:
                    break
                for line in ("put k v", "get k", "use x", "status"):
                    out, err = await carried_out(shell, line, capsys)
                    assert out == ""
                    assert err.startswith("error: the store cannot be reached: ")
                    assert err.count("\n") == 1
                    end = ("it may have been carried out\n", "nothing was changed\n")
                    assert err.endswith(end) == (line == "put k v")
                    assert shell.prompt == f"{name} ({ENGINES[name]}, away)> "


async def test_lines_of_a_pipe_say_which_of_them_failed(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    pieces = [
        *(b"put k ", b"\xff\x1b\nget k", b"\nget 12345678901234567890\n"),
        *(b"\nget x\nquit\nget y", b""),
    ]

    async def read_stdin() -> bytes:
        await trio.lowlevel.checkpoint()
        return pieces.pop(0)

    monkeypatch.setattr(stdin_lines, "read_stdin", read_stdin)
    monkeypatch.setattr(kv_shell, "MAX_LINE", 20)
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces={"here": "memory"}) as (store, _),
        shell_at(world, store, "here") as (_, session),
    ):
        assert await kv_shell.carry_out_lines(session) == 1
    out, err = capsysbinary.readouterr()
    assert out == b"ok\n\xff\x1b\n"
    assert err == (
        b"line 3: error: a line has at most 20 bytes\nline 5: error: there is no key 'x'\n"
    )
    assert pieces == [b""]


@pytest.mark.parametrize(
    ("lines", "said", "problems"),
    [
        ("multi|put k v|exec|get k", "ok|queued|ok|v", ""),
        (
            "multi|put k v|put k|put k w|exec|get k",
            "ok|queued|queued",
            """line 3: Missing argument 'VALUE'. Usage: put
            line 5: nothing was done: a line of the transaction was wrong
            line 6: there is no key 'k'""",
        ),
        ("multi|watch|discard|put k v", "ok|ok|ok", "line 2: 'watch' cannot be part of a"),
        (
            "multi|put k v",
            "ok|queued",
            "line 2: the transaction was not carried out: it has no exec",
        ),
        (
            "multi|put k v|quit|exec",
            "ok|queued",
            "line 3: the transaction was not carried out: it has no exec",
        ),
    ],
)
async def test_a_transaction_from_a_pipe_is_carried_out_as_a_whole_or_not_at_all(
    lines: str, said: str, problems: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pieces = [lines.replace("|", "\n").encode(), b""]

    async def read_stdin() -> bytes:
        await trio.lowlevel.checkpoint()
        return pieces.pop(0)

    monkeypatch.setattr(stdin_lines, "read_stdin", read_stdin)
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces={"here": "memory"}) as (store, _),
        shell_at(world, store, "here") as (_, session),
    ):
        assert await kv_shell.carry_out_lines(session) == bool(problems)
    out, err = capsys.readouterr()
    assert out.splitlines() == said.split("|")
    expected = [problem.strip() for problem in problems.splitlines()]
    assert len(err.splitlines()) == len(expected)
    for line, problem in zip(err.splitlines(), expected, strict=True):
        place, _, what = problem.partition(": ")
        assert line.startswith(f"{place}: error: {what}")


async def test_a_namespace_that_is_not_there_ends_the_shell() -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces={"here": "memory"}) as (store, _),
    ):
        with pytest.raises(InvalidParameter, match="namespace must be one of"):
            async with shell_at(world, store, "nix"):
                raise AssertionError("not reached")  # pragma: no cover


@pytest.mark.parametrize(
    ("is_found", "line", "said"),
    [
        (True, "put k v", "error: cancelled; it may have been carried out\n"),
        (True, "get k", "error: cancelled\n"),
        (True, "watch", ""),
        (False, "put k v", "error: cancelled; nothing was changed\n"),
        (False, "use default", "error: cancelled\n"),
    ],
)
async def test_ctrl_c_cancels_the_command_alone(
    is_found: bool, line: str, said: str, capsys: Capture
) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces=EVENTUAL_ALONE) as (store, _),
        shell_at(world, store) as (shell, session),
    ):
        assert not shell.interrupt()
        if not is_found:
            session.drop()
        world.network.weather(delay=10_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shell.carry_out, line)
            await trio.sleep(0.1)
            assert shell.interrupt()
        assert capsys.readouterr() == ("", said)
        world.network.weather(delay=10_000)
        await trio.sleep(20)  # what was sent meanwhile arrives, and is in front of what comes now
        assert session.is_open == is_found
        assert (await carried_out(shell, "count", capsys))[0] in ("0\n", "1\n")


async def test_a_watch_tells_of_changes_until_ctrl_c(capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces={"here": "memory"}) as (store, _),
        shell_at(world, store, "here") as (shell, _),
        trio.open_nursery() as nursery,
    ):
        space = store.namespaces["here"]

        async def watch(line: str, *changes: bytes) -> list[list[str]]:
            with trio.CancelScope() as scope:
                nursery.start_soon(shell.carry_out, line)
                await trio.sleep(1)
                for key in changes:
                    await space.put(key, b"\x1b")
                await trio.sleep(1)
                scope.cancel()
            assert shell.interrupt()
            await trio.sleep(0.1)
            out, err = capsys.readouterr()
            assert err == "watching\n"
            return [row.split("\t") for row in out.splitlines()]

        ((position, *change),) = await watch("watch a/", b"a/1", b"b/1")
        assert change == ["put", "a/1", "\\x1b"]
        await space.delete(b"a/1")
        ((_, *change),) = await watch(f"watch --after {position} a/")
        assert change == ["delete", "a/1"]
        err = (await carried_out(shell, "watch --after x", capsys))[1]
        assert err == "error: --after must be the position of a change, not 'x'\n"
        assert not shell.interrupt()


async def test_tab_asks_the_store() -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces=EVENTUAL_ALONE) as (store, _),
        shell_at(world, store) as (_, session),
    ):
        space = store.namespaces["default"]
        keys = [f"many/{number:03}".encode() for number in range(MAX_CHOICES + 1)]
        for key in (b"a b/1", b"a b/2", b"a\x1bc", b"\xff", b"one", *keys):
            await space.put(key, b"v")
        complete = Completer(session).complete
        assert await complete("get o") == (4, Completed("one "))
        assert await complete("list a") == (5, Completed("a\\ b/"))
        assert await complete('put "a b/') == (4, Completed(None, ("a b/1", "a b/2")))
        _, completed = await complete("get m")
        assert completed.text is None
        assert completed.choices == tuple(key.decode() for key in keys[:MAX_CHOICES])
        assert completed.more
        assert await complete("get nix") == (4, Completed())
        assert await complete("put one v") == (8, Completed())
        assert await complete("use de") == (4, Completed("default "))
        assert await complete("sta") == (0, Completed("status "))
        assert await complete("put one v --t") == (10, Completed("--ttl "))
        assert await complete("what ev") == (5, Completed())


async def test_tab_waits_for_no_store_that_is_away(capsys: Capture) -> None:
    async with (
        open_kv_world(latency_ms=10) as world,
        store_on(world, namespaces=EVENTUAL_ALONE) as (store, _),
        shell_at(world, store) as (shell, session),
    ):
        await carried_out(shell, "put one 1", capsys)
        complete = Completer(session).complete
        world.network.weather(delay=10_000_000)
        began = trio.current_time()
        for line in ("get o", "use de"):
            assert await complete(line) == (4, Completed())
        assert trio.current_time() - began == pytest.approx(2 * COMPLETION_SECONDS)
        assert session.is_open
        session.drop()
        began = trio.current_time()
        for line in ("get o", "use de"):
            assert await complete(line) == (4, Completed())
        assert trio.current_time() == began
        assert await complete("ge") == (0, Completed("get "))
