"""Who is in the cluster: SWIM with Lifeguard's refinements, as a pure core and over UDP."""

from trio440.actors.cluster.config import Config
from trio440.actors.cluster.events import (
    Back,
    Cleared,
    Event,
    Joined,
    Left,
    Lost,
    Superseded,
    Suspected,
)
from trio440.actors.cluster.gossip import Membership, MembershipStatistics, open_membership
from trio440.actors.cluster.messages import (
    CODEC,
    Ack,
    Gossip,
    Message,
    Nack,
    Node,
    Ping,
    PingReq,
    PushPull,
    Record,
    State,
)
from trio440.actors.cluster.statistics import Statistics
from trio440.actors.cluster.swim import Swim

__all__ = [
    "CODEC",
    "Ack",
    "Back",
    "Cleared",
    "Config",
    "Event",
    "Gossip",
    "Joined",
    "Left",
    "Lost",
    "Membership",
    "MembershipStatistics",
    "Message",
    "Nack",
    "Node",
    "Ping",
    "PingReq",
    "PushPull",
    "Record",
    "State",
    "Statistics",
    "Superseded",
    "Suspected",
    "Swim",
    "open_membership",
]
