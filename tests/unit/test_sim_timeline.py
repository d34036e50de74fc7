"""The HTML page of a history: what it holds, that nothing in it is markup, and that it runs."""

import base64
import hashlib
import html
import json
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.processes import PATIENCE_SECONDS
from trio440.sim.checking.explanation import Attempt, Explanation, Shown
from trio440.sim.checking.history import Call, Operation
from trio440.sim.outcome import Failure, Outcome, Setup
from trio440.sim.timeline import render_page
from trio440.sim.trace import WORLD, Event, Trace

VOID = {"meta", "input"}
NODE = shutil.which("node")
ROOT = Path(__file__).resolve().parents[2]
DOM = ROOT / "tests" / "support" / "timeline_dom.js"
MODEL = ROOT / "trio440" / "sim" / "timeline" / "model.js"
needs_node = pytest.mark.skipif(NODE is None, reason="runs the page's script by node")

ATTACKS = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>--><img src=x onerror=alert(1)>",
    '" onfocus="alert(1)" autofocus="',
    "' & &lt;b&gt; &amp;amp;",
    "{{data}} {{script}} \\1 \\g<0>",
    "\u2028\u2029 \x00 \x1b[31m \r\n \ud83d \U0001f600 é",
]


class Reader(HTMLParser):
    """Checks that every tag is closed in its order, and collects what the page holds."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def data_of(page: str) -> Any:
    return json.loads(read(page).text["script"][0])


def events_of(page: str) -> list[Event]:
    data = data_of(page)
    return [
        Event(number, at, data["hosts"][host], data["kinds"][kind], text, cause)
        for number, at, host, kind, text, cause in data["events"]
    ]


def outcome_of(events: Sequence[Event], failure: Failure | None = None) -> Outcome:
    setup = Setup("lsp", 7, profile="hostile")
    return Outcome(setup, "ab" * 32, len(events), events[-1].at if events else 0, failure=failure)


def story() -> list[Event]:
    """A small history with something of every kind."""
    trace = Trace(keep=True)
    trace.add(0, "server", "start", "")
    trace.add(0, "client", "start", "")
    sent = trace.add(1_000, "client", "send", "to server: Connect")
    trace.add(1_700, "server", "arrive", "Connect", sent)
    trace.add(1_900, "server", "arrive", "Connect again", sent)
    trace.add(2_000, WORLD, "fault", "partition server from the rest")
    lost = trace.add(2_500, "server", "send", "to client: Ack")
    trace.add(2_500, "server", "drop", "cut", lost)
    asked = trace.add(2_600, "client", "invoke", "get x")
    trace.add(2_600, "client", "invoke", "get y")
    trace.add(3_000, WORLD, "heal", "partition server from the rest")
    trace.add(3_100, "server", "state", "leader of term 2")
    trace.add(3_200, "server", "crash", "")
    trace.add(3_900, "server", "start", "with 2 files")
    trace.add(4_000, "client", "return", "x is 3", asked)
    trace.add(4_100, "client", "pause", "")
    trace.add(9_000, "client", "resume", "")
    trace.add(9_500, "client", "note", "done")
    return list(trace)


def crowd(count: int) -> list[Event]:
    """A long history of five clients that talk with a server."""
    rng = random.Random(1)
    trace = Trace(keep=True)
    now = 0
    while len(trace) < count:
        now += rng.randrange(4_000)
        client = f"client-{rng.randrange(5)}"
        text = f"Data 3 #{len(trace)} 17 bytes to server"
        sent = trace.add(now, client, "send", text)
        if rng.random() < 0.2:
            trace.add(now, client, "drop", "loss", sent)
        else:
            now += 500
            trace.add(now, "server", "arrive", text, sent)
    return list(trace)[:count]


FAILURE = Failure("everything written arrives", "client wrote 3\nserver read <2>", 4_050)


def test_the_page_is_well_formed_and_says_what_came_of_the_history() -> None:
    events = story()
    outcome = attrs.evolve(outcome_of(events, FAILURE), faults=("partition server", "crash server"))
    page = render_page(outcome, events)
    reader = read(page)
    details = reader.text["dd"]
    assert details[:4] == ["lsp", "B", "7", "hostile"]
    assert {"0.009500 s", "18", "ab" * 32, "failed"} <= set(details)
    assert reader.text["strong"] == ["everything written arrives"]
    assert "client wrote 3\nserver read <2>" in reader.text["pre"]
    assert reader.text["li"] == ["partition server", "crash server"]
    fields = {fields.get("id"): fields for tag, fields in reader.tags if tag == "input"}
    assert fields["replay"]["value"] == outcome.setup.replay_command()
    assert data_of(page)["failure"] == {"at": 4_050, "text": "everything written arrives"}


def test_ids_that_the_script_looks_for_are_there_once() -> None:
    page = render_page(outcome_of(story()), story())
    ids = [fields["id"] for _, fields in read(page).tags if "id" in fields]
    assert len(ids) == len(set(ids))
    script = read(page).text["script"][-1]
    wanted = set(re.findall(r'byId\("([\w-]+)"\)', script))
    assert {"data", "canvas", "text"} <= wanted <= set(ids)


def test_the_data_is_the_events() -> None:
    assert events_of(render_page(outcome_of(story()), iter(story()))) == story()


def test_a_history_without_events_or_failure_is_a_page() -> None:
    page = render_page(outcome_of([]), [])
    assert events_of(page) == []
    assert data_of(page)["failure"] is None
    assert "passed" in read(page).text["dd"]
    assert "strong" not in read(page).text


def test_a_trace_that_was_not_kept_whole_is_counted_as_such() -> None:
    outcome = attrs.evolve(outcome_of(story()), events=1_000)
    assert "18 of 1000" in read(render_page(outcome, story())).text["dd"]


def test_faults_that_were_left_out_are_marked() -> None:
    outcome = attrs.evolve(
        outcome_of([]), faults=("one", "two", "three"), setup=Setup("lsp", 7, keep=(1,))
    )
    tags = read(render_page(outcome, [])).tags
    assert [fields.get("class") for tag, fields in tags if tag == "li"] == [
        "left-out",
        None,
        "left-out",
    ]


def test_an_explanation_may_be_any_text() -> None:
    reader = read(render_page(outcome_of([]), [], "get of x fits <nowhere>"))
    assert reader.text["pre"] == ["get of x fits <nowhere>"]
    tags = {tag for tag, _ in read(render_page(outcome_of([]), [])).tags}
    assert not {"section", "table"} & tags


def test_an_explanation_shows_all_operations_and_the_one_that_fits_nowhere() -> None:
    calls = [Call("put", ("<b>",), "x"), Call("get", (), "x"), Call("put", (2,), "x")]
    operations = [
        Operation(0, "c1", calls[0], 100, 0, "ok", 200, 1),
        Operation(1, "c2", calls[1], 300, 2, "ok", 500, 4, None),
        Operation(2, "c1", calls[2], 400, 3),
    ]
    explanation = Explanation(
        model="kv",
        key="x",
        operations=tuple(Shown(each, f"{each.call.name} {each.call.args}") for each in operations),
        culprit=1,
        attempts=(Attempt((0,), "x is <b>", "get gives <b>"),),
        overlapping=(2,),
    )
    reader = read(render_page(outcome_of([]), [], explanation))
    cells = [*reader.text["td"], ""]
    rows = [cells[start : start + 6] for start in range(0, len(cells), 6)]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[0] == ["0", "c1", "put ('<b>',)", "0.000100 s", "0.000200 s", "1"]
    assert rows[1][5] == "fits nowhere"
    assert rows[2][3:] == ["0.000400 s", "unknown", ""]
    marks = [fields.get("class") for tag, fields in reader.tags if tag == "tr"]
    assert marks == [None, None, "culprit", "beside"]
    assert reader.text["pre"] == [str(explanation)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_history_is_markup(attack: str) -> None:
    harmless = _attacked("x")
    page = _attacked(attack)
    assert [(tag, set(fields)) for tag, fields in read(page).tags] == [
        (tag, set(fields)) for tag, fields in read(harmless).tags
    ]
    data = read(page).text["script"][0]
    assert not set("<>&") & set(data)
    assert events_of(page)[0] == Event(0, 0, attack, attack, attack, None)
    assert page.isascii()
    reader = read(page)
    assert reader.text["strong"] == [html.unescape(html.escape(attack)).replace("\ud83d", "\ufffd")]


def _attacked(text: str) -> str:
    setup = Setup(text, 7, profile=text, keep=(0,))
    failure = Failure(text, text, 0)
    outcome = Outcome(setup, text, 1, 0, (text,), failure)
    return render_page(outcome, [Event(0, 0, text, text, text, None)], text)


def test_the_page_asks_nothing_of_the_network_and_runs_its_own_script_only() -> None:
    page = render_page(outcome_of(story()), story())
    reader = read(page)
    assert not re.search(r"https?:|url\(|@import|\bfetch\b|XMLHttp|WebSocket", page)
    assert not any({"src", "href"} & set(fields) for _, fields in reader.tags)
    policy = next(fields["content"] for _, fields in reader.tags if "http-equiv" in fields)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for source in (reader.text["style"][0], reader.text["script"][1]):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_same_history_gives_the_same_page() -> None:
    pages = {render_page(outcome_of(story(), FAILURE), story(), "why") for _ in range(3)}
    assert len(pages) == 1
    assert pages != {render_page(outcome_of(story(), FAILURE), story()[:-1], "why")}


def test_ten_thousand_events_are_all_there_and_small() -> None:
    events = crowd(10_000)
    page = render_page(outcome_of(events), events)
    assert events_of(page) == events
    assert len(page) < 1_000_000


def test_the_scripts_brackets_match() -> None:
    script = read(render_page(outcome_of([]), [])).text["script"][1]
    code = re.sub(r"//[^\n]*|\"[^\"\n]*\"|/\[\^.*?\]\+/u|/\\\.\+\$/", "", script)
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for letter in code:
        if letter in pairs.values():
            stack.append(letter)
        elif letter in pairs:
            assert stack.pop() == pairs[letter]
    assert stack == []


# The script itself


def drive(page: str, *actions: list[Any]) -> list[dict[str, Any]]:
    assert NODE is not None
    data, script = read(page).text["script"]
    task = json.dumps({"data": data, "script": script, "actions": actions})
    done = subprocess.run(
        [NODE, DOM],
        input=task,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def key(name: str) -> list[Any]:
    return ["canvas", "keydown", {"key": name}]


def model_of(events: Sequence[Event]) -> Any:
    """What the script makes of a history, before anything is drawn."""
    assert NODE is not None
    data = data_of(render_page(outcome_of(events), events))
    source = f"{MODEL.read_text()}\nconsole.log(JSON.stringify(buildModel({json.dumps(data)})))"
    done = subprocess.run(
        [NODE, "-"],
        input=source,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return json.loads(done.stdout)


@needs_node
def test_messages_operations_and_bands_are_put_together() -> None:
    model = model_of(story())
    world, server, client = (model["hosts"].index(name) for name in (WORLD, "server", "client"))
    assert [tuple(message.values()) for message in model["messages"]] == [
        (2, 3, client, server, False),
        (2, 4, client, server, False),
        (6, 7, server, client, True),
    ]
    assert [tuple(operation.values()) for operation in model["operations"]] == [
        (8, 14, client, 0, False),
        (9, 18, client, 1, True),
    ]
    assert [tuple(band.values()) for band in model["bands"]] == [
        (5, 10, "fault", [server]),
        (12, 13, "down", [server]),
        (15, 16, "pause", [client]),
    ]
    assert world == 0


@needs_node
def test_a_loss_goes_towards_the_owner_of_its_address() -> None:
    trace = Trace(keep=True)
    trace.add(0, "b", "send", "udp 10.0.0.2:7 > 10.0.0.1:9 1B x")
    trace.add(0, "c", "send", "udp [fd00::3]:7 > 10.0.0.1:9 1B x")
    for address in ("10.0.0.2", "[fd00::3]", "10.0.0.9"):
        sent = trace.add(0, "a", "send", f"udp 10.0.0.1:9 > {address}:7 1B c")
        trace.add(0, "a", "drop", "loss", sent)
    model = model_of(list(trace))
    targets = [model["hosts"][message["target"]] for message in model["messages"]]
    assert targets == ["b", "c", "a"]


@needs_node
def test_faults_overlap_and_one_without_an_end_lasts() -> None:
    trace = Trace(keep=True)
    trace.add(0, "a", "start", "")
    trace.add(0, "b", "start", "")
    trace.add(1, WORLD, "fault", "0: everybody to everybody: loss 10%")
    held = trace.add(2, "b", "fault", "slow disk")
    trace.add(3, WORLD, "heal", "0: everybody to everybody: loss 10%")
    trace.add(4, "b", "heal", "the disk is well", held)
    trace.add(5, WORLD, "fault", "1: clocks of a")
    trace.add(6, "a", "stop", "")
    bands = [tuple(band.values()) for band in model_of(list(trace))["bands"]]
    assert bands == [
        (2, 4, "fault", [0, 1, 2]),
        (3, 5, "fault", [2]),
        (6, 8, "fault", [1]),
        (7, 8, "pause", [1]),
    ]


@needs_node
def test_the_script_draws_every_part_of_a_history() -> None:
    page = render_page(outcome_of(story(), FAILURE), story())
    whole, rows = drive(page, key("t"))
    assert whole["bad"] == rows["bad"] == 0
    assert whole["count"] == "18 of 18 events"
    assert {"(world)", "server", "client"} <= set(whole["fillText"])
    assert "FAILURE everything written arrives" in whole["fillText"]
    texts = "\n".join(rows["fillText"])
    assert "state leader of term 2" in texts
    assert "note done" in texts
    assert "0.009500 s" in texts


@needs_node
def test_keys_buttons_and_wheel_move_the_picture_and_never_lose_it() -> None:
    page = render_page(outcome_of(story(), FAILURE), story())
    names = "+ + - ArrowUp ArrowDown ArrowLeft ArrowRight PageUp PageDown End Home f t f n p 0 t 0"
    wheel = [["canvas", "wheel", {"deltaX": 0, "deltaY": d, "offsetY": 300}] for d in (-99, 999)]
    buttons = ["nearer", "farther", "whole", "axis", "to-failure", "copy"]
    actions = [key(name) for name in names.split()] + wheel * 30
    frames = drive(page, *actions, *([name, "click", {}] for name in buttons))
    assert len(frames) == 1 + len(actions) + len(buttons)
    assert [frame["bad"] for frame in frames] == [0] * len(frames)
    assert frames[0]["fillText"] == frames[len(names.split())]["fillText"]


@needs_node
def test_an_event_is_chosen_by_a_click_and_shown_with_its_other_end() -> None:
    page = render_page(outcome_of(story(), FAILURE), story())
    frames = drive(
        page,
        *(key("n"), key("n"), key("n")),
        key("f"),
        ["canvas", "pointerdown", {"pointerId": 1, "offsetX": 150, "offsetY": 300}],
        ["canvas", "pointermove", {"offsetX": 151, "offsetY": 300}],
        ["canvas", "pointerup", {"offsetX": 151, "offsetY": 300}],
        key("Escape"),
    )
    assert "to server: Connect" in frames[3]["event"]
    assert "arrive #3 server" in frames[3]["event"]
    assert "arrive #4 server" in frames[3]["event"]
    assert "x is 3" in frames[4]["event"]
    assert "cause #8 client" in frames[4]["event"]
    assert frames[-1]["event"] == ""


@pytest.mark.slow
@needs_node
def test_filters_keep_both_ends_of_a_message() -> None:
    page = render_page(outcome_of(story(), FAILURE), story())

    def typed(text: str) -> list[list[Any]]:
        return [["set", "text", {"value": text}], ["text", "input", {}]]

    plain, pattern, broken, mended = (
        frames[-1]
        for frames in (
            drive(page, *typed("AGAIN")),
            drive(page, ["set", "pattern", {"checked": True}], *typed("^x is|leader")),
            drive(page, ["set", "pattern", {"checked": True}], *typed("(")),
            drive(page, ["set", "pattern", {"checked": True}], *typed("("), *typed("(done)")),
        )
    )
    assert plain["count"] == "2 of 18 events"
    assert pattern["count"] == "3 of 18 events"
    assert (broken["count"], broken["invalid"]) == ("18 of 18 events", "true")
    assert (mended["count"], mended["invalid"]) == ("1 of 18 events", "false")


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_a_crowd_of_events_is_drawn_as_few_marks(count: int) -> None:
    events = crowd(count)
    frames = drive(render_page(outcome_of(events), events), key("+"), key("t"), key("0"))
    whole, _, rows, _ = frames
    assert [frame["bad"] for frame in frames] == [0] * 4
    assert whole["arc"] + whole["rect"] < 6 * 700 / 3
    assert whole["lineTo"] < 40_000
    assert rows["lineTo"] < 500
    assert len(rows["fillText"]) > 30
