"""A real file system of a few hundred kilobytes, for disks that get full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.tools import require_tool


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """Mount a tmpfs of a size such as ``"256k"`` at a directory, and unmount it behind the block.

    Where that is not allowed the test is skipped by name, or fails where
    ``TRIO440_REQUIRE_TOOLS`` is set.
    """
    mount, umount = require_tool("mount"), require_tool("umount")
    place.mkdir(exist_ok=True)
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        problem = f"a tmpfs cannot be mounted here: {done.stderr.strip()}"
        if os.environ.get("TRIO440_REQUIRE_TOOLS"):
            pytest.fail(f"{problem}, and TRIO440_REQUIRE_TOOLS is set")
        pytest.skip(problem)
    try:
        yield
    finally:
        subprocess.run([umount, "--lazy", str(place)], check=True)
