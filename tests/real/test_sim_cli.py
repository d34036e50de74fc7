"""``trio440 sim`` as a person meets it: campaigns, replays, deliberate bugs."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import (
    TRIO440,
    Program,
    children_of,
    cpu_ticks,
    finished,
    is_running,
    started,
    wait_until,
)
from trio440.cli.root import run_command_line

pytestmark = pytest.mark.real

TOYS = "tests.support.toy_systems"
GOOD, LOUD, FLAWED, SPINS, DIES, STUMBLES = (
    f"{TOYS}:{name}" for name in ("GOOD", "LOUD", "FLAWED", "SPINS", "DIES", "STUMBLES")
)
FAILS = "level B: seed {} failed at 12.000000 s: nothing breaks"
REPLAY = f"trio440 sim replay {FLAWED} --level B --seed {{}} --profile hostile"
PROGRESS = re.compile(r"^(level [AB]: |\d+ of \d+ ablations).*\n", re.MULTILINE)
SPEED = r"in \d+\.\d s, \d+\.\d seeds/s on 1 core, \d+\.\d a core; \d+ virtual seconds, \d+ events"

named = pytest.mark.parametrize


def sim(*words: str, cwd: Path | None = None) -> tuple[int, list[str], str]:
    """Run a command; the lines of its standard output, and its standard error.

    How far it is, it says every two seconds, as often as a busy machine lets it take.
    """
    command = [*TRIO440, "sim", *words]
    status, out, err = finished(command) if cwd is None else finished(command, cwd=cwd)
    return status, out.splitlines(), PROGRESS.sub("", err)


# Campaigns


@named("level", ["A", "B"])
def test_a_campaign_that_passes_is_one_line(level: str) -> None:
    words = ["--level", level, "--seeds", "3:9", "--jobs", "1"]
    status, out, err = sim("run", GOOD, *words)
    assert (status, err) == (0, "")
    head = f"level {level}: {GOOD}, profile flaky, seeds 3:9: all 6 passed "
    assert len(out) == 1
    assert re.fullmatch(re.escape(head) + SPEED, out[0])


@pytest.mark.slow
def test_level_b_is_meant_where_nothing_is_said_and_a_number_is_a_range() -> None:
    status, out, _ = sim("run", GOOD, "--seeds", "4", "--jobs", "2")
    assert status == 0
    assert out[0].startswith(f"level B: {GOOD}, profile flaky, seeds 0:4: all 4 passed in ")


@pytest.mark.slow
def test_failures_are_told_and_the_first_is_shrunk() -> None:
    words = ["--seeds", "5:15", "--profile", "hostile", "--jobs", "1"]
    status, out, err = sim("run", FLAWED, *words)
    assert (status, err) == (1, "")
    assert all(line.startswith("level B: ") for line in out)
    broke = ["level B:     it broke", "level B:     twice"]
    expected = []
    for seed in (8, 13):
        expected += [FAILS.format(seed), *broke, f"level B:     replay: {REPLAY.format(seed)}"]
    assert out[:8] == expected
    assert re.fullmatch(r"level B: 2 of \d+ faults of seed 8 matter \(\d+ runs\):", out[8])
    assert re.match(r"level B:     fault 0: \S", out[9])
    assert re.match(r"level B:     fault 2: \S", out[10])
    least = f"level B:     replay: {REPLAY.format(8)} --keep 0,2"
    assert out[11:15] == [FAILS.format(8), *broke, least]
    head = f"level B: {FLAWED}, profile hostile, seeds 5:15: 2 of 10 failed "
    assert re.fullmatch(re.escape(head) + SPEED, out[15])
    assert len(out) == 16


def test_the_command_that_was_printed_replays_the_failure() -> None:
    _, out, _ = sim("run", FLAWED, "--seeds", "8:9", "--profile", "hostile", "--jobs", "1")
    for line in out:
        if match := re.fullmatch("level B:     replay: trio440 (.*)", line):
            status, replayed, err = sim(*match[1].split()[1:])
            assert (status, err) == (1, "")
            assert FAILS.format(8) in replayed


@pytest.mark.slow
def test_several_jobs_find_the_same() -> None:
    words = ["--seeds", "20", "--profile", "hostile", "--no-shrink"]
    alone, shared = (sim("run", FLAWED, *words, "--jobs", jobs) for jobs in ("1", "2"))
    assert sorted(alone[1][:-1]) == sorted(shared[1][:-1])
    assert sum("failed at" in line for line in alone[1]) == 4


@pytest.mark.slow
def test_fail_fast_ends_at_the_first_failure() -> None:
    words = ["--seeds", "3:5000", "--profile", "hostile", "--fail-fast", "--no-shrink"]
    status, out, _ = sim("run", FLAWED, *words, "--jobs", "2")
    assert status == 1
    assert sum("failed at" in line for line in out) == 1
    assert re.search(r": 1 of \d+ failed, \d+ not run in ", out[-1])


@pytest.mark.slow
def test_a_history_that_is_another_in_another_process_is_told() -> None:
    status, out, _ = sim("run", f"{TOYS}:DIFFERS", "--seeds", "1", "--no-shrink")
    assert status == 1
    assert out[3].startswith("level B: seed 0 has another history in another process: ")


@pytest.mark.slow
def test_of_many_failures_only_the_first_are_told_in_full() -> None:
    status, out, _ = sim("run", f"{TOYS}:DIFFERS", "--seeds", "8", "--no-shrink", "--jobs", "1")
    assert status == 1
    assert sum("it broke" in line for line in out) == 5
    assert sum("failed at" in line for line in out) == 8
    assert sum("replay: " in line for line in out) == 8


@pytest.mark.slow
def test_shrinking_keeps_its_bound() -> None:
    words = ["--seeds", "8:9", "--profile", "hostile", "--shrink-runs", "2", "--jobs", "1"]
    status, out, _ = sim("run", FLAWED, *words)
    assert status == 1
    assert "(2 runs; the search was cut short, perhaps fewer do):" in out[4]


@pytest.mark.slow
def test_a_seed_that_spins_is_ended_and_named() -> None:
    status, out, err = sim("run", SPINS, "--seeds", "5", "--limit", "0.5", "--jobs", "1")
    assert (status, err) == (1, "")
    assert out[0] == "level B: seed 2 failed: the run ends"
    assert "after 0.5 s of real time" in out[1]
    assert "it was in spin, " in out[2]
    assert out[3].endswith(f"trio440 sim replay {SPINS} --level B --seed 2 --profile flaky")
    assert ": 1 of 5 failed in" in out[4]


@pytest.mark.slow
def test_a_seed_that_takes_its_process_down_is_named() -> None:
    status, out, err = sim("run", DIES, "--seeds", "5", "--jobs", "1")
    assert (status, err) == (1, "")
    assert out[0] == "level B: seed 2 failed: its process survives"
    assert out[1] == "level B:     the process that ran it was killed by SIGKILL"
    assert ": 1 of 5 failed in" in out[3]


@pytest.mark.slow
def test_an_exception_is_a_failure() -> None:
    status, out, err = sim("run", STUMBLES, "--seeds", "1", "--profile", "calm", "--jobs", "1")
    assert (status, err) == (1, "")
    assert out[0] == "level B: seed 0 failed at 1.500000 s: unexpected ValueError"
    assert "no such thing" in out[1]


def test_job_processes_that_cannot_start_are_one_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from trio440.cli.running import guard, run\n"
        "from trio440.cli.simulation.campaigns import Options, run_campaign\n"
        "from trio440.sim.campaign import Plan\n"
        "options = Options(plan=Plan(system='lsp', seeds=range(9)), jobs=2)\n"
        "sys.exit(guard(lambda: run(lambda: run_campaign(options, run='os:nothing'))))\n"
    )
    status, out, err = finished([sys.executable, program])
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("trio440: error: ")


@named(
    ("words", "number"),
    [
        (["run", SPINS, "--seeds", "2:99", "--jobs", "2"], signal.SIGINT),
        (["run", GOOD, "--seeds", "99999"], signal.SIGTERM),
    ],
)
def test_ctrl_c_ends_everything_within_a_second(words: list[str], number: signal.Signals) -> None:
    with started([*TRIO440, "sim", *words]) as program:
        jobs = wait_for_jobs(program)
        program.signal(number)
        status, out, err = program.end()
        assert (status, out) == (128 + number, "")
        assert re.fullmatch(r"(level B: .*\n)*", err)
        wait_until(lambda: not any(map(is_running, jobs)))


@pytest.mark.slow
def test_jobs_end_when_the_command_is_killed() -> None:
    with started([*TRIO440, "sim", "run", GOOD, "--seeds", "99999", "--jobs", "2"]) as program:
        jobs = wait_for_jobs(program)
        program.signal(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, jobs)))


def wait_for_jobs(program: Program, count: int = 2) -> list[int]:
    """The processes that a campaign has started, once all are at work."""

    def are_at_work() -> bool:
        jobs = children_of(program.pid)
        return len(jobs) >= count and min(map(cpu_ticks, jobs)) >= 20

    wait_until(are_at_work)
    return children_of(program.pid)


# Replays


def test_what_a_system_prints_disturbs_nobody() -> None:
    status, out, err = sim("replay", LOUD, "--seed", "1", "--hash")
    assert (status, err) == (0, "a system may print\n")
    assert re.fullmatch(r"[0-9a-f]{64}", "".join(out))
    status, out, err = sim("run", LOUD, "--seeds", "2", "--jobs", "1")
    assert (status, err) == (0, "a system may print\n" * 2)
    assert len(out) == 1


@pytest.mark.slow
def test_a_replay_is_the_same_in_every_process() -> None:
    command = [*TRIO440, "sim", "replay", GOOD, "--seed", "7", "--profile", "hostile", "--hash"]
    hashes = set()
    for seed in ("1", "2"):
        with started(command, env={"PYTHONHASHSEED": seed}) as program:
            status, out, _ = program.end()
        assert status == 0
        hashes.add(out)
    assert len(hashes) == 1
    assert re.fullmatch(r"[0-9a-f]{64}\n", hashes.pop())


@named("level", ["A", "B"])
def test_a_replay_says_what_came_of_it(level: str) -> None:
    words = ["--seed", "7", "--level", level]
    status, out, _ = sim("replay", GOOD, *words)
    _, alone, _ = sim("replay", GOOD, *words, "--hash")
    assert status == 0
    head = f"level {level}: {GOOD}, seed 7, profile flaky: passed after "
    assert re.fullmatch(re.escape(head) + r"\d+\.\d{6} s, \d+ events", out[0])
    assert out[1:] == [f"level {level}: hash {alone[0]}"]


def test_a_replay_that_fails_lists_its_faults() -> None:
    words = ["--seed", "8", "--profile", "hostile", "--keep", "2,0"]
    status, out, err = sim("replay", FLAWED, *words)
    assert (status, err) == (1, "")
    assert re.search(r", seed 8, profile hostile, 2 of \d+ faults: failed after 12\.", out[0])
    assert out[1:5] == [
        FAILS.format(8),
        "level B:     it broke",
        "level B:     twice",
        f"level B:     replay: {REPLAY.format(8)} --keep 0,2",
    ]
    assert [line[: len("level B:     fault 0")] for line in out[5:7]] == [
        "level B:     fault 0",
        "level B:     fault 2",
    ]
    assert out[7].startswith("level B: hash ")
    status, out, _ = sim("replay", FLAWED, *words, "--hash")
    assert status == 1
    assert len(out) == 1


def test_no_fault_happens_where_none_is_kept() -> None:
    words = ["--seed", "8", "--profile", "hostile", "--keep", "none"]
    status, out, _ = sim("replay", FLAWED, *words)
    assert status == 0
    assert "hostile, 0 of " in out[0]


def test_a_trace_is_every_event() -> None:
    status, out, _ = sim("replay", GOOD, "--seed", "3", "--level", "A", "--trace")
    assert status == 0
    match = re.search(r", (\d+) events$", out[-2])
    assert match
    assert len(out) == int(match[1]) + 2
    assert all(re.match(r" *\d+\.\d{6} \S+ +\S+ ", line) for line in out[:-2])
    assert any(" send " in line for line in out[:-2])


def test_a_replay_that_spins_is_ended() -> None:
    status, out, err = sim("replay", SPINS, "--seed", "2", "--limit", "0.5")
    assert (status, err) == (1, "")
    assert out[0] == "level B: seed 2 failed: the run ends"
    assert "it was in spin, " in out[2]


@pytest.mark.slow
@named("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_replay_that_spins(number: signal.Signals) -> None:
    with started([*TRIO440, "sim", "replay", SPINS, "--seed", "2"]) as program:
        wait_until(lambda: cpu_ticks(program.pid) >= 30)
        program.signal(number)
        assert program.end() == (128 + number, "", "")


# Pages


@pytest.mark.slow
def test_pages_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ["--seeds", "8:9", "--profile", "hostile", "--jobs", "1"]
    status, out, _ = sim("run", FLAWED, *words, "--html", str(page))
    assert status == 1
    assert out[-2] == f"level B: the timeline of seed 8 is in {page}"
    assert "nothing breaks" in page.read_text()
    page.unlink()
    status, out, _ = sim("replay", GOOD, "--seed", "1", "--html", str(page))
    assert status == 0
    assert out[-1] == f"level B: the timeline is in {page}"
    assert page.read_text().startswith("<!")


def test_a_page_that_cannot_be_written_is_one_line() -> None:
    words = ["--seeds", "1", "--jobs", "1", "--html", "/dev/full"]
    status, _, err = sim("run", GOOD, *words)
    assert status == 1
    expected = "trio440: error: /dev/full cannot be written: no space left on device\n"
    assert err == expected


@pytest.mark.slow
def test_there_is_no_page_of_what_does_not_end(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ["--seeds", "2:3", "--limit", "0.3", "--jobs", "1", "--html", str(page)]
    status, out, _ = sim("run", SPINS, *words)
    assert status == 1
    assert out[-2] == "level B: there is no timeline of seed 2"
    assert not page.exists()


def test_what_there_is_is_listed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trio440.cli.sim.SYSTEMS", {GOOD: "", FLAWED: ""})
    monkeypatch.setattr(sys, "argv", ["trio440", "sim", "list"])
    assert run_command_line() == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:4] == [
        "systems:",
        f"  {GOOD}    level A and B: plays",
        f"  {FLAWED}  level B: breaks",
        "levels: A, B",
    ]
    assert lines[4].startswith("profiles: calm, flaky, hostile, ")


# Bad input

NAMES = "is not one of actors, core, kv, linekv, lsp, miner, raft, or MODULE:NAME"
BAD_INPUT = {
    "run": "Missing argument 'SYSTEM'.",
    "run paxos": f"'SYSTEM': 'paxos' {NAMES}",
    "run nowhere:SYSTEM": f"'SYSTEM': 'nowhere:SYSTEM' {NAMES}",
    "replay paxos --seed 1": f"'SYSTEM': 'paxos' {NAMES}",
    f"replay {GOOD}": "Missing option '--seed'.",
    f"run {GOOD} --level C": "'--level': 'C' is not one of 'A', 'B'.",
    f"run {FLAWED} --level A": "'--level': 'A' is not B for flawed",
    f"run {GOOD} --profile sunny": "lossy, shuffled, garbled, narrow, partitions, crashes,"
    " blackouts, disks, clocks",
    f"run {GOOD} --seeds 5:5": "'5:5' is empty, its end must be greater than its start",
    f"run {GOOD} --seeds 0": "'0' is empty, its end must be greater than its start",
    f"run {GOOD} --seeds 1:x": "'1:x' is no range of seeds, write START:END (without END) or a"
    " number",
    f"run {GOOD} --seeds :": "':' is no range of seeds, write START:END (without END) or a number",
    f"run {GOOD} --jobs 0": "'--jobs': 0 is not in the range 1<=x<=256.",
    f"run {GOOD} --limit 0": "'--limit': 0.0 is not in the range x>0.",
    f"run {GOOD} --order fifo": "'--order': 'fifo' is not one of 'random', 'pct'.",
    f"run {GOOD} --html /nowhere/x": "'--html': /nowhere is no directory",
    f"run {GOOD} --html /tmp": "'--html': /tmp is a directory",
    f"replay {GOOD} --seed -1": "'-1' is no seed, they go from 0 to 18446744073709551615",
    f"replay {GOOD} --seed 1 --keep 1,": "'1,': write positions of faults as 3,7, or none",
    f"replay {GOOD} --seed 1 --profile calm --keep 9": "'--keep': the plan has no fault 9, it has"
    " none",
    "ablations --max-seeds 0": "'--max-seeds': 0 is not in the range x>=1.",
}


@named("arguments", BAD_INPUT)
def test_bad_input_is_one_line(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trio440", "sim", *arguments.split()])
    status = run_command_line()
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("trio440 sim ")
    assert err.endswith(f"{BAD_INPUT[arguments]}\n")
    assert err.count("\n") == 1


# Deliberate bugs

BUGS = """
from contextlib import contextmanager
from unittest import mock

import toys
from trio440.sim.ablating import Ablation

def patch(value):
    return lambda: mock.patch.object(toys, "WRONG", value)

def bug(name, value, within=20, first=0):
    return Ablation(
        name=name, system="toys:SYSTEM", level="B", profile="calm",
        description="d", apply=patch(value), within=within, first=first,
    )

ABLATIONS = [
    bug("from-4-on", 4), bug("never-seen", 99), bug("at-once", 0), bug("later", 4, first=3),
]
"""
TOY = """
from trio440.sim.systems import System

WRONG = 1000

async def story(world):
    world.require(world.setup.seed < WRONG, "small seeds", "too large")

SYSTEM = System(name="toy", summary="", hosts=(), level_b=story)
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "tests" / "ablations").mkdir(parents=True)
    (tmp_path / "trio440").mkdir()
    (tmp_path / "toys.py").write_text(TOY)
    (tmp_path / "tests" / "ablations" / "toy_bugs.py").write_text(BUGS)
    return tmp_path


def test_each_deliberate_bug_is_looked_for(clone: Path) -> None:
    inside = clone / "tests"
    status, out, err = sim("ablations", "--jobs", "1", cwd=inside)
    assert (status, err) == (1, "")
    assert out[:4] == [
        "level B: from-4-on   toys:SYSTEM  calm  found in 5 seeds: small seeds",
        "level B: never-seen  toys:SYSTEM  calm  NOT FOUND in 20 seeds",
        "level B: at-once     toys:SYSTEM  calm  found in 1 seed: small seeds",
        "level B: later       toys:SYSTEM  calm  found in 2 seeds from 3 on: small seeds",
    ]
    assert re.fullmatch(r"level B: 1 of 4 NOT FOUND; 28 seeds in \d+\.\d s", out[4])


@pytest.mark.slow
def test_a_system_that_cannot_be_run_finds_nothing(clone: Path) -> None:
    (clone / "toys.py").write_text("import nothing_of_this_name\n")
    (clone / "tests" / "ablations" / "toy_bugs.py").write_text(
        BUGS.replace("import toys\n", "").replace('object(toys, "WRONG", value)', "dict({})")
    )
    status, out, _ = sim("ablations", "at-once", "--jobs", "1", cwd=clone)
    assert status == 1
    assert "NOT FOUND: the simulator itself works, but ModuleNotFoundError: " in out[0]


@pytest.mark.slow
def test_a_patch_that_does_not_fit_finds_nothing(clone: Path) -> None:
    bugs = clone / "tests" / "ablations" / "toy_bugs.py"
    bugs.write_text(BUGS.replace('("at-once", 0)', '("at-once", "zero")'))
    status, out, _ = sim("ablations", "at-once", "--jobs", "1", cwd=clone)
    assert status == 1
    assert "NOT FOUND: unexpected TypeError, but '<' not supported between" in out[0]


@pytest.mark.slow
def test_bugs_can_be_named_and_seeds_bounded(clone: Path) -> None:
    status, out, _ = sim("ablations", "at-once", "from-4-on", "--jobs", "2", cwd=clone)
    assert status == 0
    assert re.fullmatch(r"level B: all 2 found; 6 seeds in \d+\.\d s", out[2])
    status, out, _ = sim("ablations", "from-4-on", "--max-seeds", "3", cwd=clone)
    assert status == 1
    assert out[0].endswith("NOT FOUND in 3 seeds")


def test_an_unknown_bug_is_one_line(clone: Path) -> None:
    status, out, err = sim("ablations", "x", cwd=clone)
    assert (status, out) == (2, [])
    assert err == (
        "trio440 sim ablations: error: Invalid value for 'NAME': 'x' is not one of"
        " from-4-on, never-seen, at-once, later\n"
    )


def test_outside_a_clone_it_is_one_line(tmp_path: Path) -> None:
    status, out, err = sim("ablations", cwd=tmp_path)
    assert (status, out) == (1, [])
    assert err == (
        "trio440: error: the ablations are in tests/ablations of a clone of trio440,"
        f" and {tmp_path} is in none\n"
    )


def test_two_bugs_of_one_name_are_one_line(clone: Path) -> None:
    (clone / "tests" / "ablations" / "more.py").write_text(BUGS)
    status, _, err = sim("ablations", cwd=clone)
    assert status == 1
    assert err == "trio440: error: ablations must be of different names, not 'from-4-on'\n"


@pytest.mark.slow
def test_progress_is_a_bar_on_a_terminal() -> None:
    command = f"{' '.join(TRIO440)} sim run {FLAWED} --seeds 40 --profile hostile --jobs 1"
    words = ["script", "--quiet", "--return", "--command", f"{command} --no-shrink", os.devnull]
    status, out, _ = finished(words)
    assert status == 1
    assert "━" in out
    lines = [line.strip() for line in out.splitlines()]
    assert any(line.endswith(FAILS.format(8)) for line in lines)
