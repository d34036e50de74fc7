"""Who is who: a peer is its id together with its store, and an empty store is somebody else. Pure.

A peer that has lost its disk has forgotten its votes and what it had acknowledged. Under its old
id it could vote twice in a term, and take back what a majority had. So every store has a number
of its own, drawn at random when it begins, and what others promise is taken in only together with
the store that promises it:

1. *Acquaintances.* A peer durably notes the store of every other one before it takes in the first
   message from it, and takes in nothing from another store under that id.
2. *Admission.* A peer that has promised nothing yet says and takes in nothing until enough others
   have noted its store, and none of them knew another one under its id: see
   :func:`consents_needed`.
3. *Configurations.* From the first change of the members on the log itself says which store each
   voter has, removed ones included. Where a leader removes one that it has never met, no store
   may have that id when the change is committed and over. Until then another leader may undo the
   change, and the vote of the one that goes may be needed for that or for the change itself: its
   id stands for whom others have noted, as before.

Why that is safe. Among the ``n`` voters that a cluster begins with, any two sets of others that
let a peer in have at least ``f = (n - 1) // 2`` members in common. If it has lost its disk, at
most ``f - 1`` of those have lost theirs as well: more than ``f`` lost disks may have taken what
was committed with them, whatever the peers do. So somebody is left who noted the first store, and
refuses the second; one refusal is final. Rule 3 takes over from there: as long as a peer's own
configuration is the first one, every id in it stands for one store; in every later configuration
it is the store that is written there. A peer with an empty disk is then not a member that has
forgotten, it is no member, and the one that is lost is a member that stays down, which Raft bears.

A peer that joins is asked for no promise before it is in a configuration with its store, but its
id may be one that the cluster begins with: therefore it asks as well.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Final

import attrs

from trio440.raft.membership import LARGEST_STORE, NO_STORE, Configuration

__all__ = [
    "Acquaintance",
    "Acquaintances",
    "Admission",
    "Opinion",
    "Verdict",
    "consents_needed",
    "sorted_by_id",
]

MOST_STRANGERS: Final = 4_096
"""So many ids are noted, and beyond that only those of members: anybody may make up more."""
MOST_REJECTED: Final = 64
"""So many pairs of an id and a store are reported when they are turned away."""


@attrs.frozen
class Acquaintance:
    """What a peer notes of another one."""

    id: str
    store: int = attrs.field(
        validator=attrs.validators.and_(attrs.validators.ge(1), attrs.validators.le(LARGEST_STORE))
    )
    met: bool = False
    """Whether a message of Raft was taken in from it, which only an admitted peer sends."""


def sorted_by_id(acquaintances: Iterable[Acquaintance]) -> tuple[Acquaintance, ...]:
    """Return acquaintances in the order in which they are kept."""
    return tuple(sorted(acquaintances, key=attrgetter("id")))


class Verdict(enum.Enum):
    """What a peer says of another one's store."""

    SAME = "same"
    """It is noted, and no other one is known under this id: consent."""
    OTHER = "other"
    """Another one is known under this id: refusal."""
    FULL = "full"
    """Neither: too many ids are noted."""


@attrs.frozen
class Opinion:
    """The answer to a peer that has introduced itself."""

    sender: str
    about: int
    """The store that it is about."""
    verdict: Verdict
    index: int
    """Of the configuration."""
    voters: tuple[str, ...] = ()
    """Of the sender's configuration; nobody: it has none yet."""
    outgoing: tuple[str, ...] = ()


def consents_needed(voters: Iterable[str], peer: str) -> int:
    """Return how many of the other voters must consent before a peer is let in.

    For a voter, two such sets have ``(n - 1) // 2`` of the others in common: with 3 voters that
    is both others, with 5 three of four. For anybody else it is a majority of the voters.
    """
    group = set(voters)
    if peer not in group:
        return len(group) // 2 + 1
    return (len(group) + (len(group) - 1) // 2) // 2


def _rest_of_a_majority(voters: Iterable[str], peer: str) -> int:
    group = set(voters)
    return len(group) // 2 if peer in group else 0


class Acquaintances:
    """Whom a peer knows, and by which store.

    Inputs are :meth:`observe`, :meth:`admits` and :meth:`introduced`; what is to be made durable
    comes out of :meth:`take_unrecorded` and counts after :meth:`recorded`.
    """

    def __init__(
        self,
        me: str,
        store: int,
        recorded: Iterable[Acquaintance] = (),
        *,
        limit: int = MOST_STRANGERS,
    ) -> None:
        """Start with what is durable.

        Args:
            me: this peer's id.
            store: the number of its store.
            recorded: what it has noted.
            limit: so many ids are noted that are no members.
        """
        self._me = me
        self._store = store
        self._limit = limit
        self._noted = {one.id: one for one in recorded}
        self._noted[me] = Acquaintance(me, store, met=True)
        self._wanted: dict[str, Acquaintance] = {}
        self._recording: dict[str, Acquaintance] = {}
        self._met = {one.id: one.store for one in self._noted.values() if one.met}
        self._trusted: dict[str, int] = {}
        """Whose next message need not be looked at closely."""
        self._rejected: dict[tuple[str, int], bool] = {}
        """Who was turned away, and whether that is still to be handed out."""
        self._has_rejected = False
        self._configuration = Configuration()
        self._index = 0
        self._is_committed = False
        self._bound: dict[str, int] = {}

    # What it knows

    @property
    def met(self) -> Mapping[str, int]:
        """The stores of those from whom a message was taken in, and this peer's own."""
        return MappingProxyType(self._met)

    @property
    def is_eventful(self) -> bool:
        """Whether there may be something to be recorded or reported."""
        return bool(self._wanted) or self._has_rejected

    def _known(self, peer: str) -> int | None:
        """Return the store that is surely known under an id."""
        bound = self._bound.get(peer)
        if bound is not None:
            return bound
        noted = self._noted.get(peer)
        return None if noted is None else noted.store

    # Inputs

    def observe(self, configuration: Configuration, index: int, commit: int) -> None:
        """Take note of this peer's present configuration; cheap where it is the last one.

        Args:
            configuration: that.
            index: of its entry.
            commit: the last index that is known to be committed.
        """
        is_committed = index <= commit
        if configuration is not self._configuration or is_committed is not self._is_committed:
            self._configuration = configuration
            self._index = index
            self._is_committed = is_committed
            self._bound = {
                name: store
                for name, store in configuration.stores
                if store != NO_STORE or (is_committed and not configuration.is_voter(name))
            }
            self._trusted.clear()

    def admits(self, peer: str, store: int) -> bool:
        """Whether a message from a peer may be taken in; if not yet, it is to be dropped."""
        return self._trusted.get(peer) == store or self._look(peer, store)

    def is_other(self, peer: str, store: int) -> bool:
        """Whether another store is known under this id."""
        return self._known(peer) not in {None, store}

    def introduced(self, peer: str, store: int) -> Opinion | None:
        """Answer a peer that asks to be let in; None: ask again when something was recorded."""
        known = self._known(peer)
        if known is None and self._note(peer, store):
            return None
        verdict = Verdict.SAME if known == store else Verdict.OTHER
        if known is None:
            verdict = Verdict.FULL
        now = self._configuration
        return Opinion(self._me, store, verdict, self._index, now.voters, now.outgoing)

    def _look(self, peer: str, store: int) -> bool:
        known = self._known(peer)
        if known is None:
            self._note(peer, store, met=True)
            return False
        if known != store:
            if (peer, store) not in self._rejected and len(self._rejected) < MOST_REJECTED:
                self._rejected[peer, store] = self._has_rejected = True
            return False
        if peer not in self._met:
            self._note(peer, store, met=True)
            self._met[peer] = store
        self._trusted[peer] = store
        return True

    def _note(self, peer: str, store: int, *, met: bool = False) -> bool:
        """Have something made durable; whether there is room for it, now or earlier."""
        if not 0 < store <= LARGEST_STORE:
            return False
        if peer in self._recording or peer in self._wanted:
            return True
        others = len(self._noted) + len(self._recording) + len(self._wanted)
        is_new = peer not in self._noted
        if is_new and others > self._limit and peer not in self._configuration.members:
            return False
        self._wanted[peer] = Acquaintance(peer, store, met)
        return True

    # Outputs

    def take_unrecorded(self) -> tuple[Acquaintance, ...]:
        """Return what is to be made durable; what is taken is handed back with recorded."""
        taken = tuple(self._wanted.values())
        self._recording |= self._wanted
        self._wanted.clear()
        return taken

    def recorded(self, batch: Iterable[Acquaintance]) -> None:
        """Say that these are durable."""
        for one in batch:
            del self._recording[one.id]
            self._noted[one.id] = one

    def take_rejected(self) -> tuple[tuple[str, int], ...]:
        """Return ids with the wrong stores whose messages were turned away, each pair once."""
        new = tuple(pair for pair, is_new in self._rejected.items() if is_new)
        self._rejected.update(dict.fromkeys(new, False))
        self._has_rejected = False
        return new


class Admission:
    """The first start of a peer: it asks others, and waits until enough of them consent."""

    def __init__(
        self, me: str, store: int, voters: Iterable[str] = (), *, is_new: bool = False
    ) -> None:
        """Begin to ask.

        Args:
            me: this peer's id.
            store: the number of its store.
            voters: the members that the cluster begins with; nobody: this peer joins.
            is_new: somebody swears that nobody ever had this id. Then as many consents are enough
                as make a majority together with this peer, and nothing goes on without that; it
                asks the others all the same. Until its admission is complete the cluster must not
                lose another disk together with this peer's.
        """
        self._me = me
        self._store = store
        self._first = tuple(voters)
        self._latest: tuple[int, tuple[str, ...], tuple[str, ...]] = (0, (), ())
        self._consents: set[str] = set()
        self._is_new = is_new
        self.refused_by: str | None = None
        """Who knows another store under this peer's id: it must stop."""

    def take(self, opinion: Opinion) -> None:
        """Take in an answer; an answer about another store says nothing."""
        if opinion.about != self._store or opinion.sender == self._me:
            return
        if opinion.voters and opinion.index >= self._latest[0]:
            self._latest = (opinion.index, opinion.voters, opinion.outgoing)
        if opinion.verdict is Verdict.OTHER:
            self.refused_by = self.refused_by or opinion.sender
        elif opinion.verdict is Verdict.SAME:
            self._consents.add(opinion.sender)

    @property
    def _groups(self) -> list[tuple[str, ...]]:
        _, voters, outgoing = self._latest
        return [group for group in (self._first, voters, outgoing) if group]

    def _enough(self, needed: Callable[[Iterable[str], str], int]) -> bool:
        """Whether nobody refuses, and in every group of voters so many consent."""
        return self.refused_by is None and all(
            len(self._consents.intersection(group)) >= needed(group, self._me)
            for group in self._groups
        )

    @property
    def is_granted(self) -> bool:
        """Whether this peer may take part."""
        return self.is_complete or (self._is_new and self._enough(_rest_of_a_majority))

    @property
    def is_complete(self) -> bool:
        """Whether no other store of its id will be let in, and nobody need be asked any more."""
        return bool(self._groups) and self._enough(consents_needed)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Whose consent counts and has not come, sorted; nobody once it is complete."""
        if self.is_complete:
            return ()
        known = {name for group in self._groups for name in group}
        return tuple(sorted(known - self._consents - {self._me}))
