"""Hash engines: ``open_engine`` starts the fastest one that is installed, on every core.

======== =============================================== ==========================
engine   how it works                                    needs
======== =============================================== ==========================
numba    many nonces at once, one thread for each core   the extra ``fast``
hashlib  one nonce at a time, one process for each core  nothing
======== =============================================== ==========================
"""

from trio440.mining.engines.numba_engine import warm_up
from trio440.mining.engines.opening import ENGINES, EngineName, cores, measure_rate, open_engine

__all__ = ["ENGINES", "EngineName", "cores", "measure_rate", "open_engine", "warm_up"]
