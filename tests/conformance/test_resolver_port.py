"""The contract of :meth:`trio440.core.host.Net.resolve`.

The unknown names here are refused by every resolver without asking anybody on a network.
"""

from typing import Literal

import pytest
import trio
from trio.testing import assert_checkpoints

from trio440.core.host import Host
from trio440.errors import InvalidParameter, ResolutionFailed

KINDS = pytest.mark.parametrize("kind", ["udp", "tcp"])
Kind = Literal["udp", "tcp"]


@KINDS
async def test_an_ipv4_literal_is_its_own_address(ports: Host, kind: Kind) -> None:
    assert await ports.net.resolve("127.0.0.1", 80, kind=kind) == [("127.0.0.1", 80)]


@KINDS
async def test_an_ipv6_literal_has_flow_and_scope(ports: Host, kind: Kind) -> None:
    assert await ports.net.resolve("::1", 80, kind=kind) == [("::1", 80, 0, 0)]


@KINDS
async def test_localhost_has_ipv4_before_ipv6(ports: Host, kind: Kind) -> None:
    found = await ports.net.resolve("localhost", 80, kind=kind)
    assert found[0] == ("127.0.0.1", 80)
    lengths = [len(address) for address in found]
    assert lengths == sorted(lengths)
    assert len(set(found)) == len(found)


@KINDS
async def test_the_empty_host_is_this_machine_or_all_its_interfaces(
    ports: Host, kind: Kind
) -> None:
    here = await ports.net.resolve("", 80, kind=kind)
    everywhere = await ports.net.resolve("", 80, kind=kind, passive=True)
    assert here[0] == ("127.0.0.1", 80)
    assert everywhere[0] == ("0.0.0.0", 80)  # noqa: S104 - the expectation


@pytest.mark.parametrize("name", ["no such host", "no..such", "x" * 64, "a\0b", "::1%nowhere"])
async def test_a_name_without_an_address_says_so(ports: Host, name: str) -> None:
    with pytest.raises(ResolutionFailed, match="is an unknown host") as caught:
        await ports.net.resolve(name, 80, kind="udp")
    assert (caught.value.host, caught.value.port) == (name, 80)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("port", [0, 65_535])
async def test_the_first_and_the_last_port_are_ports(ports: Host, port: int) -> None:
    assert await ports.net.resolve("127.0.0.1", port, kind="tcp") == [("127.0.0.1", port)]


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_a_port_out_of_range_is_the_callers_fault(ports: Host, port: int) -> None:
    with pytest.raises(InvalidParameter, match="port must be 0 to 65535") as caught:
        await ports.net.resolve("127.0.0.1", port, kind="udp")
    assert caught.value.value == port


async def test_resolving_is_a_checkpoint(ports: Host) -> None:
    with assert_checkpoints():
        await ports.net.resolve("127.0.0.1", 80, kind="udp")


async def test_resolving_can_be_cancelled(ports: Host) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await ports.net.resolve("127.0.0.1", 80, kind="udp")
    assert scope.cancelled_caught
