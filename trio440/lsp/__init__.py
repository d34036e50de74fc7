"""LSP, the Live Sequence Protocol: reliable, ordered, windowed messages over UDP.

Wire-compatible with the Go programs of CMU 15-440. ``connect`` gives a :class:`Client`,
``open_server`` a :class:`Server` whose connections are read together, ``serve`` runs a handler
for each connection.
"""

from trio440.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    FlushFailed,
    LspError,
    PayloadTooLarge,
    SendBufferFull,
    UnknownConnection,
)
from trio440.lsp.client import Client, connect
from trio440.lsp.connection import Connection
from trio440.lsp.endpoint import EndpointStatistics
from trio440.lsp.params import Limits, Params
from trio440.lsp.server import Server, open_server, serve
from trio440.lsp.statistics import ConnectionStatistics

__all__ = [
    "Client",
    "ConnectFailed",
    "Connection",
    "ConnectionClosed",
    "ConnectionLost",
    "ConnectionStatistics",
    "EndpointStatistics",
    "FlushFailed",
    "Limits",
    "LspError",
    "Params",
    "PayloadTooLarge",
    "SendBufferFull",
    "Server",
    "UnknownConnection",
    "connect",
    "open_server",
    "serve",
]
