"""What the commands say about the progress of jobs."""

import io
import sys

import pytest

from trio440.cli.progress import describe, duration, name, open_display, rate
from trio440.mining import JobProgress, NonceRange


def job(*, text: str = "msg", done: int = 25, miners: int = 2, speed: float = 5.0) -> JobProgress:
    return JobProgress(
        number=7,
        client=1,
        text=text,
        nonces=NonceRange(1, 100),
        done=done,
        miners=miners,
        nonces_per_second=speed,
        best=None,
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.9, "1 min 0 s"),
        (119.9, "2 min 0 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (3.2e10, "1,015 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("speed", "text"),
    [(0.0, "0 hashes/s"), (999_999, "999999 hashes/s"), (41.34e6, "41.3 million hashes/s")],
)
def test_rates(speed: float, text: str) -> None:
    assert rate(speed) == text


def test_a_job_in_words() -> None:
    assert describe(job()) == "5 hashes/s by 2 miners, 15 s left"
    assert describe(job(miners=1)) == "5 hashes/s by 1 miner, 15 s left"
    assert describe(job(miners=0, speed=0.0)) == "0 miners at work"


def test_texts_are_cut_and_show_no_control_characters() -> None:
    assert name(job(text="short\n\x1b[2J")) == r"job 7 'short\n\x1b[2J'"
    assert name(job(text="x" * 1000)) == f"job 7 '{'x' * 19}…'"


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display() as display:
        display.show([job(), job(done=99)])
        display.show([])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "job 7 'msg': 25.0 % done, 5 hashes/s by 2 miners, 15 s left",
        "job 7 'msg': 99.0 % done, 5 hashes/s by 2 miners, 0 s left",
    ]


def test_bars_on_a_terminal_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with open_display() as display:
        display.show([job(text="[bold]one")])
        display.show([])
    assert "job 7 '[bold]one'" in terminal.getvalue()
    assert "5 hashes/s by 2 miners" in terminal.getvalue()
