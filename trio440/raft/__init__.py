"""Raft: a replicated log that can be trusted with data."""

from trio440.raft.config import Config
from trio440.raft.membership import Configuration
from trio440.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from trio440.raft.node import Node
from trio440.raft.ready import ChunkRead, ChunkWrite, ReadState, Ready
from trio440.raft.state import Role
from trio440.raft.status import PeerStatus, Status
from trio440.raft.storage import MemoryStorage, Storage, Stored, bootstrap, joining

__all__ = [
    "ChunkRead",
    "ChunkWrite",
    "Config",
    "Configuration",
    "Entry",
    "EntryKind",
    "HardState",
    "MemoryStorage",
    "Node",
    "PeerStatus",
    "ReadState",
    "Ready",
    "Role",
    "SnapshotMeta",
    "Status",
    "Storage",
    "Stored",
    "bootstrap",
    "joining",
]
