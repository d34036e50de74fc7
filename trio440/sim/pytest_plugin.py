"""The pytest plug-in: tests that run once for each seed in a simulated world.

::

    from trio440.sim import simulated

    @simulated(seeds=200, profile="flaky", hosts=["server", "client"])
    async def test_every_message_arrives_once(world):
        ...

It is loaded by every pytest that finds this package installed, so it imports nothing of the
simulator before a marked test is run. A marked test belongs to this plug-in, also where
pytest-trio's ``trio_mode`` is on; fixtures that are async themselves belong to pytest-trio and
cannot be used by it.
"""

import inspect
import shlex
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import pytest

if TYPE_CHECKING:
    from trio440.sim.faults import HostTraits
    from trio440.sim.outcome import Outcome, Setup
    from trio440.sim.trace import Trace
    from trio440.sim.world import World

__all__ = [
    "SimulationFailed",
    "pytest_addoption",
    "pytest_configure",
    "pytest_pyfunc_call",
    "pytest_runtest_call",
]

MARK: Final = "simulated"
MARK_HELP: Final = (
    "simulated(seeds=100, profile='flaky', order='random', hosts=(), duration_seconds=3600.0,"
    " heal_seconds=None): run an async test once for each seed in a simulated world,"
    " which it takes as its argument `world`."
)
SHRINK_RUNS: Final = 40
"""How many histories the search for the faults that matter may run."""
MAX_SECONDS: Final = 1e9
"""Of virtual time; microseconds are exact in a float up to there."""
DEFAULTS: Final[Mapping[str, Any]] = {
    "seeds": 100,
    "profile": "flaky",
    "order": "random",
    "hosts": (),
    "duration_seconds": 3600.0,
    "heal_seconds": None,
}

Test: TypeAlias = Callable[..., Awaitable[object]]

_TEST: Final = pytest.StashKey[Test]()


class SimulationFailed(AssertionError):
    """A test failed in the world of one seed."""


# What pytest calls


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("sim", "simulated worlds (trio440)")
    group.addoption(
        "--sim-seeds",
        metavar="RANGE",
        help="run each simulated test with these seeds: START:END (without END), or N for 0:N",
    )
    group.addoption("--sim-seed", metavar="N", help="run each simulated test with this seed alone")
    group.addoption(
        "--sim-keep",
        metavar="PLACES",
        help="let only these faults of the plan happen, as 3,7, or none",
    )
    group.addoption(
        "--sim-html", metavar="DIR", help="write the timeline of each failure into this directory"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, and refuse options that mean nothing."""
    config.addinivalue_line("markers", MARK_HELP)
    _chosen_seeds(config)
    _chosen_faults(config)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> object:
    """The simulated world of a test that is marked `simulated`."""
    if request.node.get_closest_marker(MARK) is None:
        pytest.fail("the fixture 'world' is for tests marked with @simulated", pytrace=False)
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Remember a marked test's function before another plug-in wraps it."""
    __tracebackhide__ = True
    if isinstance(item, pytest.Function) and item.get_closest_marker(MARK) is not None:
        item.stash[_TEST] = item.obj
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test, once for each seed."""
    __tracebackhide__ = True
    if pyfuncitem.get_closest_marker(MARK) is None:
        return None
    _run_marked(pyfuncitem)
    return True


# Options


def _chosen_seeds(config: pytest.Config) -> range | None:
    """Return the seeds that the options ask for, None where they do not.

    Raises:
        UsageError: they are no seeds.
    """
    alone, several = config.getoption("--sim-seed"), config.getoption("--sim-seeds")
    if alone is not None:
        if not _is_number(alone):
            raise pytest.UsageError(f"--sim-seed: {alone!r} is no seed, write a number")
        return range(int(alone), int(alone) + 1)
    if several is None:
        return None
    first, _, last = several.rpartition(":")
    if (first and not _is_number(first)) or not _is_number(last):
        raise pytest.UsageError(
            f"--sim-seeds: {several!r} is no range, write START:END or a number"
        )
    chosen = range(int(first or 0), int(last))
    if not chosen:
        raise pytest.UsageError(f"--sim-seeds: {several!r} is empty")
    return chosen


def _chosen_faults(config: pytest.Config) -> tuple[int, ...] | None:
    """Return the positions of the faults that are to happen, None for all.

    Raises:
        UsageError: they are no positions.
    """
    text = config.getoption("--sim-keep")
    if text is None or text == "none":
        return None if text is None else ()
    parts = text.split(",")
    if not all(map(_is_number, parts)):
        raise pytest.UsageError(f"--sim-keep: {text!r}: write positions as 3,7, or none")
    return tuple(sorted(set(map(int, parts))))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 - fits 64 bits


def _wishes(marker: pytest.Mark) -> dict[str, Any]:
    """Return what a mark asks for, checked; fails the test with one line."""
    from trio440.sim.outcome import ORDERS  # noqa: PLC0415 - only where a test is marked
    from trio440.sim.profiles import PROFILES  # noqa: PLC0415 - the same

    if marker.args:
        _refuse("takes keywords only")
    if unknown := [name for name in marker.kwargs if name not in DEFAULTS]:
        _refuse(f"has no {unknown[0]}, there are {', '.join(DEFAULTS)}")
    wishes = {**DEFAULTS, **marker.kwargs}
    if not isinstance(wishes["seeds"], int) or wishes["seeds"] < 1:
        _refuse(f"seeds must be a number, at least 1, not {wishes['seeds']!r}")
    for name, known in (("profile", [*PROFILES]), ("order", [*ORDERS])):
        if wishes[name] not in known:
            _refuse(f"{name} must be one of {', '.join(known)}, not {wishes[name]!r}")
    duration, heal = wishes["duration_seconds"], wishes["heal_seconds"]
    if not (_is_real(duration) and 0 < duration <= MAX_SECONDS):
        _refuse(f"duration_seconds must be positive, up to {MAX_SECONDS:g}, not {duration!r}")
    if heal is not None and not (_is_real(heal) and 0 <= heal <= duration):
        _refuse(f"heal_seconds must be 0 to the duration, {duration:g}, not {heal!r}")
    _require_hosts(wishes["hosts"])
    return wishes


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_hosts(hosts: object) -> None:
    """Return if these are machines, each with a name of its own; else fail the test."""
    from trio440.sim.faults import HostTraits  # noqa: PLC0415 - only where a test is marked

    if not isinstance(hosts, list | tuple):
        _refuse(f"hosts must be a list of names or HostTraits, not {hosts!r}")
    names = [host.name if isinstance(host, HostTraits) else host for host in hosts]
    for name in names:
        if not isinstance(name, str) or not name or names.count(name) > 1:
            _refuse(f"hosts must have names, each its own, not {names!r}")


def _refuse(problem: str) -> NoReturn:
    pytest.fail(f"@simulated {problem}", pytrace=False)


def _traits(host: "str | HostTraits") -> "HostTraits":
    from trio440.sim.faults import HostTraits  # noqa: PLC0415 - only where a test is marked

    if isinstance(host, HostTraits):
        return host
    return HostTraits(host, may_crash=True, has_disk=True)


# Running


class _Runner:
    """Runs one test in the worlds of its seeds."""

    def __init__(self, item: pytest.Function, test: Test, wishes: Mapping[str, Any]) -> None:
        self.item = item
        self._test = test
        self._wishes = wishes
        names = inspect.signature(test).parameters
        self._arguments = {name: item.funcargs[name] for name in names if name in item.funcargs}
        for name, value in self._arguments.items():
            if type(value).__module__.partition(".")[0] == "pytest_trio":
                _refuse(f"cannot use the fixture {name!r}: it belongs to pytest-trio")
        self._takes_world = "world" in names
        self.caught: Exception | None = None
        """What the test itself raised in the last world."""
        self._ended: BaseException | None = None
        """How the test ended that was skipped."""

    def setup(self, seed: int) -> "Setup":
        """Return what the world of a seed is made from."""
        from trio440.sim.outcome import Setup  # noqa: PLC0415 - only where a test is marked

        return Setup(
            system=self.item.nodeid,
            seed=seed,
            profile=self._wishes["profile"],
            order=self._wishes["order"],
            keep=_chosen_faults(self.item.config),
        )

    def run(self, setup: "Setup", *, keep_trace: bool = False) -> "tuple[Outcome, Trace]":
        """Run the test in one world."""
        from trio440.sim.running import simulate  # noqa: PLC0415 - only where a test is marked

        heal, duration = self._wishes["heal_seconds"], self._wishes["duration_seconds"]
        self.caught = self._ended = None
        try:
            done = simulate(
                self._tell,
                setup,
                hosts=[_traits(host) for host in self._wishes["hosts"]],
                duration=round(duration * 1e6),
                heal_at=None if heal is None else round(heal * 1e6),
                keep_trace=keep_trace,
            )
        except BaseExceptionGroup as group:
            if group.split(KeyboardInterrupt)[0] is not None:
                raise KeyboardInterrupt from None
            raise
        if self._ended is not None:
            raise self._ended
        return done

    async def _tell(self, world: "World") -> None:
        """Call the test, and see how it ends."""
        if self._takes_world:
            self._arguments["world"] = world
        try:
            await self._test(**self._arguments)
        except (pytest.skip.Exception, pytest.xfail.Exception) as error:
            self._ended = error
        except pytest.fail.Exception as error:
            self.caught = AssertionError(str(error))
            raise self.caught from None
        except Exception as error:
            self.caught = error
            raise


def _run_marked(item: pytest.Function) -> None:
    """Run a test with all its seeds; raises for the first that fails."""
    __tracebackhide__ = True
    marker = item.get_closest_marker(MARK)
    test = item.stash.get(_TEST, item.obj)
    if marker is None or not inspect.iscoroutinefunction(test):
        _refuse(f"is for async tests, {item.name} is none")
    wishes = _wishes(marker)
    runner = _Runner(item, test, wishes)
    kept = _chosen_faults(item.config) or ()
    for seed in _chosen_seeds(item.config) or range(wishes["seeds"]):
        outcome, _ = runner.run(runner.setup(seed))
        if kept and kept[-1] >= len(outcome.faults):
            plan = f"the plan of seed {seed} has {len(outcome.faults)} faults, counted from 0"
            pytest.fail(f"--sim-keep {kept[-1]}: {plan}", pytrace=False)
        if outcome.failure is not None:
            caught = runner.caught
            text = "\n".join(_explanation(runner, outcome))
            raise SimulationFailed(text) from caught


def _explanation(runner: _Runner, outcome: "Outcome") -> Iterator[str]:
    """Say what failed, which faults it needs, and how to see it again."""
    failure, setup = outcome.failure, outcome.setup
    if failure is None:
        return
    yield f"seed {setup.seed}: {failure.invariant}"
    yield f"at {failure.at / 1e6:.6f} virtual seconds: {failure.detail}"
    keep = _shrink(runner, outcome)
    if keep is not None:
        yield from _matter(outcome, keep)
    rerun = f"pytest {shlex.quote(runner.item.nodeid)} --sim-seed {setup.seed}"
    yield f"rerun: {rerun}"
    if keep is not None:
        yield f"rerun with these faults: {rerun} --sim-keep {','.join(map(str, keep)) or 'none'}"
    folder = runner.item.config.getoption("--sim-html")
    if folder is not None:
        yield _draw(runner, outcome, Path(folder))


def _shrink(runner: _Runner, outcome: "Outcome") -> tuple[int, ...] | None:
    """Return the faults that the failure needs, None when they are known already."""
    from trio440.sim.shrinking import shrink  # noqa: PLC0415 - only after a failure

    if outcome.setup.keep is not None or not outcome.faults:
        return None
    found = shrink(outcome, lambda setup: runner.run(setup)[0], max_runs=SHRINK_RUNS)
    return found.places


def _matter(outcome: "Outcome", keep: tuple[int, ...]) -> Iterator[str]:
    """List the faults that matter."""
    yield f"{len(keep)} of {len(outcome.faults)} faults matter{':' if keep else ''}"
    for place in keep:
        yield f"    {place}: {outcome.faults[place]}"


def _draw(runner: _Runner, outcome: "Outcome", folder: Path) -> str:
    """Write the timeline of a failure, and say where it is."""
    from trio440.sim.timeline import render_page  # noqa: PLC0415 - only after a failure

    again, trace = runner.run(outcome.setup, keep_trace=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in runner.item.nodeid)
    path = folder / f"{name}-seed-{outcome.setup.seed}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(render_page(again, list(trace)), encoding="utf-8")
    except OSError as error:
        return f"no timeline: {path}: {error.strerror}"
    if again.digest != outcome.digest:
        return f"timeline: {path} (of another history: this test does not depend on its seed alone)"
    return f"timeline: {path}"
