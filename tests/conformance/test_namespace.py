"""What every engine of the store promises, and what the atomic ones do beside it."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from tests.support.kv_engines import (
    LIMITS,
    Opened,
    open_eventual,
    open_linearizable,
    open_local,
    open_memory,
    open_served,
)
from trio440.errors import HistoryCompacted, InvalidParameter, KvError, OperationRefused
from trio440.kv import (
    Append,
    AtomicNamespace,
    Change,
    CompareAndSet,
    Condition,
    Count,
    Delete,
    Entry,
    Expire,
    Get,
    GetSiblings,
    Increment,
    List,
    Namespace,
    Operation,
    Page,
    Put,
    PutSibling,
    Refused,
    Siblings,
    Transaction,
)
from trio440.kv.operations import Changed, Committed, Counted, Found

ATOMIC = [
    pytest.param(open_memory, id="memory"),
    pytest.param(open_served, id="served", marks=pytest.mark.slow),
    pytest.param(open_linearizable, id="linearizable"),
]
ENGINES = [
    *ATOMIC,
    pytest.param(open_eventual, id="eventual"),
    pytest.param(open_local, id="local"),
]

ODD_KEYS = [
    b"\x00",
    b"\x00\x00",
    b" ",
    b"a\nb",
    b"a/",
    b"a/b",
    b"a0",
    b"\xc3\xa4",
    b"\xff",
    b"\xff\xff",
]
"""In their order."""


@pytest.fixture(params=ENGINES)
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    async with request.param() as one:
        yield one


@pytest.fixture
def space(opened: Opened) -> Namespace:
    return opened.space


async def values(space: Namespace, *keys: bytes) -> list[bytes | None]:
    """Ask for several keys with one message."""
    results = await space.execute([Get(key) for key in keys])
    found = [result.entry if isinstance(result, Found) else None for result in results]
    return [None if entry is None else entry.value for entry in found]


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    with trio.fail_after(20):
        return [await anext(changes) for _ in range(count)]


def told(changes: list[Change]) -> list[tuple[bytes, bytes | None]]:
    return [(change.key, change.value) for change in changes]


# Keys and values


async def test_a_key_has_the_value_that_it_was_given_last(
    space: Namespace, autojump_clock: MockClock
) -> None:
    assert await space.get(b"k") is None
    first = await space.put(b"k", b"1")
    second = await space.put(b"k", b"2")
    again = await space.put(b"k", b"2")
    assert first < second < again, "the same value again is a change as well"
    assert await space.get(b"k") == Entry(b"k", b"2", again)
    assert await space.delete(b"k") is True
    assert await space.delete(b"k") is False
    assert await space.get(b"k") is None
    assert await space.put(b"k", b"") > again
    entry = await space.get(b"k")
    assert entry is not None
    assert entry.value == b""


async def test_any_bytes_are_a_key_and_a_value(space: Namespace, autojump_clock: MockClock) -> None:
    every = bytes(range(256))
    for key in reversed(ODD_KEYS):
        await space.put(key, every + key)
    assert await values(space, *ODD_KEYS) == [every + key for key in ODD_KEYS]
    page = await space.list()
    assert [entry.key for entry in page.entries] == ODD_KEYS
    assert [entry.value for entry in page.entries] == [every + key for key in ODD_KEYS]
    assert not page.more


async def test_no_key_is_empty(space: Namespace, autojump_clock: MockClock) -> None:
    for result in await space.execute([Put(b"", b"v"), Delete(b"")]):
        assert isinstance(result, Refused)
        assert result.kind == "malformed"
    with pytest.raises(OperationRefused, match="key"):
        await space.put(b"", b"v")
    for result in await space.execute([Get(b""), Expire(b"", 5)]):
        # It is malformed, or not there: both are true.
        if isinstance(result, Changed):
            assert not result.existed
        else:
            assert result == Found(None) or isinstance(result, Refused)
    assert await space.count() == 0


async def test_what_is_too_long_is_refused_and_changes_nothing(
    space: Namespace, autojump_clock: MockClock
) -> None:
    longest_key, longest = b"k" * LIMITS.key_bytes, b"v" * LIMITS.value_bytes
    await space.put(longest_key, longest)
    for key, value in [(longest_key + b"k", b""), (b"k", longest + b"v")]:
        with pytest.raises(OperationRefused, match="bytes"):
            await space.put(key, value)
    results = await space.execute([Put(b"k", longest + b"v"), Put(b"k", b"fits")])
    assert isinstance(results[0], Refused)
    assert results[0].kind == "limit"
    assert isinstance(results[1], Changed)
    assert await values(space, longest_key, b"k") == [longest, b"fits"]


# Batches


async def test_a_batch_is_carried_out_in_its_order(
    space: Namespace, autojump_clock: MockClock
) -> None:
    results = await space.execute(
        [
            Put(b"a", b"1"),
            Get(b"a"),
            Put(b"a", b"2"),
            Put(b"b", b""),
            List(b"a"),
            Count(),
            Delete(b"a"),
            Get(b"a"),
        ]
    )
    put, found, again, _, page, counted, deleted, absent = results
    assert isinstance(put, Changed)
    assert not put.existed
    assert found == Found(Entry(b"a", b"1", put.version))
    assert isinstance(again, Changed)
    assert again.existed
    assert page == Page((Entry(b"a", b"2", again.version),))
    assert counted == Counted(2)
    assert isinstance(deleted, Changed)
    assert deleted.existed
    assert absent == Found(None)


async def test_a_batch_of_nothing_and_one_of_much(
    space: Namespace, autojump_clock: MockClock
) -> None:
    assert list(await space.execute([])) == []
    many: list[Operation] = [Put(b"%04d" % number, b"v" * 900) for number in range(700)]
    results = await space.execute(many)
    assert len(results) == 700
    assert all(isinstance(result, Changed) for result in results)
    assert await space.count() == 700
    results = await space.execute([List(limit=40)] * 60)
    assert [len(result.entries) for result in results if isinstance(result, Page)] == [40] * 60


async def test_many_tasks_share_a_namespace(space: Namespace, autojump_clock: MockClock) -> None:
    async def write(task: int) -> None:
        for number in range(5):
            key = b"%d/%d" % (task, number)
            await space.put(key, key)
            assert await values(space, key) == [key], "its own put is seen at once"

    async with trio.open_nursery() as nursery:
        for task in range(20):
            nursery.start_soon(write, task)
    assert await space.count() == 100


async def test_execute_is_a_checkpoint(space: Namespace, autojump_clock: MockClock) -> None:
    for operations in ([], [Get(b"k")], [Put(b"k", b"v")]):
        with assert_checkpoints():
            await space.execute(operations)
    with trio.CancelScope() as scope:
        scope.cancel()
        await space.put(b"k", b"w")
    assert scope.cancelled_caught


# Lists


async def test_a_list_has_the_keys_with_a_prefix_in_their_order(
    space: Namespace, autojump_clock: MockClock
) -> None:
    for key in ODD_KEYS:
        await space.put(key, b"")
    for prefix in [b"", b"\x00", b"a", b"a/", b"\xff", b"\xff\xff", b"none", b"a/bc"]:
        expected = [key for key in ODD_KEYS if key.startswith(prefix)]
        page = await space.list(prefix)
        assert [entry.key for entry in page.entries] == expected
        assert await space.count(prefix) == len(expected)


async def test_pages_follow_each_other(space: Namespace, autojump_clock: MockClock) -> None:
    keys = [b"p/%02d" % number for number in range(23)]
    await space.execute([Put(key, b"v") for key in [*keys, b"a", b"p", b"q"]])
    for limit in (1, 7, 23, 24):
        got: list[bytes] = []
        after = None
        while True:
            page = await space.list(b"p/", after=after, limit=limit)
            got += [entry.key for entry in page.entries]
            assert len(page.entries) <= limit
            assert page.more == (len(got) < len(keys))
            if not page.more:
                break
            after = got[-1]
        assert got == keys
    for after, number in [
        (b"", 23),
        (b"a", 23),
        (b"p/", 23),
        (b"p/05", 17),
        (b"p/05x", 17),
        (b"q", 0),
    ]:
        assert len((await space.list(b"p/", after=after)).entries) == number, after


async def test_a_list_has_a_limit_of_the_engine_too(
    space: Namespace, autojump_clock: MockClock
) -> None:
    await space.execute([Put(b"%03d" % number, b"") for number in range(LIMITS.list_entries + 1)])
    page = await space.list(limit=10_000)
    assert len(page.entries) == LIMITS.list_entries
    assert page.more
    for limit in (0, -1):
        with pytest.raises(OperationRefused, match=r"(?i)limit of a list"):
            await space.list(limit=limit)


# Times to live


async def test_what_has_a_time_to_live_goes(opened: Opened, autojump_clock: MockClock) -> None:
    space, late = opened.space, opened.lateness_seconds
    await space.put(b"k", b"v", ttl_ms=2000)
    await space.put(b"stays", b"v")
    entry = await space.get(b"k")
    assert entry is not None
    assert entry.ttl_ms is not None
    assert 1900 <= entry.ttl_ms <= 2000
    await trio.sleep(1.5)
    entry = await space.get(b"k")
    assert entry is not None
    assert entry.ttl_ms is not None
    assert 400 <= entry.ttl_ms <= 500 + 1000 * late
    await trio.sleep(0.5 + late)
    assert await space.get(b"k") is None
    assert [entry.key for entry in (await space.list()).entries] == [b"stays"]
    assert await space.count() == 1
    await space.put(b"k", b"v")
    await trio.sleep(1)
    entry = await space.get(b"k")
    assert entry is not None
    assert entry.ttl_ms is None


async def test_a_put_gives_another_end_or_none_or_keeps_it(
    opened: Opened, autojump_clock: MockClock
) -> None:
    space, late = opened.space, opened.lateness_seconds
    keys = [b"later", b"never", b"kept", b"gone"]
    await space.execute([Put(key, b"1", ttl_ms=1000) for key in keys])
    await space.execute(
        [Put(b"later", b"2", ttl_ms=3000), Put(b"never", b"2"), Put(b"kept", b"2", keep_ttl=True)]
    )
    await trio.sleep(1 + late)
    assert await values(space, *keys) == [b"2", b"2", None, None]
    await trio.sleep(2 + late)
    assert await values(space, *keys) == [None, b"2", None, None]


async def test_a_time_to_live_is_changed(opened: Opened, autojump_clock: MockClock) -> None:
    space, late = opened.space, opened.lateness_seconds
    assert await space.expire(b"a", 1000) is False
    await space.execute(
        [Put(b"a", b""), Put(b"b", b"", ttl_ms=1000), Put(b"c", b""), Put(b"d", b"")]
    )
    assert await space.expire(b"a", 1000) is True
    assert await space.expire(b"b", None) is True
    assert await space.expire(b"c", 0) is True
    assert await space.expire(b"d", -5) is True
    assert [entry.key for entry in (await space.list()).entries] == [b"a", b"b"]
    await trio.sleep(1 + late)
    assert [entry.key for entry in (await space.list()).entries] == [b"b"]


async def test_a_time_to_live_is_at_least_a_millisecond(
    space: Namespace, autojump_clock: MockClock
) -> None:
    for ttl_ms in (0, -1, 1 << 63):
        with pytest.raises(OperationRefused, match="time to live"):
            await space.put(b"k", b"v", ttl_ms=ttl_ms)
    assert await space.get(b"k") is None


# Watching


async def test_a_watch_hears_of_each_change_in_order(
    opened: Opened, autojump_clock: MockClock
) -> None:
    space = opened.space
    await space.put(b"a/0", b"before")
    async with space.watch(b"a/") as changes:
        await space.execute([Put(b"a/1", b"1"), Put(b"b", b""), Put(b"a/2", b""), Delete(b"a/1")])
        await space.put(b"a/1", b"short", ttl_ms=100)
        seen = await take(changes, 5)
        assert told(seen) == [
            (b"a/1", b"1"),
            (b"a/2", b""),
            (b"a/1", None),
            (b"a/1", b"short"),
            (b"a/1", None),
        ]
        assert len({change.position for change in seen}) == 5
        versions = [change.version for change in seen if change.key == b"a/1"]
        assert versions == sorted(versions)
        with trio.move_on_after(2) as scope:
            await anext(changes)
        assert scope.cancelled_caught
        await space.put(b"a/3", b"after a cancelled wait")
        assert told(await take(changes, 1)) == [(b"a/3", b"after a cancelled wait")]


async def test_a_watch_goes_on_behind_a_change(space: Namespace, autojump_clock: MockClock) -> None:
    async with space.watch() as changes:
        for number in range(4):
            await space.put(b"%d" % number, b"")
        seen = await take(changes, 4)
    await space.put(b"4", b"")
    for place in range(4):
        async with space.watch(after=seen[place].position) as changes:
            rest = await take(changes, 4 - place)
            assert [change.key for change in rest] == [b"%d" % n for n in range(place + 1, 5)]
            assert rest[: 3 - place] == seen[place + 1 :]


async def test_many_watch(space: Namespace, autojump_clock: MockClock) -> None:
    heard: dict[int, list[bytes]] = {}

    async def watch(
        number: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with space.watch(b"%d" % (number % 2)) as changes:
            task_status.started()
            heard[number] = [change.key for change in await take(changes, 10)]

    async with trio.open_nursery() as nursery:
        for number in range(8):
            await nursery.start(watch, number)
        for number in range(20):
            await space.put(b"%d/%d" % (number % 2, number), b"")
    for number in range(8):
        assert heard[number] == [b"%d/%d" % (n % 2, n) for n in range(number % 2, 20, 2)]


async def test_who_is_too_slow_is_told(space: Namespace, autojump_clock: MockClock) -> None:
    async with space.watch() as changes:
        await space.put(b"first", b"")
        (first,) = await take(changes, 1)
        for _ in range(3):
            await space.execute([Put(b"%d" % n, b"") for n in range(LIMITS.history_changes // 2)])
        await trio.sleep(1)  # all replicas have forgotten it by then
        seen = 0
        with pytest.raises(HistoryCompacted):
            while True:
                await take(changes, 1)
                seen += 1
        assert seen < 300
    with pytest.raises(HistoryCompacted) as caught:
        async with space.watch(after=first.position):
            pass
    assert isinstance(caught.value, KvError)


async def test_what_is_no_position_is_refused(space: Namespace, autojump_clock: MockClock) -> None:
    for junk in (b"", b"junk", b"\xff" * 8, b"12345678901234567890"):
        with pytest.raises(InvalidParameter, match="after"):
            async with space.watch(after=junk):
                pass


# What not every engine does


async def test_what_is_no_operation_is_refused_at_once(
    space: Namespace, autojump_clock: MockClock
) -> None:
    results = await space.execute(["junk", Put(b"k", b"v")])  # type: ignore[list-item]
    assert isinstance(results[0], Refused)
    assert results[0].kind == "unsupported"
    assert isinstance(results[1], Changed)


async def test_what_only_atomic_engines_do_is_done_or_refused_at_once(
    space: Namespace, autojump_clock: MockClock
) -> None:
    operations: list[Operation] = [
        Increment(b"n"),
        Append(b"a", b"x"),
        CompareAndSet(b"c", None, b"v"),
        Transaction(then=(Put(b"t", b"v"),)),
        Put(b"p", b"v", lease=5),
    ]
    results = await space.execute(operations)
    if isinstance(space, AtomicNamespace):
        assert [isinstance(result, Refused) for result in results] == [False] * 4 + [True]
        assert await values(space, b"n", b"a", b"c", b"t", b"p") == [b"1", b"x", b"v", b"v", None]
        return
    for result in results:
        assert isinstance(result, Refused)
        assert result.kind == "unsupported"
    assert await space.count() == 0


async def test_what_only_the_eventual_engine_does_is_done_or_refused_at_once(
    space: Namespace, autojump_clock: MockClock
) -> None:
    results = await space.execute([PutSibling(b"k", b"v"), GetSiblings(b"k"), Count()])
    if isinstance(space, AtomicNamespace):
        kinds = [result.kind for result in results if isinstance(result, Refused)]
        assert (kinds, results[2]) == (["unsupported"] * 2, Counted(0))
        return
    put, found, counted = results
    assert isinstance(put, Changed)
    assert isinstance(found, Siblings)
    assert [(each.value, each.version) for each in found.entries] == [(b"v", put.version)]
    assert counted == Counted(1)


# Atomic engines


@pytest.fixture(params=ATOMIC)
async def atomic(request: pytest.FixtureRequest) -> AsyncIterator[AtomicNamespace]:
    async with request.param() as one:
        assert isinstance(one.space, AtomicNamespace)
        yield one.space


WRONG_TYPES: list[tuple[Operation, str]] = [
    (Get("k"), "key of Get must be bytes, not 'k'"),  # type: ignore[arg-type]
    (Put(b"k", "v" * 99), "value of Put must be bytes, not 'v{50}'$"),  # type: ignore[arg-type]
    (Put(b"k", b"v", 1.5), "ttl_ms of Put must be a whole number or None, not 1.5"),  # type: ignore[arg-type]
    (List("k"), "prefix of List must be bytes, not 'k'"),  # type: ignore[arg-type]
    (PutSibling(b"k", b"v", "c"), "context of PutSibling must be bytes"),  # type: ignore[arg-type]
    (Transaction((), (Delete("k"),)), "key of Delete must be bytes"),  # type: ignore[arg-type]
    (Transaction((Condition("k"),)), "key of Condition must be bytes"),  # type: ignore[arg-type]
    (Transaction(None), "part of a transaction must be a sequence, not None"),  # type: ignore[arg-type]
]


async def test_fields_of_a_wrong_type_are_named_and_nothing_is_done(
    space: Namespace, autojump_clock: MockClock
) -> None:
    for operation, problem in WRONG_TYPES:
        with pytest.raises(InvalidParameter, match=problem):
            await space.execute([Put(b"before", b""), operation])
    assert await space.count() == 0


async def test_compare_and_set(atomic: AtomicNamespace, autojump_clock: MockClock) -> None:
    assert await atomic.compare_and_set(b"k", b"x", b"y") is False
    assert await atomic.compare_and_set(b"k", None, b"1") is True
    assert await atomic.compare_and_set(b"k", None, b"2") is False
    assert await atomic.compare_and_set(b"k", b"1", b"2", ttl_ms=100_000) is True
    result = (await atomic.execute([CompareAndSet(b"k", b"wrong", b"3")]))[0]
    assert isinstance(result, Committed)
    (before,) = result.results
    assert isinstance(before, Found)
    assert before.entry is not None
    assert (before.entry.value, before.entry.version) == (b"2", 2)
    assert await atomic.compare_and_set(b"k", b"2", None) is True
    assert await atomic.compare_and_set(b"k", None, None) is True
    assert await atomic.get(b"k") is None


async def test_numbers_are_counted(atomic: AtomicNamespace, autojump_clock: MockClock) -> None:
    assert await atomic.increment(b"n") == 1
    assert await atomic.increment(b"n", -43) == -42
    assert await values(atomic, b"n") == [b"-42"]
    most = (1 << 63) - 1
    await atomic.put(b"n", b"%d" % most)
    with pytest.raises(OperationRefused, match="int64"):
        await atomic.increment(b"n")
    assert await atomic.increment(b"n", -most) == 0
    assert await atomic.increment(b"n", -most - 1) == -most - 1
    for text in (b"", b"x", b"1.5", b" 1", b"+1", b"01", b"-0", b"1_0", b"9" * 19, b"\xd9\xa1"):
        await atomic.put(b"n", text)
        (result,) = await atomic.execute([Increment(b"n")])
        assert isinstance(result, Refused)
        assert result.kind == "not_a_number"
    for by in (1 << 63, 1 << 70):
        (result,) = await atomic.execute([Increment(b"m", by)])
        assert isinstance(result, Refused)
    assert await atomic.get(b"m") is None


async def test_no_increment_is_lost(atomic: AtomicNamespace, autojump_clock: MockClock) -> None:
    sums: list[int] = []

    async def count() -> None:
        sums.extend([await atomic.increment(b"n") for _ in range(5)])

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(count)
    assert sorted(sums) == list(range(1, 101))


async def test_bytes_are_appended(atomic: AtomicNamespace, autojump_clock: MockClock) -> None:
    assert await atomic.append(b"k", b"ab") == 2
    assert await atomic.append(b"k", b"") == 2
    assert await atomic.append(b"k", b"c") == 3
    assert await values(atomic, b"k") == [b"abc"]
    with pytest.raises(OperationRefused, match="too long"):
        await atomic.append(b"k", b"x" * LIMITS.value_bytes)
    assert await values(atomic, b"k") == [b"abc"]


async def test_times_to_live_stay_where_a_value_is_only_changed(
    atomic: AtomicNamespace, autojump_clock: MockClock
) -> None:
    await atomic.execute([Put(b"n", b"1", ttl_ms=1000), Put(b"a", b"", ttl_ms=1000)])
    await atomic.increment(b"n")
    await atomic.append(b"a", b"x")
    await trio.sleep(1.2)
    assert await values(atomic, b"n", b"a") == [None, None]


async def test_a_transaction_does_one_thing_or_another(
    atomic: AtomicNamespace, autojump_clock: MockClock
) -> None:
    version = await atomic.put(b"k", b"1")
    true = [
        Condition(b"k", version=version),
        Condition(b"k", value=b"1", exists=True),
        Condition(b"x", version=0, exists=False),
        Condition(b"x"),
    ]
    false = [
        Condition(b"k", version=version + 1),
        Condition(b"k", version=0),
        Condition(b"k", value=b""),
        Condition(b"k", exists=False),
        Condition(b"x", value=b""),
        Condition(b"x", exists=True),
    ]
    for condition in [*true, *false]:
        ended = await atomic.transact([condition], [Get(b"k")], [])
        assert ended.succeeded == (condition in true), condition
        assert len(ended.results) == (condition in true)
        both = await atomic.transact([true[0], condition], [], [Get(b"k")])
        assert both.succeeded == (condition in true), condition
    ended = await atomic.transact(true, [Put(b"k", b"2"), Delete(b"x")], [Put(b"k", b"3")])
    assert await values(atomic, b"k") == [b"2"]
    assert ended.version == version + 1


async def test_operations_of_a_transaction_see_those_before(
    atomic: AtomicNamespace, autojump_clock: MockClock
) -> None:
    ended = await atomic.transact(
        (),
        [
            Increment(b"n"),
            Append(b"n", b"0"),
            Increment(b"n", 5),
            Append(b"n", b"x"),
            Increment(b"n"),
            Get(b"n"),
            Count(),
            List(),
        ],
    )
    assert ended.succeeded
    *_, refused, found, counted, page = ended.results
    assert isinstance(refused, Refused)
    assert refused.kind == "not_a_number"
    entry = Entry(b"n", b"15x", 4)
    assert (found, counted, page) == (Found(entry), Counted(1), Page((entry,)))


async def test_a_transaction_that_is_wrong_does_nothing(
    atomic: AtomicNamespace, autojump_clock: MockClock
) -> None:
    too_many = [Put(b"%d" % number, b"") for number in range(LIMITS.operations + 1)]
    for conditions, then in [([], too_many), ([Condition(b"")], [Put(b"k", b"")])]:
        with pytest.raises(OperationRefused):
            await atomic.transact(conditions, then)
    assert await atomic.count() == 0


async def test_what_changes_nothing_is_no_change(
    atomic: AtomicNamespace, autojump_clock: MockClock
) -> None:
    async with atomic.watch() as changes:
        await atomic.execute([Put(b"k", b"v"), Delete(b"x"), Expire(b"k", None), Expire(b"x", 5)])
        await atomic.compare_and_set(b"k", b"other", b"w")
        await atomic.put(b"k", b"w")
        assert told(await take(changes, 2)) == [(b"k", b"v"), (b"k", b"w")]


async def test_a_transaction_is_told_as_changes_of_each_key(
    atomic: AtomicNamespace, autojump_clock: MockClock
) -> None:
    async with atomic.watch() as changes:
        await atomic.transact((), [Put(b"a", b"1"), Put(b"b", b"1"), Put(b"a", b"2"), Delete(b"b")])
        seen = await take(changes, 4)
    assert told(seen) == [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)]
    async with atomic.watch(after=seen[1].position) as changes:
        assert await take(changes, 2) == seen[2:]


async def test_keys_go_with_their_lease(atomic: AtomicNamespace, autojump_clock: MockClock) -> None:
    lease = await atomic.grant_lease(2000)
    other = await atomic.grant_lease(60_000)
    assert lease != other
    async with atomic.watch() as changes:
        await atomic.execute(
            [
                Put(b"b", b"", lease=lease),
                Put(b"a", b"", lease=lease),
                Put(b"left", b"", lease=lease),
                Put(b"moved", b"", lease=lease),
                Put(b"early", b"", ttl_ms=500, lease=lease),
            ]
        )
        await atomic.execute([Put(b"left", b""), Put(b"moved", b"", lease=other)])
        await trio.sleep(1.5)
        assert await atomic.renew_lease(lease) is True
        await trio.sleep(1.5)
        assert await values(atomic, b"a", b"b", b"early") == [b"", b"", None]
        assert told((await take(changes, 8))[7:]) == [(b"early", None)]
        assert told(await take(changes, 2)) == [(b"a", None), (b"b", None)]
    assert await atomic.renew_lease(lease) is False
    assert await atomic.revoke_lease(lease) is False
    assert await atomic.revoke_lease(other) is True
    assert await values(atomic, b"left", b"moved") == [b"", None]
    (result,) = await atomic.execute([Put(b"k", b"", lease=lease)])
    assert isinstance(result, Refused)
    assert result.kind == "no_lease"


async def test_leases_have_limits(atomic: AtomicNamespace, autojump_clock: MockClock) -> None:
    for ttl_ms in (0, -1, 1 << 63):
        with pytest.raises(OperationRefused, match="time to live"):
            await atomic.grant_lease(ttl_ms)
    leases = [await atomic.grant_lease(1000) for _ in range(LIMITS.leases)]
    with pytest.raises(OperationRefused, match="leases, which is the limit"):
        await atomic.grant_lease(1000)
    await atomic.revoke_lease(leases[0])
    await atomic.grant_lease(1000)
