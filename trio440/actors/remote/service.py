"""What systems of actors ask of each other over RPC."""

import attrs

from trio440.actors.remote.parcels import Batch
from trio440.rpc import Service, method, one_way

__all__ = ["Address", "Latest", "Systems"]


@attrs.frozen
class Address:
    """Of a system: ``HOST:PORT``."""

    address: str


@attrs.frozen
class Latest:
    """The latest life at an address that is known."""

    incarnation: int
    """0: none."""


class Systems(Service, name="actors"):
    """Of each system that can be reached."""

    deliver = one_way(Batch)
    latest = method(Address, Latest)
