"""Who is in the cluster, by SWIM with Lifeguard's refinements, and what is named there."""

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
from trio440.actors.cluster.names import (
    MAX_NAMES,
    UPDATES,
    Change,
    Entry,
    Names,
    NamesStatistics,
    Pull,
    Table,
    Update,
)
from trio440.actors.cluster.statistics import Statistics
from trio440.actors.cluster.swim import Swim

__all__ = [
    "CODEC",
    "MAX_NAMES",
    "UPDATES",
    "Ack",
    "Back",
    "Change",
    "Cleared",
    "Config",
    "Entry",
    "Event",
    "Gossip",
    "Joined",
    "Left",
    "Lost",
    "Membership",
    "MembershipStatistics",
    "Message",
    "Nack",
    "Names",
    "NamesStatistics",
    "Node",
    "Ping",
    "PingReq",
    "Pull",
    "PushPull",
    "Record",
    "State",
    "Statistics",
    "Superseded",
    "Suspected",
    "Swim",
    "Table",
    "Update",
    "open_membership",
]
