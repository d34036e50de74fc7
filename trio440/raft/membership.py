"""Who belongs to a cluster, and how that changes.

A change of one voter goes straight to its end, since any majority before it meets any majority
after it (dissertation, 4.1). Every other change passes through a joint configuration, in which
both the voters before and the voters after must agree (paper, 6). A configuration counts from
the moment that its entry is in a peer's log, committed or not, and a peer whose entry is
overwritten goes back to the one before.

From the first change on a configuration also says which store each member has, see
:mod:`trio440.raft.acquaintance`. A member is the two together: a peer that comes back with an
empty disk has the id of a member and is none.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from trio440.errors import BadMessage, ChangeRefused, InvalidParameter
from trio440.raft.quorum import Majorities

__all__ = [
    "LARGEST_STORE",
    "MOST_ID_LENGTH",
    "NO_STORE",
    "Configuration",
    "Configurations",
    "Stores",
    "decode_configuration",
    "is_id",
    "plan_change",
]

Stores: TypeAlias = tuple[tuple[str, int], ...]
LARGEST_STORE: Final = (1 << 63) - 1
"""The numbers of stores are 1 to this."""
MOST_ID_LENGTH: Final = 128
"""Characters of a peer's id; RPC's handshake takes no longer one."""
MOST_MEMBERS: Final = 128
"""Of a cluster: a leader sends heartbeats to each."""
NO_STORE: Final = 0
"""No store has it: a storage that has drawn no number, or a voter that is removed unmet."""


def is_id(name: object) -> bool:
    """Whether a peer may have this id: 1 to 128 printable characters."""
    return isinstance(name, str) and 0 < len(name) <= MOST_ID_LENGTH and name.isprintable()


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(value)))


def _stores(value: Iterable[tuple[str, int]]) -> Stores:
    return tuple(sorted((name, number) for name, number in value))


@attrs.frozen(kw_only=True)
class Configuration:
    """The members of a cluster: each tuple is sorted.

    Nobody at all is what a peer knows that joins a cluster and has heard nothing yet.

    Raises:
        InvalidParameter: there are members but no voter, or one is voter and learner at once.
    """

    voters: tuple[str, ...] = attrs.field(default=(), converter=_names)
    outgoing: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """The voters before a change, while it is joint; their majority is needed as well."""
    learners: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """They receive everything and decide nothing."""
    next_learners: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Voters of ``outgoing`` that become learners when the change is complete."""
    stores: Stores = attrs.field(default=(), converter=_stores)
    """By id, sorted, the store of everybody who was a member under this configuration or one
    before it, as far as leaders had met them; nobody is ever taken out. Empty in the
    configuration that a cluster begins with."""

    def __attrs_post_init__(self) -> None:
        """Check that the roles exclude each other."""
        if not self.voters and self.members:
            raise InvalidParameter("voters", self.voters, "at least one")
        both = {*self.voters, *self.outgoing}.intersection(self.learners)
        if both:
            raise InvalidParameter("learners", self.learners, "none of the voters")
        if not set(self.next_learners) <= set(self.outgoing) - set(self.voters):
            raise InvalidParameter("next_learners", self.next_learners, "outgoing voters")
        sound = all(0 <= number <= LARGEST_STORE for _, number in self.stores)
        if not sound or len(dict(self.stores)) < len(self.stores):
            raise InvalidParameter("stores", self.stores, "one sound number for each id")

    @property
    def is_joint(self) -> bool:
        """Whether a change is half done."""
        return bool(self.outgoing)

    @property
    def majorities(self) -> Majorities:
        """The groups of which a majority each must agree."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    @property
    def members(self) -> tuple[str, ...]:
        """Everybody, sorted."""
        return _names((*self.voters, *self.outgoing, *self.learners))

    def is_voter(self, peer: str) -> bool:
        """Whether this peer's vote counts, before or after the change."""
        return peer in self.voters or peer in self.outgoing

    def completed(self) -> "Configuration":
        """Return what follows a joint configuration."""
        learners = (*self.learners, *self.next_learners)
        return Configuration(voters=self.voters, learners=learners, stores=self.stores)

    def encode(self) -> bytes:
        """Return the data of the entry of this configuration."""
        return json.dumps(attrs.asdict(self), separators=(",", ":"), sort_keys=True).encode()


def decode_configuration(data: bytes) -> Configuration:
    """Read what :meth:`Configuration.encode` wrote.

    Raises:
        BadMessage: the bytes are no configuration.
    """
    try:
        fields: Any = json.loads(data)
        names = {field.name: fields.get(field.name, ()) for field in attrs.fields(Configuration)}
        stores = names.pop("stores")
        is_sound = bool(names["voters"]) and all(map(_is_list_of_names, names.values()))
        is_sound = is_sound and _is_list_of_stores(stores)
        found = Configuration(**names, stores=stores) if is_sound else None
    except (ValueError, AttributeError, RecursionError, InvalidParameter):
        found = None
    if found is None:
        raise BadMessage("an entry holds no configuration of a cluster")
    return found


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _is_list_of_stores(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and [type(part) for part in pair] == [str, int]
        for pair in value
    )


def plan_change(
    current: Configuration,
    voters: Iterable[str],
    learners: Iterable[str],
    met: Mapping[str, int] | None = None,
) -> Configuration:
    """Return the configuration that a change to these members starts with.

    It is the last one if at most one voter comes or goes, else a joint one.

    Args:
        current: the configuration that it follows.
        voters: the ids that vote in the end.
        learners: the ids that listen in the end.
        met: the stores of those whom the leader has met, itself included; None: it keeps no
            account of them, and nothing tells a member from another store under its id.

    Raises:
        ChangeRefused: the present configuration is joint, nothing would change, or the leader
            has not met a voter.
        InvalidParameter: there would be no voter, somebody is in both roles, a new id is none, or
            there would be more than 128 members.
    """
    if current.is_joint:
        raise ChangeRefused("another change is half done")
    target = Configuration(voters=voters, learners=learners, stores=current.stores)
    if not target.voters:
        raise InvalidParameter("voters", target.voters, "at least one")
    for name in target.members:
        if name not in current.members and not is_id(name):
            raise InvalidParameter("id", name, f"1 to {MOST_ID_LENGTH} printable characters")
    if len(target.members) > MOST_MEMBERS:
        raise InvalidParameter("members", len(target.members), f"at most {MOST_MEMBERS}")
    if target == current:
        raise ChangeRefused("these are the members already")
    if len(set(target.voters) ^ set(current.voters)) > 1:
        old = set(current.voters)
        target = Configuration(
            voters=target.voters,
            outgoing=current.voters,
            learners=set(target.learners) - old,
            next_learners=old & set(target.learners),
            stores=current.stores,
        )
    return target if met is None else _with_stores(target, current, met)


def _with_stores(
    target: Configuration, current: Configuration, met: Mapping[str, int]
) -> Configuration:
    """Write down who is who: every voter counts as the store that it has, from now on."""
    stores = dict(current.stores)
    for name in (*current.members, *target.members):
        if name in met:
            stores.setdefault(name, met[name])
    final = target.completed()
    for name in final.members:
        if stores.get(name) == NO_STORE:
            raise ChangeRefused(f"{name} was removed before it was heard: take another id")
        if name not in stores and (name in final.voters or name in current.voters):
            raise ChangeRefused(f"{name} was never heard by this leader: wait for it, or remove it")
    for name in current.voters:
        stores.setdefault(name, NO_STORE)
    return attrs.evolve(target, stores=stores.items())


class Configurations:
    """The configurations of a log, by the index of their entries."""

    def __init__(self, index: int, configuration: Configuration) -> None:
        """Start with the configuration of a snapshot, or of the bootstrap at index 0."""
        self._indexes = [index]
        self._values = [configuration]
        self.current = configuration
        """The latest, committed or not."""

    @property
    def index(self) -> int:
        """The index of the entry that :attr:`current` comes from."""
        return self._indexes[-1]

    def append(self, index: int, configuration: Configuration) -> None:
        """Take in the entry at ``index``, which is after all others."""
        self._indexes.append(index)
        self._values.append(configuration)
        self.current = configuration

    def truncate(self, index: int) -> None:
        """Forget what comes from entries at ``index`` and after; the first one stays."""
        while len(self._indexes) > 1 and self._indexes[-1] >= index:
            self._indexes.pop()
            self._values.pop()
        self.current = self._values[-1]

    def restart(self, index: int, configuration: Configuration) -> None:
        """Start anew from a snapshot."""
        self._indexes[:] = [index]
        self._values[:] = [configuration]
        self.current = configuration

    def at(self, index: int) -> Configuration:
        """Return the configuration that holds at an index which has not been compacted."""
        return self._values[max(0, bisect_right(self._indexes, index) - 1)]

    def is_voter_since(self, peer: str, index: int) -> bool:
        """Whether a peer has a vote in the configuration at an index, or a later one."""
        first = max(0, bisect_right(self._indexes, index) - 1)
        return any(value.is_voter(peer) for value in self._values[first:])

    def compact(self, index: int) -> None:
        """Forget configurations that were replaced at ``index`` or before."""
        keep = max(0, bisect_right(self._indexes, index) - 1)
        del self._indexes[:keep], self._values[:keep]
