"""The bounds of what a system has to do with others, and how it finds them. Pure."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final, Literal, TypeAlias

import attrs

from trio440.actors.checks import check_choice, check_count, check_seconds, check_text, checked
from trio440.actors.cluster.config import Config
from trio440.errors import InvalidParameter
from trio440.rpc.hello import MAX_ID_LENGTH

__all__ = ["LATEST", "Delivery", "LinkLimits", "LinkStatistics", "Networking"]

LATEST: Final = (1 << 63) - (1 << 32)

Delivery: TypeAlias = Literal["at_most_once", "acknowledged"]
"""What becomes of messages when a connection breaks. ``at_most_once``: those that were on their way
are lost. ``acknowledged``: they are sent again on the next one, and none is taken in twice; those
for which there is no room are dead letters, and so are those of a system that does not come back.
"""


def _check_life(name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value <= LATEST:
        raise InvalidParameter(name, value, f"a whole number from 0 to {LATEST}")


def _check_seeds(name: str, value: Any) -> None:
    if isinstance(value, str):
        raise InvalidParameter(name, value, "a sequence of addresses, such as a list")


def _check_host(name: str, value: Any) -> None:
    try:
        host = None if value is None else ip_address(value)
    except ValueError:
        host = None
    if value is not None and (host is None or str(host) != value or host.is_unspecified):
        raise InvalidParameter(name, value, "the numeric address of one host")


@attrs.frozen(kw_only=True)
class LinkLimits:
    """The bounds of the links of a system."""

    messages: int = attrs.field(default=10_000, validator=checked(check_count))
    """Of actors, that wait on one link, or may have to be sent again; one more is a dead letter."""
    bytes: int = attrs.field(default=16 << 20, validator=checked(check_count))
    """In these."""
    message_bytes: int = attrs.field(default=8 << 20, validator=checked(check_count))
    """Of one encoded message; a longer one is a dead letter. So is one that the other side does not
    read: that is 16 MiB at most."""
    links: int = attrs.field(default=1000, validator=checked(check_count))
    """To other systems; for one more, messages are dead letters."""
    watches: int = attrs.field(default=100_000, validator=checked(check_count))
    """Of actors of other systems, and as many by each member of the cluster of actors here; one
    more ends at once. Of who is no member none begins once there are as many by all together."""
    questions: int = attrs.field(default=100_000, validator=checked(check_count))
    """By each other system, that wait for an answer here; one more is answered with
    ``ActorStopped`` at once."""
    silence_seconds: float = attrs.field(default=5.0, validator=checked(check_seconds))
    """A connection on which nothing is heard for so long is opened anew."""
    longest_wait_seconds: float = attrs.field(default=1.0, validator=checked(check_seconds))
    """Between two attempts to connect."""
    resend_seconds: float = attrs.field(default=1.0, validator=checked(check_seconds))
    """What is to be acknowledged is sent again after so long, where the connection lasts."""
    unknown_seconds: float = attrs.field(default=10.0, validator=checked(check_seconds))
    """An actor is watched whose system is no member of the cluster: for so long it may become one,
    then it counts as lost."""


@attrs.frozen(kw_only=True)
class Networking:
    """How a system finds others, and how it sends."""

    cluster: str = attrs.field(default="actors", validator=checked(check_text, MAX_ID_LENGTH))
    """Systems of other clusters are not spoken with."""
    seeds: Sequence[str] = attrs.field(default=(), validator=checked(_check_seeds))
    """``HOST:PORT`` of systems that are asked who else there is; one's own does no harm."""
    delivery: Delivery = attrs.field(
        default="at_most_once", validator=checked(check_choice, Delivery)
    )
    """Of links that are not told otherwise, see ``ActorSystem.set_delivery``."""
    limits: LinkLimits = LinkLimits()
    membership: Config = attrs.field(factory=Config)
    """How members are found to be lost."""
    greeting_seconds: float = attrs.field(default=1.0, validator=checked(check_seconds))
    """Before it begins, a system asks its seeds for so long which life of it they know: its own is
    to be a later one, though its clock has gone back."""
    after: int = attrs.field(default=0, validator=checked(_check_life))
    """The incarnation of an earlier life at the same address: this one's is greater."""
    advertised: str | None = attrs.field(default=None, validator=checked(_check_host))
    """The host, a numeric address, under which others reach this system, where it is not the one
    it listens on."""


@attrs.frozen(kw_only=True)
class LinkStatistics:
    """One link to another system."""

    address: str
    is_connected: bool
    is_lost: bool
    """Whether its system has been found to be lost."""
    delivery: Delivery
    waiting: int
    """Parcels that wait to be sent, or to be acknowledged."""
    unacknowledged: int
    sent: int
    """Parcels, those that were sent again included."""
    connects: int
