"""The store: one client API over an eventual, a linearizable and an in-process engine."""

from trio440.kv.client import EventualClient, open_client
from trio440.kv.memory import MemoryNamespace, open_memory
from trio440.kv.namespace import (
    AtomicNamespace,
    Engine,
    EventualNamespace,
    Namespace,
)
from trio440.kv.operations import (
    Append,
    Change,
    CompareAndSet,
    Condition,
    Count,
    Delete,
    Entry,
    Expire,
    Get,
    Increment,
    List,
    Operation,
    Page,
    Put,
    Refused,
    Result,
    Transaction,
)
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.router import RoundRobin, Router
from trio440.kv.server import Server, open_server
from trio440.kv.table import Table
from trio440.kv.table_limits import TableLimits

__all__ = [
    "Append",
    "AtomicNamespace",
    "Change",
    "CompareAndSet",
    "Condition",
    "Count",
    "Delete",
    "Engine",
    "Entry",
    "EventualClient",
    "EventualNamespace",
    "Expire",
    "Get",
    "Increment",
    "List",
    "MemoryNamespace",
    "Namespace",
    "Operation",
    "Page",
    "Put",
    "Refused",
    "ReplicaLimits",
    "Result",
    "RoundRobin",
    "Router",
    "Server",
    "Table",
    "TableLimits",
    "Transaction",
    "open_client",
    "open_memory",
    "open_server",
]
