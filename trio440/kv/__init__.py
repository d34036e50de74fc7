"""The store: one client API over an eventual, a linearizable and an in-process engine."""

from trio440.kv.client import EventualClient, open_client
from trio440.kv.connect import connect, describe, discover
from trio440.kv.discovery import Offer
from trio440.kv.keeper import Durability
from trio440.kv.linearizable import LinearizableNamespace, open_linearizable
from trio440.kv.linearizable_peer import open_linearizable_peer
from trio440.kv.local import LocalNamespace
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
    GetSiblings,
    GrantLease,
    Increment,
    List,
    Operation,
    Page,
    Put,
    PutSibling,
    Refused,
    RenewLease,
    Result,
    RevokeLease,
    Siblings,
    Transaction,
)
from trio440.kv.replica_limits import ReplicaLimits
from trio440.kv.router import RoundRobin, Router
from trio440.kv.served import ServedNamespace, open_served, serve_routes
from trio440.kv.server import Server, open_server
from trio440.kv.status import Lag, ReplicaStatus, StoreStatus, look
from trio440.kv.store import Store, StoreConfig, open_store
from trio440.kv.table import Table
from trio440.kv.table_limits import TableLimits
from trio440.kv.table_machine import TableMachine
from trio440.kv.unanswered import Unanswered

__all__ = [
    "Append",
    "AtomicNamespace",
    "Change",
    "CompareAndSet",
    "Condition",
    "Count",
    "Delete",
    "Durability",
    "Engine",
    "Entry",
    "EventualClient",
    "EventualNamespace",
    "Expire",
    "Get",
    "GetSiblings",
    "GrantLease",
    "Increment",
    "Lag",
    "LinearizableNamespace",
    "List",
    "LocalNamespace",
    "MemoryNamespace",
    "Namespace",
    "Offer",
    "Operation",
    "Page",
    "Put",
    "PutSibling",
    "Refused",
    "RenewLease",
    "ReplicaLimits",
    "ReplicaStatus",
    "Result",
    "RevokeLease",
    "RoundRobin",
    "Router",
    "ServedNamespace",
    "Server",
    "Siblings",
    "Store",
    "StoreConfig",
    "StoreStatus",
    "Table",
    "TableLimits",
    "TableMachine",
    "Transaction",
    "Unanswered",
    "connect",
    "describe",
    "discover",
    "look",
    "open_client",
    "open_linearizable",
    "open_linearizable_peer",
    "open_memory",
    "open_served",
    "open_server",
    "open_store",
    "serve_routes",
]
