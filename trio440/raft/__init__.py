"""Raft: a replicated log that can be trusted with data."""

from trio440.raft.client import Client, open_client
from trio440.raft.config import Config
from trio440.raft.machine import Queryable, StateMachine, Watch, Watchable
from trio440.raft.membership import Configuration
from trio440.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from trio440.raft.node import Node
from trio440.raft.opening import open_peer
from trio440.raft.peer import Peer
from trio440.raft.peer_config import PeerConfig
from trio440.raft.ready import ChunkRead, ChunkWrite, ReadState, Ready
from trio440.raft.state import Role
from trio440.raft.status import PeerStatus, Status
from trio440.raft.storage import MemoryStorage, Storage, Stored, bootstrap, joining
from trio440.raft.trace_file import open_trace
from trio440.raft.trace_lines import Recorder
from trio440.raft.waiting import AppliedEntries
from trio440.raft.wire import Place, Report

__all__ = [
    "AppliedEntries",
    "ChunkRead",
    "ChunkWrite",
    "Client",
    "Config",
    "Configuration",
    "Entry",
    "EntryKind",
    "HardState",
    "MemoryStorage",
    "Node",
    "Peer",
    "PeerConfig",
    "PeerStatus",
    "Place",
    "Queryable",
    "ReadState",
    "Ready",
    "Recorder",
    "Report",
    "Role",
    "SnapshotMeta",
    "StateMachine",
    "Status",
    "Storage",
    "Stored",
    "Watch",
    "Watchable",
    "bootstrap",
    "joining",
    "open_client",
    "open_peer",
    "open_trace",
]
