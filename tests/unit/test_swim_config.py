"""The ranges of a member's parameters."""

from typing import Any

import pytest

from trio440.actors.cluster.config import Config
from trio440.errors import InvalidParameter


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"probe_interval_us": 0}, "probe_interval_us must be a whole number from 1 to"),
        ({"probe_interval_us": 1.5}, "probe_interval_us must be a whole number"),
        ({"indirect_probes": True}, "indirect_probes must be a whole number from 0 to 64"),
        ({"indirect_probes": -1}, "indirect_probes must be a whole number from 0 to 64"),
        ({"max_datagram_bytes": 1279}, "max_datagram_bytes must be a whole number from 1280"),
        ({"max_datagram_bytes": 65_500}, "to 65499, not 65500"),
        ({"max_members": 0}, "max_members must be a whole number from 1"),
        (
            {"probe_timeout_us": 500_001},
            "probe_timeout_us must be at most half of probe_interval_us, 1000000, not 500001",
        ),
        (
            {"reconnect_interval_us": 999_999},
            "reconnect_interval_us must be at least join_interval_us, 1000000, not 999999",
        ),
    ],
)
def test_what_is_out_of_range_is_named(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidParameter, match=line):
        Config(**changes)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    Config(probe_interval_us=2, probe_timeout_us=1, indirect_probes=0, max_seeds=0, max_health=0)
