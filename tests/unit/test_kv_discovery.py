"""What servers of the store say of themselves, and what is made of the answers of several."""

import json

import pytest

from trio440.errors import InvalidParameter
from trio440.kv.discovery import (
    Offer,
    Offered,
    StoreDescription,
    join_offers,
    read_store_description,
)

PEERS = (("n1", "10.0.0.1", 7000), ("n2", "::1", 1))


def test_offers_of_one_name_have_the_addresses_of_all_who_make_them() -> None:
    one = Offered((Offer("a", "eventual", ("x:1", "x:2")), Offer("b", "memory", ("x:3",))))
    two = Offered((Offer("a", "eventual", ("y:1", "x:1")), Offer("b", "linearizable", ("y:2",))))
    assert join_offers([one, two]) == {
        "a": Offer("a", "eventual", ("x:1", "x:2", "y:1")),
        "b": Offer("b", "memory", ("x:3",)),
    }
    assert join_offers([]) == {}


@pytest.mark.parametrize("eventual", [None, '{"store":1}'])
@pytest.mark.parametrize("peers", [(), PEERS])
def test_a_description_is_read_as_it_was_written(
    eventual: str | None, peers: tuple[tuple[str, str, int], ...]
) -> None:
    description = StoreDescription(eventual, peers)
    assert read_store_description(str(description)) == description


def test_a_server_of_the_eventual_engine_alone_may_be_joined() -> None:
    text = '{"store":1,"address":"10.0.0.1:7000"}'
    assert read_store_description(text) == StoreDescription(text)


def changed(**fields: object) -> str:
    return json.dumps({"version": 1, "eventual": None, "peers": PEERS, **fields})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[]", "7", "null", '"x"', "{}", "[" * 100_000),
        changed(version=2),
        changed(eventual=7),
        changed(peers=7),
        changed(peers=[["n1", "10.0.0.1"]]),
        changed(peers=[["n1", "10.0.0.1", "7000"]]),
        changed(peers=[["n1", "10.0.0.1", 0]]),
        changed(peers=[[1, "10.0.0.1", 7000]]),
        changed(peers=[["n1", "", 7000]]),
    ],
)
def test_what_is_no_description_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidParameter, match="has printed") as caught:
        read_store_description(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
