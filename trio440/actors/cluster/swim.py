"""One member of a cluster: SWIM with Lifeguard's refinements, as a deterministic core. Pure.

Das, Gupta, Motivala: "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership
Protocol" (2002), and Dadgar, Phillips, Currey: "Lifeguard" (2017). Messages and time go in;
messages, events and the next deadline come out. Whoever owns a member sends
:meth:`Swim.messages_to_send` after each batch of inputs, gives it what is readable before it calls
:meth:`Swim.advance`, and calls that at :meth:`Swim.next_deadline`.
"""

import random
from collections.abc import Iterable

import attrs

from trio440.actors.cluster.config import Config
from trio440.actors.cluster.events import Event
from trio440.actors.cluster.exchange import Exchange
from trio440.actors.cluster.local import (
    PROBE,
    PUSH_PULL,
    RECONNECT,
    Key,
    Kind,
    Local,
)
from trio440.actors.cluster.members import LIVE
from trio440.actors.cluster.messages import (
    MAX_ADDRESS_BYTES,
    Ack,
    Message,
    Nack,
    Node,
    Ping,
    PingReq,
    PushPull,
    Record,
)
from trio440.actors.cluster.probing import Probing
from trio440.actors.cluster.statistics import Statistics
from trio440.errors import InvalidParameter

__all__ = ["Swim"]


class Swim:
    """The membership of one node.

    All times are microseconds of one clock that never goes back, whatever its zero. A member is
    silent until :meth:`join`, and again when it :attr:`has_left`.
    """

    def __init__(self, node: Node, config: Config, rng: random.Random) -> None:
        """Make a member that has not joined.

        Args:
            node: this node's address and life; the life is greater than each earlier one there.
            config: as that of the others.
            rng: draws the order of probes and the receivers of gossip.
        """
        self._local = Local(node, config, rng)
        self._probing = Probing(self._local)
        self._exchange = Exchange(self._local)
        self._has_begun = False
        self._has_left = False

    def __repr__(self) -> str:
        node = self.node
        return f"<Swim {node.address}/{node.incarnation}, {self._local.live} live>"

    @property
    def node(self) -> Node:
        """This node."""
        return self._local.node

    @property
    def is_joined(self) -> bool:
        """Whether another live member is known, or none was to be asked."""
        return self._has_begun and bool(len(self._local.ring) or not self._exchange.seeds)

    @property
    def has_left(self) -> bool:
        """Whether :meth:`leave` was called and has been told often enough."""
        return self._has_left

    def live(self) -> tuple[Node, ...]:
        """Return the live members, suspects and this node included, by their addresses."""
        live = [one.node for one in self._local.members if one.state in LIVE]
        return tuple(sorted([self.node, *live], key=lambda node: node.address))

    def find(self, address: str) -> Node | None:
        """Return the live member at an address, this node at its own."""
        if address == self.node.address:
            return self.node
        known = self._local.members.get(address)
        return known.node if known is not None and known.state in LIVE else None

    def records(self) -> tuple[Record, ...]:
        """Return all that is known, of this node too, by address."""
        records = [self._local.own_record, *self._local.members]
        return tuple(sorted(records, key=lambda record: record.node.address))

    def statistics(self) -> Statistics:
        """Return the counts so far."""
        local = self._local
        return Statistics(
            live=local.live,
            known=len(local.members),
            health=local.health.count,
            queued=len(local.queue),
            **attrs.asdict(local.counters),
        )

    # Inputs

    def join(self, seeds: Iterable[str], now: int) -> None:
        """Become a member, and ask those at ``seeds`` for the others.

        They are asked until a live member is known, and later, at a low rate, whenever they are
        not members. One's own address among them is left out; without seeds this node is the
        first. A second call adds seeds.

        Raises:
            InvalidParameter: an address is not 1 to 255 bytes long, or there are too many.
        """
        added = list(seeds)
        for address in added:
            if not 1 <= len(address.encode(errors="surrogatepass")) <= MAX_ADDRESS_BYTES:
                raise InvalidParameter("seeds", address, f"of 1 to {MAX_ADDRESS_BYTES} bytes each")
        count = len({*added, *self._exchange.seeds})
        if count > self._local.config.max_seeds:
            most = f"at most {self._local.config.max_seeds} addresses"
            raise InvalidParameter("seeds", count, most)
        if self._local.is_leaving:
            return
        self._notice_a_pause(now)
        if not self._has_begun:
            self._has_begun = True
            self._set_out(now)
        self._exchange.join(added, now)

    def seek(self, address: str, now: int) -> None:
        """Ask whoever is at an address, and no member, to become one; a few times only.

        At most ``max_seeds`` are asked at a time, others are not. Before :meth:`join` nobody is.
        """
        if self._has_begun:
            self._notice_a_pause(now)
            self._exchange.seek(address, now)

    def _set_out(self, now: int) -> None:
        """Start the timers, each somewhere in its interval, so that members are out of step."""
        local, config = self._local, self._local.config
        for key, interval in (
            (PROBE, config.probe_interval_us),
            (PUSH_PULL, config.push_pull_interval_us),
            (RECONNECT, config.reconnect_interval_us),
        ):
            local.timers.set(key, now + local.rng.randint(1, interval))

    def leave(self, now: int) -> None:
        """Tell the others that this node leaves; :attr:`has_left` once that has gone out."""
        local = self._local
        if local.is_leaving:
            return
        local.is_leaving = True
        local.wait_for_nothing()
        self._probing.stop()
        local.tell(local.own_record, now)
        self._go_on_leaving(now)

    def _go_on_leaving(self, now: int) -> None:
        local = self._local
        local.gossip(now)
        if local.node.address not in local.queue or not len(local.ring) or not self._has_begun:
            self._has_left = True
            local.wait_for_nothing()

    def receive(self, message: Message, sender: str, now: int) -> None:
        """Take a message that was decoded and is within its ranges.

        Args:
            message: from anywhere; its records are believed as far as their rank goes.
            sender: the address it came from, in the form of :attr:`Node.address`; a message that
                names another source is dropped and counted.
            now: microseconds.
        """
        local = self._local
        if not self._has_begun or self._has_left:
            return
        self._notice_a_pause(now)
        if message.source.address != sender or sender == self.node.address:
            local.counters.strangers += 1
            return
        if isinstance(message, PushPull):
            self._exchange.on_push_pull(message, now)
            return
        for record in message.records:
            local.hear(record, now)
        if isinstance(message, Ping):
            self._probing.on_ping(message, now)
        elif isinstance(message, PingReq):
            self._probing.on_ping_req(message, now)
        elif isinstance(message, Ack):
            self._probing.on_ack(message, now)
        elif isinstance(message, Nack):
            self._probing.on_nack(message, now)

    def advance(self, now: int) -> None:
        """Do what is due.

        A member that is called with anything more than ``probe_timeout_us`` after its deadline
        was stopped, or is starved: the time that it missed does not count against the others, and
        its health gets worse.
        """
        self._notice_a_pause(now)
        while (key := self._local.timers.pop_due(now)) is not None:
            self._on_timer(key, now)

    def _notice_a_pause(self, now: int) -> None:
        # Before anything else is done with ``now``: deadlines that are set after the pause are not
        # to be put off.
        local = self._local
        due = local.timers.next_deadline()
        if due is None or now - due <= local.config.probe_timeout_us:
            return
        local.counters.pauses += 1
        local.health.add(1)
        local.postpone(now - due)
        self._probing.postpone(now - due)

    def _on_timer(self, key: Key, now: int) -> None:
        match key:
            case (Kind.SUSPICION, str(address)):
                self._local.give_up(address, now)
            case (Kind.SEEK, str(address)):
                self._exchange.on_seek_timer(address, now)
            case (Kind.RELAY, int(seq)):
                self._probing.on_relay_timer(seq, now)
            case (Kind.PROBE, _):
                self._probing.on_probe_timer(now)
            case (Kind.GOSSIP, _) if self._local.is_leaving:
                self._go_on_leaving(now)
            case (Kind.GOSSIP, _):
                self._local.gossip(now)
            case (Kind.JOIN, _):
                self._exchange.on_join_timer(now)
            case (Kind.PUSH_PULL, _):
                self._exchange.on_push_pull_timer(now)
            case (Kind.RECONNECT, _):
                self._exchange.on_reconnect_timer(now)

    # Outputs

    def next_deadline(self) -> int | None:
        """Return when :meth:`advance` is to be called; None: when something is received."""
        return self._local.timers.next_deadline()

    def messages_to_send(self) -> list[tuple[str, Message]]:
        """Take the messages that are to leave, each with the address it goes to."""
        messages, self._local.outbox = self._local.outbox, []
        return messages

    def events(self) -> list[Event]:
        """Take what has happened to the members, in its order."""
        events, self._local.events = self._local.events, []
        return events
