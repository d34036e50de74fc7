"""Addresses of simulated machines."""

from itertools import islice

import pytest

from trio440.sim.addressing import (
    address_of,
    free_ports,
    is_free,
    next_free_port,
    sorted_addresses,
    source_of,
    wildcard_of,
)

OWN = ("fd00::1", "10.0.0.1", "10.0.0.2", "127.0.0.1", "::1")


def test_each_family_has_its_shape_and_its_wildcard() -> None:
    assert address_of("10.0.0.1", 5) == ("10.0.0.1", 5)
    assert address_of("::1", 5) == ("::1", 5, 0, 0)
    assert wildcard_of(("10.0.0.1", 5)) == "0.0.0.0"  # noqa: S104 - the expectation
    assert wildcard_of(("fd00::1", 5, 0, 0)) == "::"


def test_ipv4_comes_first_and_the_order_is_kept_otherwise() -> None:
    found = sorted_addresses(["::2", "10.0.0.2", "::1", "10.0.0.1"], 7)
    assert [address[0] for address in found] == ["10.0.0.2", "10.0.0.1", "::2", "::1"]


@pytest.mark.parametrize("host", ["name", "10.0.0", "256.0.0.1", ""])
def test_what_is_not_numeric_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        sorted_addresses(["10.0.0.1", host], 7)


@pytest.mark.parametrize(
    ("local", "destination", "shown"),
    [
        ("10.0.0.2", "10.9.9.9", "10.0.0.2"),
        ("0.0.0.0", "10.9.9.9", "10.0.0.1"),  # noqa: S104 - the case
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),  # noqa: S104 - the case
        ("::", "fd00::9", "fd00::1"),
        ("::", "::1", "::1"),
    ],
)
def test_a_wildcard_shows_an_own_address(local: str, destination: str, shown: str) -> None:
    assert source_of(OWN, address_of(local, 5), address_of(destination, 6)) == address_of(shown, 5)


@pytest.mark.parametrize(
    ("wanted", "bound", "free"),
    [
        ("10.0.0.1", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "0.0.0.0", False),  # noqa: S104 - the case
        ("0.0.0.0", "10.0.0.1", False),  # noqa: S104 - the case
        ("0.0.0.0", "::1", True),  # noqa: S104 - the case
        ("::", "fd00::1", False),
    ],
)
def test_what_is_bound_stands_in_the_way(wanted: str, bound: str, free: bool) -> None:
    assert is_free(address_of(wanted, 5), [(bound, 5)]) is free
    assert is_free(address_of(wanted, 5), [(bound, 6)])


def test_ports_go_round_and_taken_ones_are_passed_over() -> None:
    ports = free_ports()
    assert next_free_port(ports, {49_152, 49_153}) == 49_154
    assert next_free_port(ports, set()) == 49_155
    every = set(range(49_152, 65_536))
    assert next_free_port(ports, every - {49_153}) == 49_153
    assert next_free_port(ports, every) is None
    assert list(islice(free_ports(), 16_385))[-1] == 49_152
