"""The compiled hash kernel: made before the tests that mine, and not while one of them waits."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.processes import ROOT
from trio440.mining.engines.numba_engine import is_numba_installed

__all__ = ["compile_kernel"]

ENGINES = ROOT / "trio440" / "mining" / "engines"
LOCK = Path(tempfile.gettempdir()) / f"trio440-tests-kernel-{os.getuid()}.lock"


def compile_kernel() -> None:
    """Compile the kernel unless that was done; of several processes one does, and others wait.

    It takes half a minute of a core's time, so on a busy machine longer than a test is patient.
    """
    if not is_numba_installed() or _is_kept():
        return
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([sys.executable, "-m", "trio440.mining.engines.warm"], cwd=ROOT, check=True)


def _is_kept() -> bool:
    """Whether it is where it is kept by default; tells it without importing numba."""
    kept = (ENGINES / "__pycache__").glob("kernel.search_groups-*.nbi")
    newest = max((path.stat().st_mtime for path in kept), default=0.0)
    return newest >= (ENGINES / "kernel.py").stat().st_mtime
