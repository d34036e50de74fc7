"""The wire form of LSP, byte for byte, for either side of a connection.

The other side of each connection is a plain socket that says what Go programs say.
"""

import pytest

from tests.support.lsp_wire import (
    ISN,
    Role,
    checksum_by_words,
    data,
    open_rig,
    wire,
)
from trio440 import lsp

pytestmark = pytest.mark.parametrize("role", ["server", "client"])

WIDE = lsp.Params(epoch_limit=5, epoch_millis=2000, window_size=5, max_unacked_messages=5)


# Numbers, acknowledgements and payloads


async def test_the_first_data_of_each_direction_is_isn_plus_1(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"hi")
        sent = wire(
            1, rig.conn_id, ISN + 1, 2, checksum_by_words(rig.conn_id, 18, 2, b"hi"), '"aGk="'
        )
        assert await rig.hear() == [sent]
        assert await rig.say(rig.data(1, b"ho")) == [rig.ack(1)]
        assert await rig.readable() == [b"ho"]


async def test_numbers_go_up_by_one_in_each_direction_apart(role: Role) -> None:
    async with open_rig(role, WIDE) as rig:
        for number in (1, 2, 3):
            rig.ours.write(b"%d" % number)
        assert await rig.hear() == [rig.data(n, b"%d" % n) for n in (1, 2, 3)]
        assert await rig.say(rig.data(1, b"x")) == [rig.ack(1)]
        rig.ours.write(b"4")
        assert await rig.hear() == [rig.data(4, b"4")]


async def test_an_empty_payload_is_sent_as_an_empty_string(role: Role) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"")
        checksum = checksum_by_words(rig.conn_id, ISN + 1, 0, b"")
        assert await rig.hear() == [wire(1, rig.conn_id, ISN + 1, 0, checksum, '""')]


@pytest.mark.parametrize("payload", ['""', "null"])
async def test_an_empty_payload_may_come_as_a_string_or_null(role: Role, payload: str) -> None:
    async with open_rig(role) as rig:
        checksum = checksum_by_words(rig.conn_id, ISN + 1, 0, b"")
        sent = wire(1, rig.conn_id, ISN + 1, 0, checksum, payload)
        assert await rig.say(sent) == [rig.ack(1)]
        assert await rig.readable() == [b""]


@pytest.mark.parametrize("payload", [b"\xff" * 65, b"\0" * 1000, bytes(range(256)), b"odd"])
async def test_checksums_carry_as_the_vectors_do(role: Role, payload: bytes) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(payload)
        assert await rig.hear() == [rig.data(1, payload)]
        assert await rig.say(rig.data(1, payload)) == [rig.ack(1)]
        assert await rig.readable() == [payload]


async def test_the_largest_payload_fits_1472_bytes_and_one_more_is_refused(role: Role) -> None:
    async with open_rig(role) as rig:
        with pytest.raises(lsp.PayloadTooLarge) as caught:
            rig.ours.write(bytes(1500))
        limit = caught.value.limit
        with pytest.raises(lsp.PayloadTooLarge):
            rig.ours.write(bytes(limit + 1))
        rig.ours.write(bytes(limit))
        [sent] = await rig.hear()
        assert sent == rig.data(1, bytes(limit))
        assert 1472 - 4 < len(sent) <= 1472
        assert limit >= 1000


# What a decoder takes, as Go's does

PLAIN = '{"Type":1,"ConnID":<id>,"SeqNum":18,"Size":2,"Checksum":<sum>,"Payload":"aGk="}'
REVERSED = '{"Payload":"aGk=","Checksum":<sum>,"Size":2,"SeqNum":18,"ConnID":<id>,"Type":1}'
VARIANTS = {
    "as Go writes it": PLAIN,
    "keys in lower case": PLAIN.lower().replace("agk=", "aGk="),
    "keys in upper case": PLAIN.upper().replace("AGK=", "aGk="),
    "keys in any order": REVERSED,
    "unknown keys": PLAIN.replace("}", ',"Y":null}').replace('"ConnID"', '"X":{"a":[{}]},"ConnID"'),
    "white space": "\t\r\n " + PLAIN.replace(":", " :\n").replace(",", "\t,  ") + "\r\n",
    "padded with blanks": PLAIN + " " * 700,
    "the last of two equal keys": PLAIN.replace('{"Type"', '{"seqnum":99,"Type":2,"Type"'),
    "an escaped key": PLAIN.replace("Type", "\\u0054ype"),
    "an escaped payload": PLAIN.replace("aGk=", "\\u0061Gk="),
    "a payload as an array": PLAIN.replace('"aGk="', "[104,105]"),
    "base64 with a line break": PLAIN.replace("aGk=", "aG\\nk="),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
async def test_data_is_taken_in_every_form_that_go_takes(role: Role, variant: str) -> None:
    async with open_rig(role) as rig:
        checksum = checksum_by_words(rig.conn_id, ISN + 1, 2, b"hi")
        for name, value in {"<id>": rig.conn_id, "<sum>": checksum}.items():
            variant = variant.replace(name, str(value)).replace(name.upper(), str(value))
        assert await rig.say(variant) == [rig.ack(1)]
        assert await rig.readable() == [b"hi"]


ACK_VARIANTS = {
    "no more than it needs": '{"Type":2,"ConnID":<id>,"SeqNum":18}',
    "another case": '{"type":2,"connid":<id>,"SEQNUM":18}',
    "blanks and an unknown key": ' {"Type":2,"ConnID":<id>,"SeqNum":18,"Extra":[1]}  ',
    "with a checksum that means nothing": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Checksum":1}',
    "with a payload": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Size":5,"Payload":"aGk="}',
    "cumulative": '{"Type":3,"ConnID":<id>,"SeqNum":18}',
}


@pytest.mark.parametrize("variant", ACK_VARIANTS.values(), ids=ACK_VARIANTS)
async def test_an_ack_is_taken_in_every_form_that_go_takes(role: Role, variant: str) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        assert await rig.hear() == [rig.data(1, b"1")]
        assert await rig.say(variant.replace("<id>", str(rig.conn_id))) == [rig.data(2, b"2")]


GARBAGE = {
    "nothing": "",
    "text": "hello",
    "null": "null",
    "a list": "[]",
    "a number": "17",
    "a string": '"Type"',
    "no end": '{"Type":2,"ConnID":<id>,"SeqNum":18',
    "two objects": '{"Type":2,"ConnID":<id>,"SeqNum":18}{}',
    "text behind": '{"Type":2,"ConnID":<id>,"SeqNum":18} x',
    "a float": '{"Type":2.0,"ConnID":<id>,"SeqNum":18}',
    "an exponent": '{"Type":2,"ConnID":<id>,"SeqNum":1e1}',
    "a number in quotes": '{"Type":2,"ConnID":<id>,"SeqNum":"18"}',
    "a checksum beyond 16 bits": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Checksum":65536}',
    "a checksum beyond 16 bits in Go's form": wire(2, 0, 18, 0, 65536, "null").replace(
        '"ConnID":0', '"ConnID":<id>'
    ),
    "a negative checksum": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Checksum":-1}',
    "a number beyond 64 bits": '{"Type":2,"ConnID":<id>,"SeqNum":9223372036854775808}',
    "a huge number": '{"Type":2,"ConnID":<id>,"SeqNum":' + "9" * 1500 + "}",
    "bad base64": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Payload":"aGk"}',
    "bad base64 letters": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Payload":"a*k="}',
    "an unknown type": '{"Type":4,"ConnID":<id>,"SeqNum":18}',
    "a negative type": '{"Type":-1,"ConnID":<id>,"SeqNum":18}',
    "a negative size": '{"Type":2,"ConnID":<id>,"SeqNum":18,"Size":-1}',
    "a negative number": '{"Type":2,"ConnID":<id>,"SeqNum":-18}',
    "infinity": '{"Type":2,"ConnID":<id>,"SeqNum":Infinity}',
    "deep nesting": '{"Type":2,"ConnID":<id>,"SeqNum":18,"X":' + "[" * 900 + "]" * 900 + "}",
    "unfinished nesting": "[" * 2000,
    "2001 bytes": '{"Type":2,"ConnID":<id>,"SeqNum":18}' + " " * 2000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_neither_answered_nor_believed(role: Role, garbage: str) -> None:
    async with open_rig(role) as rig:
        rig.ours.write(b"1")
        rig.ours.write(b"2")
        assert await rig.hear() == [rig.data(1, b"1")]
        assert await rig.say(garbage.replace("<id>", str(rig.conn_id))) == []
        assert await rig.say(rig.ack(1)) == [rig.data(2, b"2")]
        assert await rig.say(rig.data(1, b"still here")) == [rig.ack(1)]


@pytest.mark.parametrize("raw", [b"\xff\xfe{}", b"\x00" * 100, bytes(range(256))])
async def test_binary_garbage_is_neither_answered_nor_believed(role: Role, raw: bytes) -> None:
    async with open_rig(role) as rig:
        assert await rig.say(raw) == []
        assert await rig.say(rig.data(1, b"still here")) == [rig.ack(1)]


async def test_2000_bytes_are_a_datagram_and_2001_are_not(role: Role) -> None:
    async with open_rig(role) as rig:
        whole = rig.data(1, b"x").ljust(2000)
        assert await rig.say(whole + " ") == []
        assert await rig.say(whole) == [rig.ack(1)]


# Payloads that were harmed on the way


async def test_a_payload_longer_than_its_size_is_cut_and_then_checked(role: Role) -> None:
    async with open_rig(role, WIDE) as rig:
        checksum = checksum_by_words(rig.conn_id, ISN + 1, 2, b"hi")
        longer = data(rig.conn_id, ISN + 1, b"hi and more", size=2, checksum=checksum)
        assert await rig.say(longer) == [rig.ack(1)]
        checksum = checksum_by_words(rig.conn_id, ISN + 2, 2, b"hi and more")
        of_the_whole = data(rig.conn_id, ISN + 2, b"hi and more", size=2, checksum=checksum)
        assert await rig.say(of_the_whole) == []
        assert await rig.readable() == [b"hi"]


async def test_a_payload_shorter_than_its_size_never_arrived(role: Role) -> None:
    async with open_rig(role) as rig:
        short = data(rig.conn_id, ISN + 1, b"hi", size=3)
        assert await rig.say(short) == []
        assert await rig.say(wire(1, rig.conn_id, ISN + 1, 5, 0, "null")) == []
        assert await rig.say(wire(1, rig.conn_id, ISN + 1, 2**63 - 1, 0, '"aGk="')) == []
        assert await rig.readable() == []
        assert await rig.say(rig.data(1, b"hi")) == [rig.ack(1)]


async def test_a_corrupted_payload_never_arrived(role: Role) -> None:
    async with open_rig(role) as rig:
        checksum = checksum_by_words(rig.conn_id, ISN + 1, 2, b"hi")
        assert await rig.say(data(rig.conn_id, ISN + 1, b"ho", checksum=checksum)) == []
        assert await rig.say(data(rig.conn_id, ISN + 1, b"hi", checksum=checksum ^ 1)) == []
        assert await rig.readable() == []
        assert await rig.say(rig.data(1, b"hi")) == [rig.ack(1)]
        assert await rig.readable() == [b"hi"]


async def test_a_negative_size_is_refused_before_any_slicing(role: Role) -> None:
    async with open_rig(role) as rig:
        for size in (-1, -2, -(2**63)):
            checksum = checksum_by_words(rig.conn_id, ISN + 1, size & 0xFFFFFFFF, b"h")
            assert (
                await rig.say(data(rig.conn_id, ISN + 1, b"hi", size=size, checksum=checksum)) == []
            )
        assert await rig.readable() == []
