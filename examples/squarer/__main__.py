"""Run the suite on every squarer: ``python -m examples.squarer``."""

import sys

from examples.squarer.bad import CAUGHT_BY
from examples.squarer.squarer import GoodSquarer, Squarer
from examples.squarer.suite import CHECKS, failures

squarers: list[type[Squarer]] = [GoodSquarer, *CAUGHT_BY]
found = {squarer: failures(squarer) for squarer in squarers}
for squarer, reasons in found.items():
    print(f"{squarer.__name__}: {len(CHECKS) - len(reasons)} of {len(CHECKS)} checks passed")
    for name, reason in reasons.items():
        print(f"  {name}: no, {reason}")
sys.exit(any(bool(reasons) != (squarer in CAUGHT_BY) for squarer, reasons in found.items()))
