"""Who has to give up memory, and how much is held."""

from trio440.rpc.holding import SMALL_BYTES, Holdings

BIG = SMALL_BYTES + 1


def test_who_holds_most_goes_until_all_fits() -> None:
    holdings = Holdings[str](4 * BIG)
    assert holdings.hold("a", BIG) is None
    assert holdings.hold("b", 2 * BIG) is None
    assert holdings.hold("c", BIG) is None
    assert holdings.hold("c", BIG + 1) == "b"
    holdings.drop("b")
    holdings.drop("b")
    assert holdings.hold("c", BIG + 1) is None


def test_who_grows_most_goes_itself() -> None:
    holdings = Holdings[str](4 * BIG)
    assert holdings.hold("a", 2 * BIG) is None
    assert holdings.hold("b", 3 * BIG) == "b"


def test_a_little_counts_for_nothing() -> None:
    holdings = Holdings[int](BIG)
    assert all(holdings.hold(number, SMALL_BYTES) is None for number in range(100))
    assert holdings.hold(1, BIG) is None
    assert holdings.hold(1, 0) is None
    assert holdings.hold(2, BIG) is None
