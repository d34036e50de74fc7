"""linekv: a key-value server over TCP that speaks in lines and works with netcat."""

from trio440.linekv.client import Client, connect
from trio440.linekv.limits import Limits, Statistics
from trio440.linekv.protocol import DEFAULT_PORT
from trio440.linekv.server import Server, open_server, serve

__all__ = [
    "DEFAULT_PORT",
    "Client",
    "Limits",
    "Server",
    "Statistics",
    "connect",
    "open_server",
    "serve",
]
