"""The table as the state machine of a Raft log."""

import pytest

from trio440.errors import BadMessage
from trio440.kv import Count, Get, List, Put, Refused, TableLimits, TableMachine
from trio440.kv.operations import Changed, Counted, Found, Operation, Page, Result
from trio440.kv.packing import decode_answer, encode_batch, pack
from trio440.kv.table_machine import ANSWER_BYTES, encode_question, encode_tick
from trio440.raft import Queryable, Watchable, dedupe
from trio440.raft import kv as raft_kv


class Log:
    """Feeds machines with the same entries, and asks the first."""

    def __init__(self, *machines: TableMachine) -> None:
        self.machines = machines
        self.index = self.number = 0

    def append(self, command: bytes) -> bytes:
        self.index += 1
        (reply,) = {machine.apply(self.index, command) for machine in self.machines}
        return reply

    def open(self) -> None:
        reply = dedupe.decode_reply(self.append(dedupe.encode(dedupe.Open())))
        assert isinstance(reply, dedupe.Opened)
        self.session = reply.session

    def do(self, now_ms: int, *operations: Operation, again: bool = False) -> list[Result]:
        self.number += not again
        batch = encode_batch(now_ms, map(pack, operations))
        request = dedupe.Do(self.session, self.number, self.number, batch)
        reply = dedupe.decode_reply(self.append(dedupe.encode(request)))
        assert isinstance(reply, dedupe.Done)
        return decode_answer(reply.result)

    def ask(self, now_ms: int, *operations: Operation) -> list[Result]:
        question = encode_question(encode_batch(now_ms, map(pack, operations)))
        return decode_answer(self.machines[0].query(question))


def test_it_is_a_machine_that_answers_and_is_watched() -> None:
    machine: object = TableMachine()
    assert isinstance(machine, Queryable)
    assert isinstance(machine, Watchable)


def test_all_machines_agree_and_a_snapshot_stands_for_the_log() -> None:
    one, two = TableMachine(), TableMachine()
    log = Log(one, two)
    log.open()
    log.do(1000, Put(b"k", b"v", ttl_ms=500), Put(b"stays", b""))
    log.append(encode_tick(0, 1000))
    three = TableMachine()
    three.restore(one.snapshot()())
    log.machines = (one, two, three)
    assert log.do(1000, Put(b"k", b"w", ttl_ms=500), again=True) == [
        Changed(1, existed=False),
        Changed(2, existed=False),
    ], "what comes again is answered as the first time"
    log.append(encode_tick(500, 1500))
    assert log.ask(0, Get(b"k"), Count()) == [Found(None), Counted(1)]
    assert one.snapshot()() == two.snapshot()() == three.snapshot()()


def ttl_of(result: Result) -> int | None:
    assert isinstance(result, Found)
    assert result.entry is not None
    return result.entry.ttl_ms


def test_time_is_what_ticks_say_and_no_time_of_day() -> None:
    log = Log(TableMachine())
    log.open()
    hour = 3_600_000
    log.do(9 * hour, Put(b"k", b"", ttl_ms=100))
    table = log.machines[0].table
    assert table.has_new_ends
    log.append(encode_tick(5000, 2 * hour))
    assert (table.has_new_ends, table.next_deadline) == (False, 5100)
    log.append(encode_tick(4000, 3 * hour))
    log.append(encode_tick(5099, hour))
    assert log.do(99 * hour, Count()) == [Counted(1)]
    log.append(encode_tick(5100, hour))
    assert log.do(0, Count()) == [Counted(0)]
    log.append(b"\x01" + b"\xff" * 16)
    assert table.now_ms == 1 << 62
    assert log.do(0, Count()) == [Counted(0)]


def test_what_is_left_is_shown_by_the_time_of_day() -> None:
    log = Log(TableMachine())
    log.open()
    (_, found) = log.do(7_000_000, Put(b"k", b"", ttl_ms=1000), Get(b"k"))
    assert ttl_of(found) == 1000
    log.append(encode_tick(50, 8_000_000))
    for wall_ms, left in [(8_000_000, 1000), (8_000_300, 700), (7_999_000, 1000), (1 << 62, 1)]:
        assert ttl_of(log.ask(wall_ms, Get(b"k"))[0]) == left
        assert ttl_of(log.do(wall_ms, Get(b"k"))[0]) == left
    three = TableMachine()
    three.restore(log.machines[0].snapshot()())
    assert ttl_of(Log(three).ask(8_000_300, Get(b"k"))[0]) == 700


def test_a_question_changes_nothing() -> None:
    log = Log(TableMachine())
    log.open()
    log.do(1000, Put(b"k", b"", ttl_ms=100))
    log.append(encode_tick(0, 1000))
    before = log.machines[0].snapshot()()
    (found, refused) = log.ask(99_999, Get(b"k"), Put(b"x", b""))
    assert ttl_of(found) == 1
    assert isinstance(refused, Refused)
    assert refused.kind == "unsupported"
    assert log.machines[0].snapshot()() == before


def test_an_answer_stops_where_it_has_become_long() -> None:
    log = Log(TableMachine())
    log.open()
    value = bytes(400_000)
    log.do(0, Put(b"k", value))
    gets = [Get(b"k")] * 10
    results = log.do(0, *gets, Put(b"later", b""))
    assert len(results) == ANSWER_BYTES // 400_000 + 1 == 3
    assert log.ask(0, Count(b"later")) == [Counted(0)], "it was not carried out"
    assert len(log.ask(0, *gets)) == 3
    assert len(log.ask(0, List())) == 1


def test_whatever_it_is_given_has_an_answer() -> None:
    machine = TableMachine()
    for index, junk in enumerate([b"", b"\x01", b"\x02", b"junk", b"\x92\x00\x00" * 9], 1):
        machine.apply(index, junk)
        machine.query(junk)
        machine.query(b"\x02" + junk)
        assert machine.watch(junk).poll() is not None
        with pytest.raises(BadMessage):
            machine.restore(junk)
    log = Log(machine)
    log.index = 10
    log.open()
    request = dedupe.encode(dedupe.Do(log.session, 1, 1, b"junk"))
    assert dedupe.decode_reply(log.append(request)) == dedupe.Done(b"\x90")
    assert machine.revision == 0


def test_watches_speak_as_those_of_raft_do() -> None:
    machine = TableMachine(TableLimits(history_changes=4))
    log = Log(machine)
    log.open()
    where = raft_kv.decode_result(machine.query(raft_kv.encode(raft_kv.List())))
    assert where == raft_kv.Found(0, ())
    watch = machine.watch(raft_kv.encode(raft_kv.Since(0, b"a", b"b")))
    assert watch.poll() is None
    log.do(0, Put(b"b", b""))
    assert watch.poll() is None
    log.do(0, Put(b"a", b"1"), Put(b"c", b""))
    answer = watch.poll()
    assert answer is not None
    assert raft_kv.decode_result(answer) == raft_kv.Changes(3, (raft_kv.Change(2, b"a", b"1"),))
    log.do(0, *[Put(b"a", b"")] * 3)
    compacted = raft_kv.decode_result(machine.query(raft_kv.encode(raft_kv.Since(1))))
    assert compacted == raft_kv.Compacted(2)
    refused = raft_kv.decode_result(machine.query(raft_kv.encode(raft_kv.Since(-1))))
    assert isinstance(refused, raft_kv.Refused)
    page = log.ask(0, List())[0]
    assert isinstance(page, Page)
