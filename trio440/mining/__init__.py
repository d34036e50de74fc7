"""The distributed miner: the least hash of a text over a range of nonces, found by many.

``open_mining_server`` splits what clients ask for among miners, ``work`` is a miner,
``find_least_hash`` a client; hash engines do the searching. Miners may come, go and die.
"""

from trio440.errors import EngineUnavailable, MiningError, ServerLost
from trio440.mining.client import find_least_hash
from trio440.mining.hashing import Found, HashEngine, hash_of, least_hash
from trio440.mining.policy import ChunkSizes
from trio440.mining.ranges import NonceRange
from trio440.mining.scheduler import JobProgress, SchedulerStatistics
from trio440.mining.server import MiningServer, open_mining_server
from trio440.mining.worker import Throttled, work

__all__ = [
    "ChunkSizes",
    "EngineUnavailable",
    "Found",
    "HashEngine",
    "JobProgress",
    "MiningError",
    "MiningServer",
    "NonceRange",
    "SchedulerStatistics",
    "ServerLost",
    "Throttled",
    "find_least_hash",
    "hash_of",
    "least_hash",
    "open_mining_server",
    "work",
]
