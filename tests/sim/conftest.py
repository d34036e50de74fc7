"""Every async test below this folder runs under virtual time, its tasks in a seeded order.

As with the fixture ``autojump_clock``, which works only where a test's own signature names it.
With ``TRIO440_RANDOM=1`` the order of the tasks is trio's own chance.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio440.sim.scheduling import seeded_scheduler


@pytest.hookimpl(trylast=True)  # pytest-trio marks what is async before
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("trio"):
            item.add_marker(pytest.mark.trio(run=_run), append=False)


def _run(
    main: Callable[[], Awaitable[Any]],
    *,
    clock: trio.abc.Clock | None,
    instruments: Sequence[trio.abc.Instrument],
) -> Any:
    with nullcontext() if os.environ.get("TRIO440_RANDOM") else seeded_scheduler(0):
        return trio.run(
            main,
            clock=MockClock(autojump_threshold=0) if clock is None else clock,
            instruments=instruments,
        )
