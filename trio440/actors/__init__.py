"""Actors: mailboxes, supervision and watching under structured concurrency."""

from trio440.actors.actor import Actor, Context, Spawner
from trio440.actors.belongings import Reply
from trio440.actors.cluster import Node
from trio440.actors.handlers import handler
from trio440.actors.limits import (
    ActorStatistics,
    Limits,
    MailboxPolicy,
    Overflow,
    SystemStatistics,
)
from trio440.actors.messages import Asks, Question, message
from trio440.actors.notices import DeadLetter, DeadReason, Down, DownReason, Spawned
from trio440.actors.ref import Ref
from trio440.actors.remote.limits import Delivery, LinkLimits, LinkStatistics, Networking
from trio440.actors.speaker import OpenReply, Speaker
from trio440.actors.supervision import Restart, Strategy
from trio440.actors.system import ActorSystem, open_actor_system
from trio440.actors.timers import Timer

__all__ = [
    "Actor",
    "ActorStatistics",
    "ActorSystem",
    "Asks",
    "Context",
    "DeadLetter",
    "DeadReason",
    "Delivery",
    "Down",
    "DownReason",
    "Limits",
    "LinkLimits",
    "LinkStatistics",
    "MailboxPolicy",
    "Networking",
    "Node",
    "OpenReply",
    "Overflow",
    "Question",
    "Ref",
    "Reply",
    "Restart",
    "Spawned",
    "Spawner",
    "Speaker",
    "Strategy",
    "SystemStatistics",
    "Timer",
    "handler",
    "message",
    "open_actor_system",
]
