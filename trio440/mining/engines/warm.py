"""``python -m trio440.mining.engines.warm``: compile the kernel now rather than at first use."""

import sys

from trio440.errors import EngineUnavailable
from trio440.mining.engines.numba_engine import warm_up

if __name__ == "__main__":
    try:
        warm_up()
    except EngineUnavailable as error:
        sys.exit(str(error))
