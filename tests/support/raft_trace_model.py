"""A model of Raft that reads a trace line by line and refuses what it cannot follow.

It shares no code with the package. Like etcd's TLA+ specification it keeps what each peer has
(term, vote, role, log, commit), a set of messages that were sent, and votes; each line is a
transition, and the state that the line tells must be the model's. Messages may be lost, repeated
and reordered. A peer that starts again has the state of one of its Readys, none earlier than
what another peer has heard of, or the peer itself has counted on.
"""

import json
from collections.abc import Iterable
from typing import Any

import attrs

Conf = tuple[frozenset[str], frozenset[str]]
Entry = tuple[int, Conf | None]
"""Its term, and the members if it changes them."""


class Refused(Exception):
    """A line does not follow from those before it."""


@attrs.frozen
class Saved:
    """What a Ready may have made durable."""

    term: int
    vote: str
    log: tuple[Entry, ...]
    commit: int


@attrs.define(eq=False)
class Sent:
    """A message on its way."""

    fields: dict[str, Any]
    entries: tuple[Entry, ...]
    base: Conf
    """The members that the sender began with, who are in every snapshot."""
    ready: int
    """It leaves with the sender's Ready of this number."""
    has_left: bool = False
    is_kept: bool = True
    """Whether what it promises was on the disk when its sender started again."""


@attrs.define(eq=False)
class Peer:
    term: int = 0
    vote: str = "0"
    role: str = "StateFollower"
    log: list[Entry] = attrs.Factory(list)
    commit: int = 0
    base: Conf = (frozenset(), frozenset())
    granted: set[str] = attrs.Factory(set)
    match: dict[str, int] = attrs.Factory(dict)
    saved: list[Saved] = attrs.Factory(list)
    """By the number of the Ready, 0 for what it began with."""
    durable: int = 0
    """At least this Ready of ``saved`` is on the disk."""
    reply: tuple[Any, ...] | None = None
    """What it has to answer to the message that it received last."""
    received: dict[str, Any] | None = None

    @property
    def conf(self) -> Conf:
        return next((conf for _, conf in reversed(self.log) if conf is not None), self.base)

    @property
    def last_term(self) -> int:
        return self.log[-1][0] if self.log else 0

    def term_at(self, index: int) -> int:
        return self.log[index - 1][0] if 0 < index <= len(self.log) else 0

    def save(self) -> Saved:
        return Saved(self.term, self.vote, tuple(self.log), self.commit)


def is_quorum(conf: Conf, who: Iterable[str]) -> bool:
    return all(2 * len(group & set(who)) > len(group) for group in conf if group)


UNTOLD = {"RequestVote", "VoteReply", "ReadRequest", "ReadReply", "SnapshotReply", "TimeoutNow"}
"""Messages that have no lines, those of pre-votes among them, may bring a later term."""
BEFORE = ("Receive", "Replicate", "ChangeConf")
"""Lines of these tell the state before."""


class Model:
    """Reads one trace of all peers."""

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}
        self.sent: dict[str, Sent] = {}
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.committed: list[Entry] = []
        self.committed_in: list[int] = []
        """The term in which that was seen first, never falling."""
        self.lines = 0

    def read(self, lines: Iterable[bytes]) -> None:
        """Read a trace.

        Raises:
            Refused: at the first line that cannot be.
        """
        last = -1.0
        for line in lines:
            fields = json.loads(line)
            self.lines += 1
            self.need(fields["ts"] >= last, "time goes on", line)
            last = fields["ts"]
            if fields["tag"] == "trace":
                self.take(fields["event"])

    def need(self, condition: object, rule: str, seen: object = "") -> None:
        if not condition:
            raise Refused(f"line {self.lines}: {rule}: {seen}")

    def take(self, event: dict[str, Any]) -> None:
        name, nid = event["name"], event["nid"]
        self.need(nid in self.peers or name == "InitState", "peers begin", event)
        peer = self.peers.setdefault(nid, Peer())
        if name.startswith(BEFORE):
            self.compare(peer, event)
        for prefix in ("Send", "Receive"):
            if name.startswith(prefix):
                self.need(self.name_of(event["msg"]["type"]) == name[len(prefix) :], "names", event)
                getattr(self, prefix.lower())(nid, peer, event)
                break
        else:
            getattr(self, f"on_{name}")(nid, peer, event)
        if not name.startswith(BEFORE):
            self.compare(peer, event)
        if name == "BecomeFollower" and peer.received is not None:
            self.handle(nid, peer, peer.received)
        self.note_commit(peer, event)
        peer.received = event if name.startswith("Receive") else None

    @staticmethod
    def name_of(kind: str) -> str:
        what = "RequestVote" if kind.startswith("MsgVote") else "AppendEntries"
        return what + ("Response" if kind.endswith("Resp") else "Request")

    def compare(self, peer: Peer, event: dict[str, Any]) -> None:
        """Require that a line tells the model's state."""
        conf = [sorted(group, key=int) for group in peer.conf]
        ours = {"term": peer.term, "vote": peer.vote, "commit": peer.commit}
        seen = (event["state"], event["role"], event["log"], event["conf"])
        model = (ours, peer.role, len(peer.log), conf)
        self.need(seen == model, "the state", f"{event}, the model has {model}")

    def note_commit(self, peer: Peer, event: dict[str, Any]) -> None:
        """Require that what is committed is the same everywhere, for ever."""
        self.need(peer.commit <= len(peer.log), "commits are in the log", event)
        known = len(self.committed)
        self.need(
            peer.log[: min(peer.commit, known)] == self.committed[: peer.commit], "safety", event
        )
        new = peer.log[known : peer.commit]
        self.committed += new
        self.committed_in += [peer.term] * len(new)

    # What a peer does by itself

    def on_InitState(self, nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        state, size, last = event["state"], event["log"], event["prop"]["lastTerm"]
        if not peer.saved:
            self.need(not (state["term"] or size or state["commit"]), "peers begin empty", event)
            voters, outgoing = event["conf"]
            peer.base = (frozenset(voters), frozenset(outgoing))
        else:
            fits = [
                place
                for place, saved in enumerate(peer.saved)
                if place >= peer.durable
                and (saved.term, saved.vote) == (state["term"], state["vote"])
                and len(saved.log) == size
                and (saved.log[-1][0] if saved.log else 0) == last
                and state["commit"] <= saved.commit
            ]
            snapshots = [
                sent
                for sent in self.sent.values()
                if (sent.fields["to"], sent.fields["type"]) == (nid, "MsgSnap")
                and sent.entries[-1][0] == last
                and size == len(sent.entries) > peer.commit
            ]
            self.need(fits or snapshots, "promises survive", event)
            self.forget_unsent(nid, fits[-1] if fits else len(peer.saved))
            peer.term, peer.vote, peer.commit = state["term"], state["vote"], state["commit"]
            if fits:
                peer.log = list(peer.saved[fits[-1]].log)
            else:  # it lost power between the installation and its being told
                peer.log, peer.base = list(snapshots[0].entries), snapshots[0].base
        peer.role = "StateFollower"
        peer.saved, peer.durable = [peer.save()], 0
        peer.reply = None
        peer.granted, peer.match = set(), {}

    def forget_unsent(self, nid: str, kept: int) -> None:
        """Forget what a peer had not sent yet when it lost power, with this Ready on its disk."""
        for key, sent in list(self.sent.items()):
            if sent.fields["from"] == nid and not sent.has_left:
                if sent.ready < len(self.peers[nid].saved):
                    sent.has_left, sent.is_kept = True, sent.ready <= kept
                else:
                    del self.sent[key]

    def on_Ready(self, _nid: str, peer: Peer, _event: dict[str, Any]) -> None:  # noqa: N802
        peer.saved.append(peer.save())

    def on_BecomeFollower(self, _nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        term = event["state"]["term"]
        if term == peer.term:
            self.need(peer.role != "StateFollower", "only others become followers", event)
        else:
            received = peer.received and peer.received["msg"]["term"]
            by_message = received == term
            by_other = event.get("prop", {}).get("cause") in UNTOLD
            self.need(
                term > peer.term and (by_message or by_other), "terms come by messages", event
            )
            peer.term, peer.vote = term, "0"
        peer.role = "StateFollower"

    def on_BecomeCandidate(self, nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        self.need(peer.role == "StateFollower", "candidates were followers", event)
        confs = [peer.base, *(conf for _, conf in peer.log if conf is not None)]
        self.need(any(nid in group for conf in confs for group in conf), "voters stand", event)
        peer.term += 1
        peer.role = "StateCandidate"
        peer.granted = set()
        self.vote(nid, peer, nid)

    def vote(self, nid: str, peer: Peer, candidate: str) -> None:
        voted = self.votes.get((nid, peer.term), candidate)
        is_heard = any(saved.vote == voted for saved in peer.saved if saved.term == peer.term)
        self.need(voted == candidate or not is_heard, "one vote a term", (nid, peer.term))
        self.votes[nid, peer.term] = candidate
        peer.vote = candidate

    def on_BecomeLeader(self, nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        self.need(peer.role == "StateCandidate", "leaders were candidates", event)
        self.need(is_quorum(peer.conf, peer.granted), "leaders have a quorum", event)
        self.need(self.leaders.setdefault(peer.term, nid) == nid, "one leader a term", event)
        before = sum(term < peer.term for term in self.committed_in)
        self.need(peer.log[:before] == self.committed[:before], "completeness", event)
        peer.role = "StateLeader"
        peer.match = {}

    def on_Replicate(self, _nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        self.need(peer.role == "StateLeader", "leaders append", event)
        peer.log.append((peer.term, None))

    def on_ChangeConf(self, _nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        self.need(peer.role == "StateLeader", "leaders change members", event)
        voters, outgoing = event["prop"]["conf"]
        self.need(event["prop"]["cc"]["newconf"] == voters, "the new members", event)
        peer.log.append((peer.term, (frozenset(voters), frozenset(outgoing))))

    def on_ApplyConfChange(self, _nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        self.need(set(event["prop"]["cc"]["newconf"]) == peer.conf[0], "the members", event)

    def on_Commit(self, _nid: str, peer: Peer, event: dict[str, Any]) -> None:  # noqa: N802
        self.need(peer.role == "StateLeader", "leaders commit", event)
        agreed = max(
            (
                index
                for index in range(peer.commit + 1, len(peer.log) + 1)
                if is_quorum(
                    peer.conf, {who for who, match in peer.match.items() if match >= index}
                )
            ),
            default=0,
        )
        self.need(peer.term_at(agreed) == peer.term, "a quorum has an entry of the term", event)
        peer.commit = agreed

    # Messages

    def key(self, message: dict[str, Any]) -> str:
        return json.dumps(message, sort_keys=True)

    def send(self, nid: str, peer: Peer, event: dict[str, Any]) -> None:
        message = event["msg"]
        kind, to, index, count = (message[key] for key in ("type", "to", "index", "entries"))
        need = self.need
        need(message["from"] == nid, "peers speak for themselves", event)
        entries: tuple[Entry, ...] = ()
        if kind in {"MsgApp", "MsgHeartbeat", "MsgSnap"}:
            need(peer.role == "StateLeader", "leaders replicate", event)
            need(message["term"] == peer.term, "the term", event)
        if kind == "MsgApp":
            need(index + count <= len(peer.log), "what is sent is in the log", event)
            need(message["logTerm"] == peer.term_at(index), "the term before", event)
            need(message["commit"] == min(peer.commit, index + count), "the commit", event)
            entries = tuple(peer.log[index : index + count])
        elif kind == "MsgHeartbeat":
            need(message["commit"] <= min(peer.commit, peer.match.get(to, 0)), "the commit", event)
        elif kind == "MsgSnap":
            need(count <= peer.commit, "snapshots are committed", event)
            entries = tuple(peer.log[:count])
        elif kind == "MsgVote":
            need(
                peer.role == "StateCandidate" and message["term"] == peer.term, "a candidate", event
            )
            seen = (index, message["logTerm"])
            need(seen == (len(peer.log), peer.last_term), "the end of its log", event)
        elif to == nid:
            need(message["term"] == peer.term and not message["reject"], "its own reply", event)
            if kind == "MsgVoteResp":
                need(peer.vote == nid, "its own vote", event)
            else:
                need(peer.role == "StateLeader" and index == len(peer.log), "its own log", event)
        else:
            self.answer(peer, event)
        sent = Sent(message, entries, peer.base, len(peer.saved))
        before = self.sent.get(self.key(message))
        if before is None or not before.is_kept:
            self.sent[self.key(message)] = sent

    def answer(self, peer: Peer, event: dict[str, Any]) -> None:
        """Require that an answer is the one that the model gives.

        One who has compacted its log may say that it has what is committed.
        """
        message = event["msg"]
        said = tuple(message[key] for key in ("type", "to", "term", "reject", "index"))
        allowed = [peer.reply]
        if peer.reply is not None and peer.reply[:1] == ("MsgAppResp",) and not peer.reply[3]:
            allowed += [(*peer.reply[:4], i) for i in range(peer.reply[4], peer.commit + 1)]
        self.need(said in allowed, "the answer", f"{event}, the model has {peer.reply}")
        peer.reply = None

    def receive(self, nid: str, peer: Peer, event: dict[str, Any]) -> None:
        message = event["msg"]
        self.need(message["to"] == nid, "addresses", event)
        sent = self.sent.get(self.key(message))
        self.need(sent is not None, "what arrives was sent", event)
        assert sent is not None
        sender = self.peers[message["from"]]
        has_left = sent.has_left or sent.ready < len(sender.saved)
        self.need(has_left, "what arrives has left", event)
        if message["type"] in {"MsgVote", "MsgVoteResp", "MsgAppResp"}:
            self.need(sent.is_kept, "promises survive", event)
            if not sent.has_left:
                sender.durable = max(sender.durable, sent.ready)
        peer.reply = None
        if "installed" in event.get("prop", {}):
            self.install(peer, sent, event)
        elif message["term"] <= peer.term and not (
            message["term"] == peer.term
            and peer.role == "StateCandidate"
            and message["type"] in {"MsgApp", "MsgHeartbeat", "MsgSnap"}
        ):
            self.handle(nid, peer, event)

    def install(self, peer: Peer, sent: Sent, event: dict[str, Any]) -> None:
        """Put a snapshot in the place of the log, whatever the term is by now."""
        entries, index = sent.entries, event["prop"]["installed"]
        self.need(len(entries) == index > peer.commit, "snapshots are news", event)
        if peer.log[:index] != list(entries):
            peer.log, peer.base = list(entries), sent.base
        peer.commit = index
        peer.reply = ("MsgAppResp", self.leaders.get(peer.term), peer.term, False, index)

    def handle(self, nid: str, peer: Peer, event: dict[str, Any]) -> None:
        """Do what a message says; its term is not later than the peer's."""
        message = event["msg"]
        kind, sender, term = message["type"], message["from"], message["term"]
        if kind == "MsgVote":
            mine = (peer.last_term, len(peer.log))
            granted = term == peer.term and (message["logTerm"], message["index"]) >= mine
            granted = granted and peer.vote in {"0", sender}
            if granted:
                self.vote(nid, peer, sender)
            peer.reply = ("MsgVoteResp", sender, peer.term, not granted, 0)
        elif kind == "MsgVoteResp":
            if term == peer.term and peer.role == "StateCandidate" and not message["reject"]:
                peer.granted.add(sender)
        elif kind == "MsgAppResp":
            if term == peer.term and peer.role == "StateLeader" and not message["reject"]:
                peer.match[sender] = max(peer.match.get(sender, 0), message["index"])
        elif kind != "MsgHeartbeatResp":
            self.follow(peer, event)

    def follow(self, peer: Peer, event: dict[str, Any]) -> None:
        message = event["msg"]
        kind, sender, index = message["type"], message["from"], message["index"]
        if message["term"] < peer.term:
            peer.reply = ("MsgAppResp", sender, peer.term, True, 0)
            return
        self.need(peer.role == "StateFollower", "two leaders", event)
        entries = self.sent[self.key(message)].entries
        if kind == "MsgHeartbeat":
            peer.commit = max(peer.commit, message["commit"])
            peer.reply = ("MsgHeartbeatResp", sender, peer.term, False, 0)
        elif kind == "MsgSnap":
            if message["entries"] > peer.commit:
                return  # a piece of it
            peer.reply = ("MsgAppResp", sender, peer.term, False, peer.commit)
        elif index and peer.term_at(index) != message["logTerm"]:
            self.need(index > peer.commit, "committed entries match", event)
            peer.reply = ("MsgAppResp", sender, peer.term, True, index)
        else:
            for place, entry in enumerate(entries, start=index):
                if place < len(peer.log) and peer.log[place][0] != entry[0]:
                    self.need(place >= peer.commit, "committed entries stay", event)
                    del peer.log[place:]
                if place == len(peer.log):
                    peer.log.append(entry)
            peer.commit = max(peer.commit, message["commit"])
            peer.reply = ("MsgAppResp", sender, peer.term, False, index + len(entries))
