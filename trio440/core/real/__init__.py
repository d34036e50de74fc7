"""The real host: trio's clock, the kernel's sockets and files, threads that own resources.

The only place below the command line that knows the outside world; foreign exceptions become
the project's own here.
"""

import os
import random
from typing import Final

from trio440.core.host import Host
from trio440.core.real.clock import SystemWallClock, TrioClock
from trio440.core.real.disk import DirectoryDisk
from trio440.core.real.net import KernelNet
from trio440.core.real.threads import ThreadBlocking

__all__ = ["REAL_HOST"]

REAL_HOST: Final = Host(
    clock=TrioClock(),
    wall=SystemWallClock(),
    net=KernelNet(),
    disk=DirectoryDisk,
    blocking=ThreadBlocking(),
    rng=random.Random(),
)
"""This machine; the default of every ``ports`` parameter."""

# A forked process would draw the numbers of its parent: equal identifiers, equal timeouts.
os.register_at_fork(after_in_child=REAL_HOST.rng.seed)
