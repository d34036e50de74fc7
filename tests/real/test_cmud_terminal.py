"""The game as a person meets it: a real terminal, its keys, its size, its colours, and Ctrl-C."""

import re
import shlex
import signal
import sys
from functools import partial

import pytest

from tests.support.processes import TRIO440
from tests.support.terminals import on_terminal

pytestmark = pytest.mark.real

GAME = [*TRIO440, "cmud", "--name", "ada", "--seed", "1", "--fast"]
PROMPT = "ada on floor 5> "
OTHER_ENGINES = ["linearizable", "memory"]

COMPANY = """if True:
    import random, signal, sys
    import trio
    from trio440 import kv
    from trio440.cli import cmud_terminal, running
    from trio440.cmud import Tone, play

    class Bob:
        '''Says something at each of three signals, and leaves at the fourth.'''
        said = 0
        def __init__(self, signals):
            self.signals = signals
        async def ask(self, prompt):
            await anext(self.signals)
            self.said += 1
            return f"say number {self.said}" if self.said <= 3 else None
        def tell(self, text, tone=Tone.PLAIN):
            pass

    async def main():
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            await meet(signals)

    async def meet(signals):
        async with (
            kv.open_memory() as world,
            cmud_terminal.open_terminal_face() as face,
            trio.open_nursery() as nursery,
        ):
            async def ada():
                await play(world, "ada", face, rng=random.Random(1))
                nursery.cancel_scope.cancel()
            async def bob():
                await play(world, "bob", Bob(signals), rng=random.Random(2))
            nursery.start_soon(ada)
            nursery.start_soon(bob)

    sys.exit(running.guard(lambda: running.run(main)))
"""


@pytest.mark.slow
def test_a_line_is_edited_while_others_speak() -> None:
    with on_terminal([sys.executable, "-c", COMPANY]) as terminal:
        let_bob_go_on = partial(terminal.process.send_signal, signal.SIGUSR1)
        terminal.wait_for(PROMPT)
        terminal.type("say helo you")
        terminal.wait_for(rf"{PROMPT}say helo you\Z")
        let_bob_go_on()
        terminal.wait_for(rf'bob: "number 1"\n{PROMPT}say helo you\Z')
        terminal.type("\x1b[D" * 5 + "l")
        terminal.wait_for(rf"{PROMPT}say hello you\Z")
        let_bob_go_on()
        terminal.wait_for(rf'bob: "number 2"\n{PROMPT}say hello you\Z')
        behind = len(PROMPT + "say hell")
        terminal.wait_until(lambda: terminal.screen.column == behind, "cursor behind the l")
        terminal.type("\r")
        terminal.wait_for(r'^You: "hello you"$')
        let_bob_go_on()
        terminal.wait_for('bob: "number 3"')
        let_bob_go_on()
        terminal.wait_for("bob is gone")
        assert [row for row in terminal.screen.rows if row.startswith("bob:")] == [
            f'bob: "number {number}"' for number in (1, 2, 3)
        ]
        terminal.type("quit\r")
        assert terminal.end() == 0
        assert terminal.mode() == (True, True)


@pytest.mark.slow
def test_keys_history_and_what_is_typed_ahead() -> None:
    with on_terminal(GAME) as terminal:
        terminal.wait_for(PROMPT)
        assert terminal.mode() == (False, False)
        terminal.type("mine 2\rmap\r")
        terminal.wait_for("CMUD, the campus")
        assert "Altogether" in terminal.text.partition("CMUD, the campus")[0]
        terminal.type("\x1b[A\x1b[A")
        terminal.wait_for(PROMPT + r"mine 2\Z")
        terminal.type("\x1b[B\x1b[B" + "xinv" + "\x01\x1b[3~\r")
        terminal.wait_for(r"^ +2  coins$")
        terminal.type("\x04")
        assert terminal.end() == 0
        assert "You turn up your collar" in terminal.text
        assert terminal.mode() == (True, True)


@pytest.mark.parametrize(
    "engine", ["eventual", *(pytest.param(e, marks=pytest.mark.slow) for e in OTHER_ENGINES)]
)
def test_ctrl_c_ends_it_at_once_and_gives_the_terminal_back(engine: str) -> None:
    with on_terminal([*GAME[:-1], "--engine", engine]) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("mine 100\r")
        terminal.wait_for("mining [0-9]+ of 100 ━")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert terminal.mode() == (True, True)
        assert terminal.screen.rows[-1] == ""
        assert "Traceback" not in terminal.text


@pytest.mark.slow
def test_a_bar_moves_while_one_mines_and_is_gone_then() -> None:
    with on_terminal([*GAME[:-1]]) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("mine\r")
        bar = re.compile(r"mining 1 of 1 [━╸╺]+ +([0-9]+)%")
        terminal.wait_until(lambda: any(map(bar.fullmatch, terminal.screen.erased)), "bar")
        terminal.wait_for(rf"^{PROMPT}\Z")
        assert "mining 1" not in terminal.text
        shares = [int(each[1]) for each in map(bar.fullmatch, terminal.screen.erased) if each]
        assert shares == sorted(shares)
        assert len(set(shares)) >= 3
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.slow
def test_another_size_is_followed() -> None:
    with on_terminal(GAME, columns=70) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("x" * 100)
        terminal.wait_for(rf"{PROMPT}x{{52}}\Z")
        terminal.resize(40)
        terminal.wait_for(rf"{PROMPT}x{{22}}\Z")
        terminal.type("\x15look\r")
        terminal.wait_for(r"wide\nlanding")
        assert all(len(row) < 40 for row in terminal.text.rpartition("> look")[2].splitlines())
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "has_colour", "has_style"),
    [({}, True, True), ({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False)],
    ids=["colour", "no colour", "dumb"],
)
def test_colour_where_it_is_wanted(env: dict[str, str], has_colour: bool, has_style: bool) -> None:
    with on_terminal(GAME, env=env) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("mine 2\n")
        terminal.wait_for("Altogether")
        terminal.type("\x04")
        assert terminal.end() == 0
        styles = {part for style in terminal.screen.styles for part in style.split(";")}
        assert bool(styles & {"31", "32", "33", "34", "35", "36", "38"}) == has_colour
        assert bool(styles & {"1", "2"}) == has_style


@pytest.mark.slow
def test_a_dumb_terminal_edits_the_line_itself() -> None:
    with on_terminal(GAME, env={"TERM": "dumb"}) as terminal:
        terminal.wait_for(PROMPT)
        assert terminal.mode() == (True, True)
        terminal.type("mine 1\n")
        terminal.wait_for(r"^\.\.\. mining 1 of 1$")
        terminal.wait_for(rf"^{PROMPT}\Z")
        terminal.type("\x03")
        assert terminal.end() == 130


@pytest.mark.slow
def test_a_name_is_asked_for_until_there_is_one() -> None:
    with on_terminal([*TRIO440, "cmud", "--fast"]) as terminal:
        terminal.wait_for("Your name> ")
        terminal.type("a/b\r")
        terminal.wait_for("name must be without a slash")
        terminal.type("bob\r")
        terminal.wait_for("bob on floor 5> ")
        terminal.type("quit\r")
        assert terminal.end() == 0
    with on_terminal([*TRIO440, "cmud"]) as terminal:
        terminal.wait_for("Your name> ")
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["eventual", "linearizable"])
def test_others_come_to_a_store_in_this_process_as_it_says(engine: str) -> None:
    options = ["--namespace", "the campus", "--engine", engine]
    with on_terminal([*GAME, *options]) as terminal:
        terminal.wait_for(PROMPT)
        invitation = re.search(r"Others come to it by\n  (trio440 cmud --at .*)\n", terminal.text)
        assert invitation is not None
        _, *words = shlex.split(invitation[1])
        bob = [*TRIO440, *words, "--name", "bob", "--fast"]
        with on_terminal(bob, columns=100) as other:
            other.wait_for(r"With you: ada \(Undergraduate\)")
            terminal.wait_for("^bob comes in")
            assert "thers come" not in other.text
            other.type("say hello\rquit\r")
            terminal.wait_for('^bob: "hello"')
            assert other.end() == 0
        terminal.wait_for("^bob is gone")
        terminal.type("quit\r")
        assert terminal.end() == 0


@pytest.mark.slow
def test_it_goes_on_after_having_been_stopped() -> None:
    with on_terminal(GAME) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("loo")
        terminal.wait_for(PROMPT + "loo")
        terminal.process.send_signal(signal.SIGSTOP)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.type("k\r")
        terminal.wait_for("(?s)Landing.*Landing")
        terminal.type("\x04")
        assert terminal.end() == 0
