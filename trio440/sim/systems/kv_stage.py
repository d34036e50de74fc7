"""The store at level A: replicas that are written to while everything goes wrong, and converge.

A history has three acts. In the first one servers start, crash and come back with nothing, actors
fail, messages get lost, and clients write, delete and read. When the faults are over and nobody
writes, all replicas must be equal within a stated time. In the second act nothing is said for a
while but what is cheap. In the third one a server begins anew with nothing, while others are
written to, and has to get what all had before. Pure.
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from trio440.actors.ref import Ref
from trio440.kv.questions import SyncTimes
from trio440.kv.replica_limits import ReplicaLimits
from trio440.sim.stage import Stage
from trio440.sim.systems.kv_people import KEYS, Client
from trio440.sim.systems.kv_replicas import Actor, Hub, Server
from trio440.sim.systems.kv_watch import Version, require

__all__ = ["HOSTS", "draw_times", "play", "settle_us"]

HOSTS: Final = ("s1", "s2", "s3", "s4", "s5")
MILLI: Final = 1_000
SECOND: Final = 1_000_000
LOOK: Final = 250 * MILLI
QUIET: Final = 12 * SECOND
SKEW: Final = 5 * SECOND
"""Clocks that were off may have given stamps so far ahead, which others refuse until then."""
QUIET_BYTES: Final = 700
"""Of a message in quiet times, on average: a question names all servers once."""
BUSY: Final = 2 * SECOND
SHARE: Final = 0.5
WEEK: Final = 604_800
LONG_GRACE: Final = 6
"""Seconds in which a new server is told everything, if no message gets lost."""

_View: TypeAlias = dict[bytes, tuple[int, Ref[object], bytes | None, int]]


def draw_times(rng: random.Random) -> SyncTimes:
    """Draw when replicas compare what they have."""
    return SyncTimes(
        settle_us=rng.choice([300, 1_000]) * MILLI,
        settle_local_us=rng.choice([500, 5_000]) * MILLI,
        second_us=rng.choice([500, 2_000]) * MILLI,
        longest_us=rng.choice([2_000, 5_000, 10_000]) * MILLI,
        patience_us=rng.choice([1_500, 5_000]) * MILLI,
        fruitless_us=rng.choice([10_000, 300_000]) * MILLI,
    )


def settle_us(times: SyncTimes) -> int:
    """Return how long replicas may take until they are equal, once nothing goes wrong.

    Who was taken for away is asked after ``longest_us``, and a lost answer is missed after
    ``patience_us``. What was refused, since a clock was ahead, makes questions rarer, twice as rare
    each time. A comparison takes some messages in each direction, and goes over up to four links.
    """
    return 3 * (times.longest_us + times.patience_us) + 2 * SKEW + 10 * SECOND


def _draw_limits(rng: random.Random) -> ReplicaLimits:
    is_narrow = rng.random() < 0.2  # noqa: PLR2004 - seldom
    grace_seconds = rng.choice([1, LONG_GRACE, WEEK, WEEK])
    return ReplicaLimits(
        keys=10 if is_narrow else 10_000,
        history_changes=rng.choice([20, 10_000]),
        sync_bytes=4 << 10 if grace_seconds < WEEK else rng.choice([1_500, 256 << 10]),
        max_clock_offset_ms=rng.choice([600_000, 600_000, 1_500]),
        grace_seconds=grace_seconds,
    )


def play(stage: Stage) -> None:
    """Let servers be written to through all that the plan holds, and judge."""
    _Game(stage).play()


class _Game:
    """One history."""

    def __init__(self, stage: Stage) -> None:
        rng = stage.rng("game")
        self.stage = stage
        limits, times = _draw_limits(rng), draw_times(rng)
        is_wide = min(limits.sync_bytes, limits.keys, limits.grace_seconds) > 2_000  # noqa: PLR2004
        is_prompt = is_wide and stage.setup.profile == "calm"
        loss = 0.0 if is_prompt else rng.choice([0.0, 0.0, 0.05])
        self.hub = Hub(stage, limits, times, local_loss=loss, is_prompt=is_prompt)
        names = HOSTS[: rng.randint(2, len(HOSTS))]
        self.servers = [Server(self.hub, name, rng.randint(1, 3)) for name in names]
        deletes = rng.random() < 0.8  # noqa: PLR2004 - mostly
        self.clients = [Client(self.hub, f"c{n}", deletes=deletes) for n in range(4)]
        self.pace_us = rng.choice([20, 60, 200]) * MILLI
        self.promises_all = limits.keys > KEYS
        """Whether no replica is full."""
        self._rng = rng
        self._forgets = limits.grace_seconds < WEEK
        for place, server in enumerate(self.servers):
            at = place * rng.choice([0, 300, 1_000]) * MILLI
            stage.at(at, server.start)
            stage.on_restart(server.name, partial(self._start, server, at))
        for client in self.clients:
            stage.at(rng.randrange(200 * MILLI), partial(self._go_on, client))
        self._plan_actors(rng)
        self._writes_until = stage.plan.heal_at + 500 * MILLI
        numbers = [self.hub.limits, self.hub.times]
        stage.note("", f"{len(names)} servers, a write each {self.pace_us} us, {numbers}")

    def _start(self, server: Server, at: int) -> None:
        if self.stage.now >= at:
            server.start()

    def _plan_actors(self, rng: random.Random) -> None:
        """Draw which actors fail, and when many keys are written at once."""
        stage, heal_at = self.stage, max(1, self.stage.plan.heal_at)
        if stage.setup.profile != "calm":
            for _ in range(rng.choice([0, 0, 1, 3])):
                stage.at(rng.randrange(heal_at), self._fail_one)
        if self.promises_all and rng.random() < SHARE:
            size, count = rng.choice([(10, 300), (10, 1_000), (500, 100)])
            stage.at(rng.randrange(heal_at), partial(self._fill, count, size))

    def _fail_one(self) -> None:
        if actors := self._answering():
            actor = self._rng.choice(actors)
            self.stage.note(actor.server.name, f"actor {actor.ref.counter} fails")
            actor.begin()
            actor.pump()

    def _fill(self, count: int, value_bytes: int) -> None:
        if actors := self._answering():
            self.clients[0].fill(self._rng.choice(actors), count, value_bytes)

    # Who there is

    def _answering(self) -> list[Actor]:
        return [actor for server in self.servers if server.answers for actor in server.actors]

    def _actors(self) -> list[Actor]:
        return [actor for server in self.servers for actor in server.actors]

    def _go_on(self, client: Client) -> None:
        """Let a client ask something, now and then tell another one, and go on."""
        stage, rng = self.stage, self._rng
        if stage.now >= self._writes_until:
            return
        if actors := self._answering():
            client.act(rng.choice(actors))
        if rng.random() < 0.1:  # noqa: PLR2004 - now and then
            client.hear(rng.choice(self.clients))
        stage.at(stage.now + 1 + rng.randrange(2 * self.pace_us), partial(self._go_on, client))

    # The acts

    def play(self) -> None:
        """Play all acts."""
        stage = self.stage
        self._run(max(stage.plan.heal_at, SECOND))
        kept = [self._tops()]
        self._run(self._writes_until + LOOK)
        self._converge("after the faults", [*kept, self._tops()])
        self._be_quiet()
        self._begin_one_anew()

    def _run(self, until: int) -> None:
        stage = self.stage
        while stage.now < until:
            stage.run(min(until, stage.now + LOOK))
            for actor in self._actors():
                actor.life.look(every=False)

    def _converge(self, when: str, kept: Sequence[dict[bytes, Version]]) -> None:
        """Run until all replicas are equal, and require that nothing is lost that was there."""
        if not self.promises_all:
            self._run(self.stage.now + 5 * SECOND)
            self._look_at_all()
            return
        latest = self.stage.now + settle_us(self.hub.times)
        while self.stage.now < latest and self._difference():
            self._run(self.stage.now + LOOK)
        self._look_at_all()
        difference = self._difference()
        require(not difference, f"{when} all replicas are equal", difference)
        self.stage.note("", f"{when} equal with {latest - self.stage.now} us left")
        if not self._forgets:
            for tops in kept:
                self._require_kept(tops)

    def _look_at_all(self) -> None:
        for actor in self._actors():
            actor.life.look(every=True)

    def _require_kept(self, kept: dict[bytes, Version]) -> None:
        """Require that the last of what was there, and of what was written since, has won."""
        found = self._tops()
        for key, version in kept.items():
            shown = f"{key!r}: {version} has become {found.get(key)}"
            require(found.get(key, (0, version[1])) >= version, "nothing is lost", shown)

    def _tops(self) -> dict[bytes, Version]:
        """The greatest version of each key that anybody has."""
        tops: dict[bytes, Version] = {}
        for actor in self._actors():
            for key, record in actor.life.known():
                version = record.stamp, record.writer
                tops[key] = max(version, tops.get(key, version))
        return tops

    def _view(self, actor: Actor, *, every: bool) -> _View:
        """What a replica holds that has a value; ``every``: of fillers, too."""
        now_ms = actor.server.now_ms()
        return {
            key: (record.stamp, record.writer, record.value, record.expires_ms)
            for key, record in actor.life.known(every=every)
            if record.is_live(now_ms)
        }

    def _difference(self) -> str:
        """Say in what two replicas differ, or who is not there."""
        if missing := [server.name for server in self.servers if not server.is_up]:
            return f"{missing} are down"
        first, *others = self._actors()
        for other in others:
            digests = [each.replica.records.tree.digest(0) for each in (first, other)]
            differ = digests[0] != digests[1]
            if differ and not self._forgets:
                return f"{first.ref!r} and {other.ref!r}: digests"
            one, two = (self._view(each, every=differ) for each in (first, other))
            if one != two:
                key, *more = sorted(k for k in one.keys() | two.keys() if one.get(k) != two.get(k))
                shown = f"{key!r} is {one.get(key)} and {two.get(key)}, and {len(more)} more"
                return f"{first.ref!r} and {other.ref!r}: {shown}"
        return ""

    def _be_quiet(self) -> None:
        """Require that replicas that are equal say little."""
        if not self.promises_all or self._forgets:
            return
        hub, times = self.hub, self.hub.times
        self._run(self.stage.now + times.longest_us)  # what is still under way
        messages, bytes_ = hub.messages, hub.sent_bytes
        self._run(self.stage.now + QUIET)
        messages, bytes_ = hub.messages - messages, hub.sent_bytes - bytes_
        count = len(self._actors())
        pairs = count + 2 * len(self.servers) ** 2
        questions = 1 + QUIET / (0.75 * times.longest_us)
        shown = f"{messages} messages, {bytes_} bytes of {count} actors"
        require(messages <= 2 * pairs * questions, "who is equal asks seldom", shown)
        require(bytes_ <= messages * QUIET_BYTES, "who is equal says little", shown)

    def _begin_one_anew(self) -> None:
        """Let a server begin with nothing while others are written to; nothing gets lost."""
        rng, stage = self._rng, self.stage
        if not self.promises_all:
            return
        server = rng.choice(self.servers)
        known = {
            key
            for key, record in self._actors()[0].life.known()
            if record.value is not None and not record.expires_ms
        }
        kept = self._tops()
        written = {key: len(writes) for key, writes in self.hub.truth.writes.items()}
        self._writes_until = stage.now + BUSY
        for client in self.clients:
            stage.at(stage.now, partial(self._go_on, client))
        if self._forgets:  # what was deleted meanwhile is forgotten while the server is told of it
            grace_us = self.hub.limits.grace_seconds * SECOND
            self._run(max(stage.now, self._writes_until + grace_us - BUSY - rng.randrange(SECOND)))
        else:
            self._run(stage.now + rng.randrange(BUSY))
        stage.note(server.name, "begins anew")
        server.stop()
        server.start()
        self._run(self._writes_until + LOOK)
        if len(self.servers) > 1:
            self._converge("with a server that began anew", [])
        tops = self._tops()
        if self._forgets and (self.hub.local_loss or self.hub.limits.grace_seconds < LONG_GRACE):
            return  # who takes longer than the grace period may lose something
        for key in sorted(known):
            if len(self.hub.truth.writes[key]) == written[key]:
                same = tops.get(key) == kept[key]
                shown = f"{key!r}: {kept[key]} has become {tops.get(key)}"
                require(same, "what nobody wrote to stays", shown)
