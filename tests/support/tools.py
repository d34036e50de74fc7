"""Outside tools that some tests need."""

import os
import shutil

import pytest


def require_tool(name: str) -> str:
    """Return the path of a tool; without it the test is skipped by name.

    Where ``TRIO440_REQUIRE_TOOLS`` is set (``.ci/run`` sets it) an absent tool is a failure.
    """
    path = shutil.which(name)
    if path is None:
        if os.environ.get("TRIO440_REQUIRE_TOOLS"):
            pytest.fail(f"the tool {name!r} is not installed, and TRIO440_REQUIRE_TOOLS is set")
        pytest.skip(f"the tool {name!r} is not installed")
    return path
