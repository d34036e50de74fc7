"""The pytest plug-in, in projects of its own: what it runs, and what its reports say."""

import re
import sys
from pathlib import Path

import attrs
import pytest
import trio

from tests.support.processes import ROOT, finished
from trio440.sim import simulated
from trio440.sim.world import World

PLUGIN = ["-p", "trio440.sim.pytest_plugin"]
PYTEST_TRIO = ["-p", "trio"]

HEAD = """
import pytest, trio
from trio440.errors import InvariantViolated
from trio440.sim import simulated

def log(*words):
    with open("log", "a") as file:
        print(*words, file=file)
"""


@attrs.frozen
class Project:
    """A folder with tests in one file."""

    folder: Path

    def test(
        self, text: str, *words: str, plugins: list[str] = PLUGIN, fresh: bool = False
    ) -> tuple[int, str]:
        """Run pytest on ``text``; its status and what it printed."""
        (self.folder / "test_it.py").write_text(HEAD + text)
        (self.folder / "log").unlink(missing_ok=True)
        status, out, err = finished(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *plugins, *words],
            env={
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_ADDOPTS": "",
                "PYTHONPATH": str(ROOT),
            },
            cwd=self.folder,
            fresh=fresh or PYTEST_TRIO[1] in plugins,  # pytest wants to import a plug-in itself
        )
        return status, out + err

    @property
    def log(self) -> list[str]:
        """What the tests have logged."""
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -W error\n")
    return Project(tmp_path)


def said(out: str) -> list[str]:
    """The lines of a report without what pytest indents them by."""
    return [re.sub(r"^E? +", "", line) for line in out.splitlines()]


EACH_SEED = """
@simulated(seeds=4, profile="calm")
async def test_it(world):
    before = world.now()
    await trio.sleep(1000)
    log(world.setup.seed, world.setup.profile, world.setup.level, world.now() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugins", "trio_mode"),
    [
        (PLUGIN, "false"),
        ([*PLUGIN, *PYTEST_TRIO], "true"),
        pytest.param([*PYTEST_TRIO, *PLUGIN], "false", marks=pytest.mark.campaign),
        pytest.param([*PYTEST_TRIO, *PLUGIN], "true", marks=pytest.mark.campaign),
    ],
)
def test_a_marked_test_runs_once_for_each_seed(
    project: Project, plugins: list[str], trio_mode: str
) -> None:
    if PYTEST_TRIO[1] in plugins:
        plugins = [*plugins, "-o", f"trio_mode={trio_mode}"]
    status, out = project.test(EACH_SEED, plugins=plugins)
    assert status == 0, out
    assert "1 passed" in out
    assert project.log == [f"{seed} calm B 1000000000" for seed in range(4)]


@pytest.mark.slow
def test_other_async_tests_stay_with_pytest_trio(project: Project) -> None:
    text = """
async def test_it(autojump_clock, nursery):
    await trio.sleep(1000)
    log("real")
"""
    words = [*PYTEST_TRIO, *PLUGIN, "-o", "trio_mode=true"]
    assert project.test(EACH_SEED.replace("_it", "_other") + text, plugins=words)[0] == 0
    assert project.log[-1] == "real"
    assert len(project.log) == 5


@pytest.mark.slow
def test_the_mark_can_be_written_as_a_mark(project: Project) -> None:
    text = EACH_SEED.replace("@simulated", "@pytest.mark.simulated")
    assert project.test(text)[0] == 0
    assert len(project.log) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["--sim-seeds", "2"], [0, 1]),
        (["--sim-seeds", "7:9"], [7, 8]),
        (["--sim-seed", "17"], [17]),
        (["--sim-seed", "17", "--sim-seeds", "3"], [17]),
    ],
)
def test_options_choose_the_seeds(project: Project, words: list[str], seeds: list[int]) -> None:
    assert project.test(EACH_SEED, *words)[0] == 0
    assert [int(line.split()[0]) for line in project.log] == seeds


FAILING = """
@simulated(seeds=10, profile="hostile", hosts=["server", "client"], duration_seconds=20)
async def test_it(world):
    log(world.setup.seed)
    assert [*world.machines] == ["server", "client"]
    await world.healed()
    happening = {place for place, _ in world.plan.happening}
    if world.setup.seed == 3 and 1 in happening:
        raise InvariantViolated("exactly once", "it came twice")
"""


def test_a_failure_names_seed_promise_time_faults_and_how_to_rerun(project: Project) -> None:
    status, out = project.test(FAILING)
    assert status == 1
    assert "SimulationFailed: seed 3: exactly once\n" in out
    assert "at 10.000000 virtual seconds: it came twice" in said(out)
    assert re.search(r"\n1 of \d+ faults matter:\n1: \d", "\n".join(said(out)))
    assert "rerun: pytest test_it.py::test_it --sim-seed 3" in said(out)
    again = "pytest test_it.py::test_it --sim-seed 3 --sim-keep 1"
    assert f"rerun with these faults: {again}" in said(out)
    assert "FAILED test_it.py::test_it - " in out
    assert "raise InvariantViolated(" in out, "where the test itself failed is shown, too"
    assert "4" not in project.log
    for words in (["--sim-seed", "3"], ["--sim-seed", "3", "--sim-keep", "1"]):
        status, out = project.test(FAILING, *words)
        assert status == 1
        assert "seed 3: exactly once" in out
    assert project.test(FAILING, "--sim-seed", "3", "--sim-keep", "0,2")[0] == 0
    assert project.test(FAILING, "--sim-seed", "3", "--sim-keep", "none")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "promise"),
    [
        ("assert world.now() == 7", "unexpected AssertionError"),
        ("raise KeyError('x')", "unexpected KeyError"),
        ("pytest.fail('no')", "unexpected AssertionError"),
        ("world.require(False, 'small', 'big')", "small"),
        ("await trio.sleep(9999)", "the story ends"),
    ],
)
def test_every_way_to_fail_names_its_seed(project: Project, statement: str, promise: str) -> None:
    text = f"@simulated(seeds=3)\nasync def test_it(world):\n    {statement}\n"
    status, out = project.test(text)
    assert status == 1
    assert f"SimulationFailed: seed 0: {promise}\n" in out


def test_a_program_of_a_machine_that_fails_fails_the_test(project: Project) -> None:
    text = """
async def program(ports):
    await ports.clock.sleep(2)
    raise KeyError("x")

@simulated(seeds=3, profile="calm")
async def test_it(world):
    world.start("server", program)
    await trio.sleep(100)
"""
    status, out = project.test(text)
    assert status == 1
    assert "SimulationFailed: seed 0: unexpected KeyError\n" in out
    assert "at 2.000000 virtual seconds" in out


def test_skips_and_expected_failures_keep_their_meaning(project: Project) -> None:
    text = """
@simulated(seeds=3)
async def test_skipped(world):
    pytest.skip("not here")

@simulated(seeds=3)
async def test_xfailed(world):
    pytest.xfail("not yet")

@pytest.mark.xfail(strict=True)
@simulated(seeds=3)
async def test_marked(world):
    assert False
"""
    status, out = project.test(text)
    assert status == 0
    assert "1 skipped, 2 xfailed" in out


def test_timelines_are_written_for_failures(project: Project) -> None:
    status, out = project.test(FAILING, "--sim-html", "pages/new")
    assert status == 1
    page = project.folder / "pages" / "new" / "test-it-py--test-it-seed-3.html"
    assert f"timeline: {page.relative_to(project.folder)}" in said(out)
    assert "exactly once" in page.read_text()


def test_a_test_that_is_not_of_its_seed_alone_is_told(project: Project) -> None:
    text = """
import itertools
count = itertools.count()

@simulated(seeds=3, profile="calm")
async def test_it(world):
    world.note(f"{next(count)}")
    assert False
"""
    _, out = project.test(text, "--sim-html", "pages")
    assert "of another history: this test does not depend on its seed alone" in out


@pytest.mark.slow
def test_fixtures_parameters_and_classes_work(project: Project) -> None:
    text = """
@pytest.fixture
def number():
    log("set up")
    yield 7
    log("torn down")

class TestIt:
    @pytest.mark.parametrize("word", ["a", "b"])
    @simulated(seeds=2, profile="calm")
    async def test_it(self, word, number, world):
        log(word, number, world.setup.seed)

@simulated(seeds=2, profile="calm")
async def test_without_world():
    await trio.sleep(1000)
"""
    status, out = project.test(text, plugins=[*PLUGIN, *PYTEST_TRIO, "-o", "trio_mode=true"])
    assert status == 0, out
    expected = [["set up", f"{word} 7 0", f"{word} 7 1", "torn down"] for word in "ab"]
    assert project.log == expected[0] + expected[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("@simulated(seeds=0)\nasync def test_it(world): pass", "seeds must be a number, at least"),
        (
            "@simulated(profile='x')\nasync def test_it(world): pass",
            "profile must be one of calm, ",
        ),
        ("@simulated(order='x')\nasync def test_it(world): pass", "one of random, pct, not 'x'"),
        ("@simulated(duration_seconds=0)\nasync def test_it(world): pass", "must be positive"),
        (
            "@simulated(duration_seconds=float('inf'))\nasync def test_it(world): pass",
            "must be positive, up to 1e+09, not inf",
        ),
        ("@simulated(duration_seconds='5')\nasync def test_it(world): pass", "not '5'"),
        (
            "@simulated(duration_seconds=5, heal_seconds=6)\nasync def test_it(world): pass",
            "heal_seconds must be 0 to the duration, 5, not 6",
        ),
        ("@simulated(hosts='ab')\nasync def test_it(world): pass", "a list of names or HostTraits"),
        ("@simulated(hosts=['a', 'a'])\nasync def test_it(world): pass", "must have names, each"),
        ("@simulated(hosts=[5])\nasync def test_it(world): pass", "must have names, each"),
        ("@simulated()\ndef test_it(world): pass", "@simulated is for async tests, test_it is"),
        ("@pytest.mark.simulated(3)\nasync def test_it(world): pass", "takes keywords only"),
        ("@pytest.mark.simulated(x=3)\nasync def test_it(world): pass", "has no x, there are"),
        ("def test_it(world): pass", "'world' is for tests marked with @simulated"),
    ],
)
def test_what_is_marked_wrongly_is_told_in_one_line(
    project: Project, text: str, complaint: str
) -> None:
    status, out = project.test(text)
    assert status == 1
    assert complaint in out
    assert "Traceback" not in out


def test_faults_that_the_plan_has_not_cannot_be_kept(project: Project) -> None:
    text = "@simulated(seeds=1, profile='calm')\nasync def test_it(world): pass"
    status, out = project.test(text, "--sim-keep", "3")
    assert status == 1
    assert "--sim-keep 3: the plan of seed 0 has 0 faults, counted from 0" in out
    assert project.test(text, "--sim-keep", "none")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nursery", "number"])
def test_async_fixtures_are_refused_in_one_line(project: Project, name: str) -> None:
    text = f"""
@pytest.fixture
async def number():
    return 7

@simulated()
async def test_it(world, {name}):
    pass
"""
    status, out = project.test(text, plugins=[*PLUGIN, *PYTEST_TRIO, "-o", "trio_mode=true"])
    assert status == 1
    assert f"@simulated cannot use the fixture {name!r}: it belongs to pytest-trio" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--sim-seed", "x"], "--sim-seed: 'x' is no seed, write a number"),
        (["--sim-seeds", "3:x"], "--sim-seeds: '3:x' is no range, write START:END or a number"),
        (["--sim-seeds", "3:3"], "--sim-seeds: '3:3' is empty"),
        (["--sim-keep", "a"], "--sim-keep: 'a': write positions as 3,7, or none"),
    ],
)
def test_bad_options_are_told_in_one_line(
    project: Project, words: list[str], complaint: str
) -> None:
    status, out = project.test(EACH_SEED, *words)
    assert (status, out) == (4, f"ERROR: {complaint}\n\n")


def test_who_marks_nothing_pays_nothing(project: Project) -> None:
    text = """
import sys

def test_it():
    loaded = sorted(name for name in sys.modules if name.startswith(("trio440.", "trio.")))
    assert loaded == ["trio440.sim", "trio440.sim.marking", "trio440.sim.pytest_plugin"]
"""
    path = project.folder / "test_nothing.py"
    path.write_text(text)
    status, out = project.test("", "--deselect", "test_it.py", "test_nothing.py", fresh=True)
    assert status == 0, out


def test_the_mark_is_listed(project: Project) -> None:
    status, out = project.test("", "--markers")
    assert status == 0
    assert "@pytest.mark.simulated(seeds=100, profile='flaky'" in out


@pytest.mark.slow
def test_several_processes_share_the_work(project: Project) -> None:
    status, out = project.test(FAILING, "-n", "2", plugins=[*PLUGIN, "-p", "xdist"])
    assert status == 1
    assert "seed 3: exactly once" in out


SEEN: list[tuple[int, int]] = []


@simulated(seeds=3, profile="calm")
async def test_this_suite_has_simulated_tests(world: World) -> None:
    await trio.sleep(1000)
    SEEN.append((world.setup.seed, world.now()))


@simulated(seeds=1, profile="calm")
async def test_each_of_its_worlds_is_a_new_one(world: World) -> None:
    assert world.now() == 0
    assert SEEN in ([], [(seed, 1_000_000_000) for seed in range(3)])
