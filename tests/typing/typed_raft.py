"""The types that users of Raft see; mypy reads this file, nothing runs it."""

from collections.abc import Callable
from typing import Any, assert_type

from trio440 import raft
from trio440.raft.dedupe import Sessions
from trio440.raft.kv import KeyValueMap


class Counter:
    """A state machine of three methods."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, command: bytes) -> bytes:
        del index, command
        self.count += 1
        return b""

    def snapshot(self) -> Callable[[], bytes]:
        return lambda: b""

    def restore(self, data: bytes) -> None:
        self.count = len(data)


class Answering(Counter):
    """One that answers questions."""

    def query(self, request: bytes) -> bytes:
        return b"%d of %d" % (self.count, len(request))


class Forgetful:
    """No state machine: it cannot be kept."""

    def apply(self, index: int, command: bytes) -> bytes:
        return b"%d" % index + command


async def a_peer_knows_its_machine(config: raft.PeerConfig) -> None:
    async with raft.open_peer(config, Counter()) as peer:
        assert_type(peer, raft.Peer[Counter])
        assert_type(await peer.propose(b""), bytes)
        await peer.read_barrier()
        assert_type(peer.machine.count, int)
        await peer.read(b"")  # type: ignore[misc]  # it answers no questions
    async with raft.open_peer(config, Answering()) as answering:
        assert_type(await answering.read(b""), bytes)
        any_machine: raft.Peer[raft.StateMachine] = answering
        await any_machine.read_barrier()
    async with raft.open_peer(config, Forgetful()) as _:  # type: ignore[type-var]
        pass


async def what_comes_along_answers(
    mapped: raft.Peer[KeyValueMap], sessions: raft.Peer[Sessions], either: raft.Peer[Any]
) -> None:
    assert_type(await mapped.read(b""), bytes)
    assert_type(await sessions.read(b""), bytes)
    assert_type(await either.read(b""), bytes)


def machines_are_what_they_say() -> None:
    _plain: raft.StateMachine = Counter()
    _answers: raft.Queryable = Answering()
    _none: raft.Queryable = Counter()  # type: ignore[assignment]
    _watched: raft.Watchable = KeyValueMap()
