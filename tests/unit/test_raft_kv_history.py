"""What the key-value map remembers of its changes, against a list of all of them."""

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio440.errors import BadMessage
from trio440.raft.dedupe import Sessions
from trio440.raft.kv import (
    Change,
    Changes,
    Command,
    Compacted,
    CompareAndSet,
    Delete,
    Found,
    Get,
    KeyValueMap,
    KvLimits,
    Put,
    Refused,
    Result,
    Since,
    Transaction,
    decode_result,
    encode,
    prefix_end,
)
from trio440.raft.kv_history import CHANGE_BYTES, History
from trio440.raft.machine import Watchable

LIMITS = KvLimits(history_revisions=6, history_bytes=8 * (CHANGE_BYTES + 3), list_items=3)
KEYS = (b"a", b"ab", b"b", b"ba", b"c")

keys = st.sampled_from(KEYS)
values = st.binary(max_size=3)
writes = st.builds(Put, keys, values) | st.builds(Delete, keys)
commands: st.SearchStrategy[Command] = st.one_of(
    writes,
    st.builds(CompareAndSet, keys, st.none() | values, st.none() | values),
    st.builds(
        Transaction, then=st.lists(writes, max_size=4, unique_by=lambda op: op.key).map(tuple)
    ),
)
ranges = st.tuples(st.sampled_from([b"", b"a", b"b"]), st.sampled_from([None, b"b", b"c"]))


def ask(machine: KeyValueMap, query: Since) -> Result:
    return decode_result(machine.query(encode(query)))


def state(machine: KeyValueMap) -> dict[bytes, tuple[bytes, int, int, int]]:
    found = [machine.execute(Get(key)) for key in KEYS]
    items = [item for each in found if isinstance(each, Found) for item in each.items]
    return {i.key: (i.value, i.created, i.modified, i.version) for i in items}


def changes_between(
    before: dict[bytes, tuple[bytes, int, int, int]],
    after: dict[bytes, tuple[bytes, int, int, int]],
    revision: int,
) -> list[Change]:
    """What became of each key; within a revision the order is left open."""
    found = [
        Change(revision, key, item[0], item[1], item[3])
        for key, item in after.items()
        if item[2] == revision
    ]
    return found + [Change(revision, key, None) for key in before if key not in after]


def cost(changes: list[Change]) -> int:
    return sum(len(c.key) + len(c.value or b"") + CHANGE_BYTES for c in changes)


class Model:
    """All changes there ever were, and a naive idea of which are still known."""

    def __init__(self) -> None:
        self.changes: list[list[Change]] = []
        self.first = 1

    def add(self, changes: list[Change]) -> None:
        self.changes.append(changes)
        while (
            cost([c for group in self.changes[self.first - 1 :] for c in group])
            > LIMITS.history_bytes
            or len(self.changes) - self.first + 1 > LIMITS.history_revisions
        ):
            self.first += 1


@settings(max_examples=60)
@given(st.lists(commands, max_size=20), st.data())
def test_what_is_remembered_is_what_happened(history: list[Command], data: st.DataObject) -> None:
    machine, model = KeyValueMap(LIMITS), Model()
    for command in history:
        before, revision = state(machine), machine.revision
        machine.execute(command)
        assert machine.revision - revision in {0, 1}
        if machine.revision > revision:
            model.add(changes_between(before, state(machine), machine.revision))
    after = data.draw(st.integers(0, machine.revision + 2))
    start, end = data.draw(ranges)
    limit = data.draw(st.integers(1, 5))
    query = Since(after, start, end, limit)
    if after < model.first - 1:
        assert ask(machine, query) == Compacted(model.first - 1)
        return
    seen: list[Change] = []
    at = after
    while True:
        answer = ask(machine, Since(at, start, end, limit))
        assert isinstance(answer, Changes)
        assert answer.revision >= at
        assert all(at < change.revision <= answer.revision for change in answer.changes)
        # One revision may pass the limit; with those before it there was still room.
        rest = [c for c in answer.changes if c.revision != answer.changes[-1].revision]
        assert len(rest) < min(limit, LIMITS.list_items)
        seen += answer.changes
        if answer.revision == at:
            break
        at = answer.revision
    assert at == max(after, machine.revision)
    wanted = [
        change
        for group in model.changes[after:]
        for change in group
        if change.key >= start and (end is None or change.key < end)
    ]
    assert [c.revision for c in seen] == [c.revision for c in wanted]
    for revision, group in groupby(seen, key=lambda change: change.revision):
        assert sorted(group, key=lambda c: c.key) == sorted(
            (c for c in wanted if c.revision == revision), key=lambda c: c.key
        )


@given(st.lists(commands, max_size=15), st.lists(commands, max_size=15))
def test_the_history_is_in_snapshots(before: list[Command], after: list[Command]) -> None:
    machine, other = KeyValueMap(LIMITS), KeyValueMap(LIMITS)
    for command in before:
        machine.execute(command)
    data = machine.snapshot()()
    other.restore(data)
    assert other.snapshot()() == data
    for command in after:
        assert machine.execute(command) == other.execute(command)
    for revision in range(machine.revision + 1):
        assert ask(machine, Since(revision)) == ask(other, Since(revision))
    assert machine.snapshot()() == other.snapshot()()


@given(st.lists(commands, max_size=25), ranges)
def test_a_watch_tells_the_next_changes_once(
    history: list[Command], where: tuple[bytes, bytes | None]
) -> None:
    machine = KeyValueMap(LIMITS)
    watch = machine.watch(encode(Since(0, *where)))
    quiet = machine.watch(encode(Since(0, b"nothing", b"nothing")))
    at, seen = 0, list[Change]()
    for command in history:
        before = machine.revision
        machine.execute(command)
        assert quiet.poll() is None
        assert decode_result(quiet.progress()) == Changes(machine.revision, ())
        answer = watch.poll()
        if answer is None:
            assert watch.poll() is None
            progress = decode_result(watch.progress())
            assert progress == Changes(machine.revision, ())
            continue
        found = decode_result(answer)
        assert isinstance(found, Changes)
        assert {change.revision for change in found.changes} == {before + 1}
        assert found == ask(machine, Since(at, *where))
        seen += found.changes
        at = found.revision
        watch = machine.watch(encode(Since(at, *where)))
    assert len(seen) == len({(change.revision, change.key) for change in seen})


def test_a_watch_that_was_overtaken_says_how_far_the_history_reaches() -> None:
    machine = KeyValueMap(LIMITS)
    watch = machine.watch(encode(Since(0)))
    for number in range(20):
        machine.execute(Put(b"a", b"%d" % number))
    answer = watch.poll()
    assert answer is not None
    assert decode_result(answer) == Compacted(machine.revision - LIMITS.history_revisions)


def test_a_change_that_is_too_large_to_be_remembered_leaves_the_revision_known() -> None:
    machine = KeyValueMap(KvLimits(history_bytes=CHANGE_BYTES + 10))
    machine.execute(Put(b"a", b"small"))
    machine.execute(Transaction(then=(Put(b"a", bytes(20)), Put(b"b", b""))))
    assert ask(machine, Since(1)) == Compacted(2)
    assert ask(machine, Since(2)) == Changes(2, ())
    machine.execute(Delete(b"b"))
    assert ask(machine, Since(2)) == Changes(3, (Change(3, b"b", None),))


def test_answers_are_bounded_by_bytes_and_part_no_revision() -> None:
    machine = KeyValueMap(KvLimits(list_bytes=500))
    for number in range(5):
        machine.execute(Put(b"%d" % number, bytes(200)))
    machine.execute(Transaction(then=tuple(Put(b"%d" % n, bytes(200)) for n in range(5))))
    revisions, at = [], 0
    while at < machine.revision:
        answer = ask(machine, Since(at))
        assert isinstance(answer, Changes)
        revisions.append([change.revision for change in answer.changes])
        at = answer.revision
    assert revisions == [[1, 2], [3, 4], [5, 6, 6, 6, 6, 6]]


@pytest.mark.parametrize(
    "request_bytes",
    [b"", b"garbage", encode(Put(b"a", b"")), encode(Since(-1)), encode(Since(0, limit=0))],
)
def test_a_watch_of_nonsense_is_answered_at_once(request_bytes: bytes) -> None:
    machine = KeyValueMap()
    machine.execute(Put(b"a", b""))
    answer = machine.watch(request_bytes).poll()
    assert answer is not None
    assert isinstance(decode_result(answer), Refused)


def test_sessions_pass_a_watch_on() -> None:
    machine = Sessions(KeyValueMap())
    assert isinstance(machine, Watchable)
    watch = machine.watch(encode(Since(0)))
    assert watch.poll() is None
    machine.machine.apply(1, encode(Put(b"a", b"")))
    assert watch.poll() == encode(Changes(1, (Change(1, b"a", b"", 1, 1),)))


def test_a_history_with_gaps_is_refused() -> None:
    history = History(most_revisions=9, most_bytes=10_000)
    history.restore(3, [Change(2, b"a", b""), Change(3, b"a", None)])
    for revision, numbers in ((3, [1, 3]), (3, [1, 2]), (0, [0]), (1, [2]), (3, [3, 2])):
        with pytest.raises(BadMessage, match="gaps"):
            history.restore(revision, [Change(number, b"a", b"") for number in numbers])
        assert history.groups() == ((Change(2, b"a", b""),), (Change(3, b"a", None),))


def test_a_prefix_is_a_range() -> None:
    machine = KeyValueMap()
    for key in (b"a", b"b1", b"b2", b"c"):
        machine.execute(Put(key, key))
    answer = ask(machine, Since(0, b"b", prefix_end(b"b")))
    assert isinstance(answer, Changes)
    assert [change.key for change in answer.changes] == [b"b1", b"b2"]
