"""The members of a cluster at level A: SWIM's cores on a stage, and what becomes of them."""

import random
from typing import Final

from trio440.actors.cluster.config import Config
from trio440.actors.cluster.datagrams import TAG_BYTES, Datagrams, Dropped
from trio440.actors.cluster.messages import Message, Node
from trio440.actors.cluster.swim import Swim
from trio440.errors import InvariantViolated
from trio440.sim.stage import Stage
from trio440.sim.systems.actors_watch import Truth, View

__all__ = ["HOSTS", "draw_config", "play"]

HOSTS: Final = ("n1", "n2", "n3", "n4", "n5", "n6")
MILLI: Final = 1_000
LOOK: Final = 250 * MILLI
"""How often it is looked whether all agree."""
SETTLING: Final = 1_000 * MILLI
"""How long they have to agree then."""
WITH_HELPERS: Final = 4
"""Members, of whom two cannot reach each other, and are vouched for by the others."""
SHARE: Final = 0.5
"""Of the members that go, of those that say so, and of those that come back."""


def draw_config(rng: random.Random) -> Config:
    """Draw numbers with which a dead member is lost within seconds."""
    interval = rng.choice([200, 300]) * MILLI
    return Config(
        probe_interval_us=interval,
        probe_timeout_us=interval // rng.choice([2, 3]),
        indirect_probes=rng.choice([0, 1, 3, 3]),
        max_health=rng.choice([0, 1, 2, 2]),
        suspicion_alpha=rng.choice([2, 3, 5]),
        suspicion_beta=rng.choice([1, 2, 4]),
        suspicion_confirmations=rng.choice([0, 1, 3]),
        gossip_interval_us=rng.choice([30, 60]) * MILLI,
        gossip_fanout=rng.choice([1, 3, 3]),
        push_pull_interval_us=rng.choice([1_000, 3_000]) * MILLI,
        join_interval_us=200 * MILLI,
        reconnect_interval_us=500 * MILLI,
        forget_us=rng.choice([86_400_000, 2_000]) * MILLI,
        max_datagram_bytes=1280,
    )


def play(stage: Stage) -> None:
    """Let members join, leave, die and come back, through all that the plan holds."""
    game = _Game(stage)
    until = 0
    while not game.is_settled and until < stage.duration:
        until = min(until + LOOK, stage.duration)
        stage.run(until)
        game.look()
    game.require_liveness()


class _Member:
    """One host, and the present life of its member."""

    def __init__(self, game: "_Game", host: str, address: str) -> None:
        self.host = host
        self.view: View | None = None
        """Of its present life; None when it has none."""
        self.is_away = False
        """Whether it has left, or died by its own doing, and is not to start."""
        self._game = game
        self._address = address
        self._lives = 0
        self._rings_at: int | None = None
        self._rng = game.stage.rng(host)
        stage = game.stage
        stage.on_datagram(host, self._hear)
        stage.on_crash(host, self._end)
        stage.on_restart(host, self._start)
        stage.at(self._rng.randrange(500 * MILLI), self._start, host=host)

    @property
    def node(self) -> Node | None:
        """Its present life."""
        return None if self.view is None else self.view.life.node

    # Its lives

    def _start(self) -> None:
        if self.view is not None or self.is_away:
            return
        game, rng = self._game, self._rng
        self._lives += 1
        swim = Swim(Node(self._address, self._lives), game.config, random.Random(rng.random()))
        self.view = View(game.truth, self.host, game.truth.begin(swim, game.stage.now))
        swim.join(game.seeds_for(self.host, self._lives, rng), self._now())
        self._pump(self.view)

    def _end(self) -> None:
        if self.view is not None:
            self.view.life.is_over = True
            self.view = None

    def go(self, *, with_a_word: bool, back_at: int | None) -> None:
        """Leave, or die; and come back at a time, or never."""
        game, view = self._game, self.view
        if view is None or not game.is_running(self.host):
            return
        self.is_away = True
        if with_a_word:
            game.stage.note(self.host, "leaves")
            view.life.has_said_farewell = True
            view.life.swim.leave(self._now())
            self._pump(view)
        else:
            game.stage.note(self.host, "dies")
            self._end()
        if back_at is not None:
            game.stage.at(back_at, self._come_back)

    def _come_back(self) -> None:
        """Be there again, if it is not still about to leave."""
        game = self._game
        if self.view is not None or game.stage.is_paused(self.host):
            game.stage.at(game.stage.now + LOOK, self._come_back)
            return
        self.is_away = False
        if game.stage.is_up(self.host):
            self._start()

    # What goes in and out

    def _hear(self, data: bytes, source: str) -> None:
        view, game = self.view, self._game
        if view is None or game.stage.altered:
            return
        try:
            message = game.datagrams.decode_untrusted(data)
        except Dropped as problem:
            raise InvariantViolated("what is sent is understood", f"{problem}: {data!r}") from None
        view.life.swim.receive(message, game.addresses[source], self._now())
        self._pump(view, message)

    def _pump(self, view: View, message: Message | None = None) -> None:
        game, swim = self._game, view.life.swim
        for to, one in swim.messages_to_send():
            data = game.datagrams.encode(one)
            if len(data) > TAG_BYTES + game.config.max_datagram_bytes:
                raise InvariantViolated("a message fits its datagram", f"{len(data)} bytes")
            game.transmit(self.host, to, data)
        view.look(swim.events(), game.stage.now, message)
        if swim.has_left:
            self._end()
        else:
            self._set_alarm(view)

    def _set_alarm(self, view: View) -> None:
        deadline = view.life.swim.next_deadline()
        if deadline is None:
            self._rings_at = None
            return
        rings_at = self._game.stage.now + max(1, deadline - self._now())
        if rings_at != self._rings_at:
            self._rings_at = rings_at
            self._game.stage.at(rings_at, lambda: self._ring(view, rings_at), host=self.host)

    def _ring(self, view: View, rings_at: int) -> None:
        if view is not self.view or rings_at != self._rings_at:
            return
        now = self._game.stage.now
        if now > rings_at:  # After a pause: what came meanwhile is heard first.
            self._rings_at = now
            self._game.stage.at(now, lambda: self._ring(view, now), host=self.host)
            return
        self._rings_at = None
        view.life.swim.advance(self._now())
        self._pump(view)

    def _now(self) -> int:
        return self._game.stage.clock(self.host)


class _Game:
    """What the members share, and when all is well."""

    def __init__(self, stage: Stage) -> None:
        rng = stage.rng("game")
        self.stage = stage
        self.config = draw_config(rng)
        self.datagrams = Datagrams("actors", self.config.max_datagram_bytes)
        is_calm = stage.setup.profile == "calm"
        self.truth = Truth(self.config, stage.plan, is_calm=is_calm)
        names = HOSTS[: rng.randint(2, len(HOSTS))]
        padding = rng.choice(["", "x" * 240])
        self.addresses = {name: f"{name}.{padding}" for name in HOSTS}
        self._hosts = {address: name for name, address in self.addresses.items()}
        self._agree_since: int | None = None
        self._cut: frozenset[str] = frozenset()
        if len(names) >= WITH_HELPERS and self.config.indirect_probes and is_calm:
            self._cut = frozenset(rng.sample(names[1:], 2))
        self._seeds = [self.addresses[name] for name in names]
        self.members = [_Member(self, name, self.addresses[name]) for name in names]
        for member in self.members if not self._cut else ():
            self._plan(member, rng)
        stage.note("", f"{len(names)} members, cut between {sorted(self._cut)}, {self.config}")

    def _plan(self, member: _Member, rng: random.Random) -> None:
        """Draw whether a member goes, and how."""
        if rng.random() < SHARE:
            return
        at = rng.randrange(500 * MILLI, self.stage.plan.heal_at)
        back_at = at + rng.randrange(10 * MILLI, 3_000 * MILLI)
        comes_back = member.host == HOSTS[0] or rng.random() < SHARE
        with_a_word = rng.random() < SHARE
        self.stage.at(
            at,
            lambda: member.go(with_a_word=with_a_word, back_at=back_at if comes_back else None),
        )

    def seeds_for(self, host: str, life: int, rng: random.Random) -> list[str]:
        """Return what a life is told: the first host, which always comes back, and any others.

        The first host itself must be found in all its lives but the first.
        """
        is_first = host == HOSTS[0]
        count = 0 if is_first and life > 1 else rng.randint(0, len(self._seeds))
        seeds = rng.sample(self._seeds, count)
        return seeds if is_first else [*seeds, self.addresses[HOSTS[0]]]

    def is_running(self, host: str) -> bool:
        """Whether a host has power and does not stand still."""
        return self.stage.is_up(host) and not self.stage.is_paused(host)

    def transmit(self, source: str, to: str, data: bytes) -> None:
        """Put a datagram on the network, unless it is for one that the sender cannot reach."""
        destination = self._hosts[to]
        if not {source, destination} <= self._cut:
            self.stage.send(source, destination, data)

    # What must become true

    def look(self) -> None:
        """See how far all agree; from some time on they must stay so."""
        stage = self.stage
        for view in self._views:
            self._require_bounds(view)
        if stage.now < stage.plan.heal_at or self._disagree():
            self._agree_since = None
        elif self._agree_since is None:
            self._agree_since = stage.now

    @property
    def _views(self) -> list[View]:
        return [member.view for member in self.members if member.view is not None]

    def _require_bounds(self, view: View) -> None:
        swim = view.life.swim
        statistics = swim.statistics()
        count = len(self.members)
        if statistics.known >= count or statistics.queued > count:
            raise InvariantViolated("what a member keeps is bounded", f"{swim!r}: {statistics}")
        if statistics.live != len(swim.live()):
            raise InvariantViolated("the live are counted", f"{swim!r}: {statistics}")

    def _disagree(self) -> bool:
        """Whether somebody does not see exactly the present lives of all, or suspects one."""
        views = self._views
        nodes = {view.life.node for view in views}
        return any(v.has_suspects or set(v.life.swim.live()) != nodes for v in views)

    def _unrest(self) -> str:
        """Say who has something left to tell, or is in bad health, in company."""
        views = self._views
        every = [view.life.swim.statistics() for view in views if len(views) > 1]
        return "; ".join(f"{one}" for one in every if one.queued or one.health)

    @property
    def is_settled(self) -> bool:
        """Whether all have agreed for long enough, and nothing is left to be done."""
        since = self._agree_since
        if since is None or self.stage.now - since < SETTLING:
            return False
        return not self._unrest()

    def require_liveness(self) -> None:
        """Require that all agree, and that nothing is left to be done."""
        if self._agree_since is None:
            shown = "; ".join(f"{v.life.swim!r} sees {_short(v.states)}" for v in self._views)
            raise InvariantViolated("after the faults all agree on who is there", shown)
        if not self.is_settled:
            raise InvariantViolated("gossip and bad health come to an end", self._unrest())


def _short(states: dict[Node, str]) -> dict[str, str]:
    return {f"{node.address[:2]}/{node.incarnation}": state for node, state in states.items()}
