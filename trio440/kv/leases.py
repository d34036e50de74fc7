"""Leases: keys that live as long as somebody renews what they hang on. Pure.

What a lease ends at is kept beside the deadlines of keys; here is which key hangs on which lease.
"""

from typing import final

import attrs

__all__ = ["Lease", "LeaseBook"]


@attrs.define
class Lease:
    """A lease that goes on."""

    ttl_ms: int
    keys: set[bytes] = attrs.Factory(set)


@final
class LeaseBook:
    """The leases of a table, and the keys that hang on them, each on one."""

    def __init__(self) -> None:
        """Start empty."""
        self.leases: dict[int, Lease] = {}
        """By number; to be looked at only."""
        self.lease_of: dict[bytes, int] = {}
        """By key; likewise."""
        self.last = 0
        """The greatest number that was ever given."""

    def grant(self, ttl_ms: int) -> int:
        """Begin a lease and return its number."""
        self.last += 1
        self.leases[self.last] = Lease(ttl_ms)
        return self.last

    def bind(self, key: bytes, lease: int) -> None:
        """Let a key, which hangs on none, hang on a lease that is there."""
        self.leases[lease].keys.add(key)
        self.lease_of[key] = lease

    def unbind(self, key: bytes) -> None:
        """Let a key hang on none, if it does on one."""
        lease = self.lease_of.pop(key, None)
        if lease is not None:
            self.leases[lease].keys.remove(key)

    def end(self, lease: int) -> list[bytes]:
        """End a lease that is there, and return its keys in their order."""
        keys = sorted(self.leases.pop(lease).keys)
        for key in keys:
            del self.lease_of[key]
        return keys

    def restore(self, last: int, ttls: dict[int, int], lease_of: dict[bytes, int]) -> None:
        """Replace everything."""
        self.last = last
        self.leases = {lease: Lease(ttl_ms) for lease, ttl_ms in ttls.items()}
        self.lease_of = lease_of
        for key, lease in lease_of.items():
            self.leases[lease].keys.add(key)
