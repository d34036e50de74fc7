"""Operations and results as bytes."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_kv_table import COMMANDS
from trio440.errors import BadMessage, InvalidParameter
from trio440.kv import (
    CompareAndSet,
    Entry,
    Get,
    Increment,
    Page,
    Put,
    Refused,
    Transaction,
)
from trio440.kv.operations import Changed, Committed, Counted, Found, Siblings
from trio440.kv.packing import (
    MESSAGES,
    decode_answer,
    decode_batch,
    encode_answer,
    encode_batch,
    pack,
    unpack_operation,
    unpack_result,
)

ENTRIES = st.builds(
    Entry, st.binary(), st.binary(), st.integers(0, 1 << 62), st.none() | st.integers(1, 1 << 62)
)
SIMPLE_RESULTS = st.one_of(
    st.builds(Found, st.none() | ENTRIES),
    st.builds(Changed, st.integers(0, 9), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(Page, st.lists(ENTRIES, max_size=3).map(tuple), st.booleans()),
    st.builds(Counted, st.integers(0, 9)),
    st.builds(Refused, st.text(), st.sampled_from(["limit", "no_lease", "unsupported"])),
)
RESULTS = st.one_of(
    SIMPLE_RESULTS,
    st.builds(
        Committed, st.integers(0, 9), st.booleans(), st.lists(SIMPLE_RESULTS, max_size=3).map(tuple)
    ),
    st.builds(Siblings, st.lists(ENTRIES, max_size=3).map(tuple), st.binary()),
)


@given(st.integers(0, 1 << 62), st.lists(COMMANDS, max_size=5))
def test_a_batch_is_what_was_packed(now_ms: int, commands: list[Any]) -> None:
    operations = [command for command in commands if not isinstance(command, int | str)]
    data = encode_batch(now_ms, map(pack, operations))
    assert decode_batch(data) == (now_ms, operations)


@given(st.lists(RESULTS, max_size=5))
def test_an_answer_is_what_was_packed(results: list[Any]) -> None:
    assert decode_answer(encode_answer(map(pack, results))) == results
    assert [unpack_result(pack(result)) for result in results] == results


def test_it_takes_little_room() -> None:
    assert len(pack(Put(b"0123456789", b"0123456789"))) == 29
    assert len(pack(Get(b"0123456789"))) == 14


@given(st.binary(max_size=30))
def test_anything_is_a_batch_and_an_answer_or_none(data: bytes) -> None:
    for decode in (decode_batch, decode_answer):
        with suppress(BadMessage):
            decode(data)


def test_what_is_wrong_with_one_operation_is_its_own_affair() -> None:
    wrong: list[bytes] = [
        b"\x91\x63",  # of a code that there is not
        b"\x92\x20\xc0",  # a result
        b"\x92\x01\xa1k",  # text for bytes
        b"\x91\x01",  # too little
        b"\x93\x01\xc4\x01k\xc4\x01k",  # too much
        b"\xc0",
        pack(Transaction(then=(Transaction(),))),  # type: ignore[arg-type]
        pack(Transaction(then=(CompareAndSet(b"k", None, b""),))),  # type: ignore[arg-type]
    ]
    _, operations = decode_batch(encode_batch(5, [*wrong, pack(Get(b"k"))]))
    for data, operation in zip(wrong, operations, strict=False):
        assert isinstance(operation, Refused)
        assert operation.kind == "malformed"
        assert unpack_operation(data) == operation
    assert operations[-1] == Get(b"k")


def test_what_is_no_result_is_not_read() -> None:
    wrong = [
        pack(Get(b"k")),
        b"\x92\x21\xcf" + b"\xff" * 8,  # a version outside int64
        b"\x93\x21\xcf" + b"\xff" * 8 + b"\xc2",
        b"\x92\x20\x93\xc4\x01k\xc4\x01v\xc0",  # an entry without a version
        b"\x93\x22\xdd\xff\xff\xff\xff\xc2",  # entries that did not come
        b"",
    ]
    for data in wrong:
        with pytest.raises(BadMessage, match="this is no result"):
            unpack_result(data)
        with pytest.raises(BadMessage, match="this is no answer"):
            decode_answer(b"\x91" + data)


OPERATIONS = """
Get Put Delete Expire List Count Increment Append CompareAndSet Transaction
GrantLease RenewLease RevokeLease PutSibling GetSiblings
"""
RESULT_NAMES = "Found Changed Page Counted Committed Refused Siblings"


def test_a_code_means_its_class_for_ever() -> None:
    codes = {cls.__name__: cls.__struct_config__.tag for cls in MESSAGES}
    assert codes == dict(zip(OPERATIONS.split(), range(1, 16), strict=True)) | dict(
        zip(RESULT_NAMES.split(), range(32, 39), strict=True)
    )


def test_what_has_no_wire_form_is_not_packed() -> None:
    nothing: Any = object()
    anything: list[Any] = ["junk", None, Increment(b"k", 1 << 70), Put(b"k", nothing)]
    for message in anything:
        with pytest.raises(InvalidParameter, match="an operation or a result"):
            pack(message)
