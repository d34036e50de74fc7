"""Traces of Raft: every line follows from those before it, and a trace that is wrong is refused."""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, cast

import attrs
import pytest

from tests.support.raft_cluster import Cluster, Owner, quick
from tests.support.raft_trace_model import Model, Refused
from trio440.raft.messages import Append, AppendReply, Entry, RequestVote, VoteReply
from trio440.raft.storage import bootstrap
from trio440.raft.trace_lines import Recorder, describe
from trio440.raft.tracing import TracedNode, make_node
from trio440.raft.wire import Peers
from trio440.sim.outcome import Level, Outcome, Setup
from trio440.sim.running import run

Event = dict[str, Any]
NUMBERS = {"n1": 1, "n2": 2, "n3": 3}


def recorder(lines: list[bytes], *, numbers: dict[str, int] | None = None) -> Recorder:
    return Recorder(lines.append, lambda: 5_000_000_000, numbers or NUMBERS)


@attrs.frozen
class World:
    """A world in which nothing is wrong, and its trace."""

    outcome: Outcome
    lines: tuple[bytes, ...]


def play(seed: int, profile: str, level: Level = "A") -> World:
    lines: list[bytes] = []
    outcome, _ = run(Setup("raft", seed, level, profile), record=lines.append)
    assert outcome.failure is None
    return World(outcome, tuple(lines))


world = cache(play)


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    for line in lines:
        fields = json.loads(line)
        if fields["tag"] == "trace":
            yield fields["event"]


WORLDS = [(6, "calm"), (0, "hostile"), (1, "hostile"), (5, "crashes"), (13, "crashes")]
"""Some send snapshots, some lose disks."""


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "profile"), WORLDS)
def test_every_line_of_a_world_follows_from_those_before(seed: int, profile: str) -> None:
    model = Model()
    model.read(world(seed, profile).lines)
    assert model.lines > 500
    assert len(model.committed) > 5


@pytest.mark.campaign
@pytest.mark.parametrize("profile", ["hostile", "crashes", "pauses", "disks", "shuffled", "clocks"])
def test_every_line_of_many_worlds_follows(profile: str) -> None:
    for seed in range(200):
        Model().read(play(seed, profile).lines)


@pytest.mark.campaign
@pytest.mark.parametrize("profile", ["hostile", "crashes"])
def test_every_line_of_many_worlds_of_whole_peers_follows(profile: str) -> None:
    for seed in range(30):
        Model().read(play(seed, profile, "B").lines)


@pytest.mark.slow
def test_the_worlds_have_everything_to_tell() -> None:
    text = b"".join(line for seed, profile in WORLDS for line in world(seed, profile).lines)
    names = {found.decode() for found in re.findall(rb'"event":{"name":"(\w+)"', text)}
    kinds = {found.decode() for found in re.findall(rb'"msg":{"type":"(\w+)"', text)}
    sides = ("AppendEntries", "RequestVote")
    assert names == {
        "InitState", "BecomeCandidate", "BecomeFollower", "BecomeLeader", "Commit", "Replicate",
        "ChangeConf", "ApplyConfChange", "Ready",
        *(f"{way}{side}{what}" for way in ("Send", "Receive") for side in sides
          for what in ("Request", "Response")),
    }  # fmt: skip
    assert kinds == {
        "MsgApp", "MsgAppResp", "MsgHeartbeat", "MsgHeartbeatResp", "MsgVote", "MsgVoteResp",
        "MsgSnap",
    }  # fmt: skip
    assert text.count(b'"tag":"id"') > 0, "a machine that lost its disk joins under another id"


def test_a_world_goes_on_as_without_its_trace() -> None:
    assert world(0, "hostile").outcome == run(Setup("raft", 0, "A", "hostile"))[0]


# What is wrong is refused


def beginning() -> tuple[bytes, ...]:
    """A leader, and some entries."""
    return world(6, "calm").lines[:1200]


def changed(
    wanted: Callable[[Event], bool], change: Callable[[Event], object], which: int = 0
) -> list[bytes]:
    """A sound trace with one event changed; the event that is wanted for the ``which``-th time."""
    lines, seen = [], 0
    for line in beginning():
        fields = json.loads(line)
        if wanted(fields["event"]):
            if seen == which:
                change(fields["event"])
            seen += 1
        lines.append(json.dumps(fields).encode())
    assert seen > which
    return lines


def named(name: str) -> Callable[[Event], bool]:
    return lambda event: event["name"] == name


WRONG: dict[str, tuple[Callable[[Event], bool], Callable[[Event], object], str]] = {
    "a term that falls": (named("Ready"), lambda e: e["state"].update(term=-1), "the state"),
    "a vote for another": (
        named("SendRequestVoteResponse"),
        lambda e: e["state"].update(vote="99"),
        "the state",
    ),
    "a leader without votes": (
        named("BecomeCandidate"),
        lambda e: e.update(name="BecomeLeader"),
        "leaders were candidates",
    ),
    "a commit without a quorum": (
        named("Replicate"),
        lambda e: e.update(name="Commit"),
        "a quorum has an entry of the term",
    ),
    "a commit too far": (
        named("Commit"),
        lambda e: e["state"].update(commit=e["log"] + 1),
        "the state",
    ),
    "an append that was never sent": (
        lambda e: e["name"] == "ReceiveAppendEntriesRequest" and e["msg"]["entries"] > 0,
        lambda e: e["msg"].update(entries=e["msg"]["entries"] + 1),
        "what arrives was sent",
    ),
    "an append of what is not there": (
        lambda e: e["name"] == "SendAppendEntriesRequest" and e["msg"]["type"] == "MsgApp",
        lambda e: e["msg"].update(entries=1000),
        "what is sent is in the log",
    ),
    "another term before the entries": (
        lambda e: e["name"] == "SendAppendEntriesRequest" and e["msg"]["index"] > 0,
        lambda e: e["msg"].update(logTerm=99),
        "the term before",
    ),
    "a yes in the place of a no": (
        lambda e: e["name"] == "SendAppendEntriesResponse" and e["msg"]["from"] != e["msg"]["to"],
        lambda e: e["msg"].update(reject=not e["msg"]["reject"]),
        "the answer",
    ),
    "an answer to somebody else": (
        lambda e: e["name"] == "SendRequestVoteResponse" and e["msg"]["from"] != e["msg"]["to"],
        lambda e: e["msg"].update(to=e["msg"]["from"]),
        "its own",
    ),
    "other members": (named("Ready"), lambda e: e.update(conf=[["1"], []]), "the state"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_line_is_refused(what: str) -> None:
    wanted, change, rule = WRONG[what]
    with pytest.raises(Refused, match=rule):
        Model().read(changed(wanted, change))


@pytest.mark.parametrize(
    "name",
    [
        "InitState", "BecomeCandidate", "BecomeLeader", "BecomeFollower", "Replicate", "Commit",
        "SendRequestVoteRequest", "SendAppendEntriesRequest", "ReceiveRequestVoteRequest",
        "ReceiveRequestVoteResponse",
    ],
)  # fmt: skip
def test_a_line_too_few_is_refused(name: str) -> None:
    lines = list(beginning())
    found = next(i for i, line in enumerate(lines) if json.loads(line)["event"]["name"] == name)
    del lines[found]
    with pytest.raises(Refused):
        Model().read(lines)


def test_two_votes_in_a_term_are_refused() -> None:
    model = Model()
    lines: list[bytes] = []
    node = make_node(
        "n1", quick(pre_vote=False), bootstrap(NUMBERS), random.Random(1), recorder(lines)
    )
    node.campaign()
    assert node.ready() is not None
    model.read(lines)
    with pytest.raises(Refused, match="one vote a term"):
        model.vote("1", model.peers["1"], "3")


# The form of a line


def test_a_line_is_what_etcd_reads() -> None:
    lines: list[bytes] = []
    node = TracedNode(
        "n1", quick(pre_vote=False), bootstrap(NUMBERS), random.Random(1), recorder(lines)
    )
    node.campaign()
    assert lines[2] == (
        b'{"level":"debug","ts":5.000000002,"tag":"trace","event":{"name":"SendRequestVoteResponse",'
        b'"nid":"1","state":{"term":1,"vote":"1","commit":0},"role":"StateCandidate","log":0,'
        b'"conf":[["1","2","3"],[]],"msg":{"type":"MsgVoteResp","term":1,"from":"1","to":"1",'
        b'"entries":0,"logTerm":0,"index":0,"commit":0,"vote":"0","reject":false,"rejectHint":0}}}\n'
    )


def test_lines_stay_in_order_when_they_are_sorted_as_text() -> None:
    lines = list(world(0, "hostile").lines)
    assert sorted(lines, key=lambda line: line.split(b":", 2)[2]) == lines


def test_names_become_numbers() -> None:
    lines: list[bytes] = []
    some = recorder(lines, numbers={"a": 7})
    assert [some.number(name) for name in ("a", "12", None)] == ["7", "12", "0"]
    assert lines == []
    number = some.number("n1")
    assert number == recorder([], numbers={"a": 7}).number("n1") == some.number("n1")
    assert 0 < int(number) < 1 << 64
    assert [json.loads(line)["tag"] for line in lines] == ["id"]
    assert (json.loads(lines[0])["name"], json.loads(lines[0])["nid"]) == ("n1", number)
    for odd in ("012", "0", str(1 << 64), "²", ""):
        assert some.number(odd) not in {odd, "0"}


def test_a_message_for_another_peer_is_not_told() -> None:
    lines: list[bytes] = []
    node = TracedNode("n1", quick(), bootstrap(NUMBERS), random.Random(1), recorder(lines))
    node.step(RequestVote("n2", "n3", 5, 0, 0))
    node.step(RequestVote("n2", "n1", 1, 0, 0, pre=True))
    assert lines == []
    node.step(Append("n2", "n1", 1, 0, 0, (Entry(1, 1, b"x"),), 0))
    names = [event["name"] for event in events(lines)]
    assert names == [
        "InitState", "ReceiveAppendEntriesRequest", "BecomeFollower", "SendAppendEntriesResponse",
    ]  # fmt: skip


def test_what_is_as_good_as_true_or_false_is_told_the_same() -> None:
    no, yes = cast("bool", 0), cast("bool", 1)
    vote, reply = RequestVote("n1", "n2", 3, 5, 2), VoteReply("n2", "n1", 3, granted=True)
    ack = AppendReply("n2", "n1", 3, 7, rejected=False, hint_index=4, hint_term=2)
    for message in (vote, reply):
        assert describe(attrs.evolve(message, pre=no)) == describe(message) != ("", {})
        assert describe(attrs.evolve(message, pre=yes)) == ("", {})
    assert describe(attrs.evolve(ack, rejected=no)) == ("MsgAppResp", {"index": 7})
    assert describe(attrs.evolve(ack, rejected=yes))[1]["rejectHint"] == 4


@pytest.mark.parametrize("value", [0, False, 1, True])
def test_an_election_is_told_and_sent_whatever_stands_for_a_bool(value: int) -> None:
    lines: list[bytes] = []
    config = quick(pre_vote=value)
    node = TracedNode("n1", config, bootstrap(["n1", "n2"]), random.Random(1), recorder(lines))
    while (ready := node.ready()) is None or not ready.messages_now + ready.messages_after_sync:
        node.tick()
    sent = ready.messages_now + ready.messages_after_sync
    (request,) = [message for message in sent if message.to == "n2"]
    assert isinstance(request, RequestVote)
    assert request.pre is bool(value)
    assert Peers.message.message.decode_untrusted(Peers.message.message.encode(request)) == request
    names = [event["name"] for event in events(lines)]
    assert ("SendRequestVoteRequest" in names) is not request.pre


def test_the_owner_of_tests_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of a test's own, without a simulator, tells a sound story as well."""
    lines: list[bytes] = []
    monkeypatch.setattr(Cluster, "recorder", recorder(lines))
    cluster = Cluster(3)
    cluster.elect("n1")
    cluster.propose("n1", b"a", b"b")
    cluster.isolate("n1")
    cluster["n1"].propose(b"lost")
    cluster.settle()
    cluster.tick_until(lambda: any(cluster[name].is_leader for name in ("n2", "n3")))
    cluster.heal()
    leader = cluster.wait_leader()
    cluster.propose(leader.id, b"c")
    cluster.tick(30)
    assert isinstance(cluster.owners["n1"], Owner)
    assert cluster.commands("n1") == [b"a", b"b", b"c"]
    model = Model()
    model.read(lines)
    assert len(model.committed) >= 5
