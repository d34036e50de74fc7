"""RPC: typed calls and one-way messages over TCP, many at once on one connection."""

from trio440.rpc.client import Client, open_client
from trio440.rpc.hello import ANONYMOUS, Expected, Identity, Peer
from trio440.rpc.limits import ClientLimits, ClientStatistics, ServerLimits, ServerStatistics
from trio440.rpc.server import Server, open_server, serve
from trio440.rpc.service import (
    BoundMethod,
    BoundTell,
    Caller,
    Method,
    OneWay,
    Routes,
    Service,
    method,
    one_way,
)

__all__ = [
    "ANONYMOUS",
    "BoundMethod",
    "BoundTell",
    "Caller",
    "Client",
    "ClientLimits",
    "ClientStatistics",
    "Expected",
    "Identity",
    "Method",
    "OneWay",
    "Peer",
    "Routes",
    "Server",
    "ServerLimits",
    "ServerStatistics",
    "Service",
    "method",
    "one_way",
    "open_client",
    "open_server",
    "serve",
]
