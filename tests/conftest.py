"""What holds for every test.

Hypothesis draws the same examples in every run, so that a run says something about the change
and not about its luck; ``TRIO440_RANDOM=1`` lets it look elsewhere each time.
"""

import gc
import os
import signal
import sys

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "same", max_examples=30, derandomize=True, deadline=None, print_blob=True, database=None
)
hypothesis.settings.register_profile("random", max_examples=200, deadline=None, print_blob=True)
hypothesis.settings.load_profile("random" if os.environ.get("TRIO440_RANDOM") else "same")


# Where the environment forbids to keep compiled modules, each of the many processes would compile
# the project anew, and pytest every test.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A run that a shell has put into the background ignores Ctrl-C, and so would every process that
# it starts; what the commands do at Ctrl-C is tested all the same.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the hash kernel for those who mine, for no test's patience lasts that long.

    Then spare the collector the modules and test items, which live to the end anyway.
    """
    if any(item.get_closest_marker("mines") for item in session.items):
        from tests.support.kernel import compile_kernel  # noqa: PLC0415 - most runs do not mine

        compile_kernel()
    gc.collect()
    gc.freeze()
