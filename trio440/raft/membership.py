"""Who belongs to a cluster, and how that changes.

A change of one voter goes straight to its end, since any majority before it meets any majority
after it (dissertation, 4.1). Every other change passes through a joint configuration, in which
both the voters before and the voters after must agree (paper, 6). A configuration counts from
the moment that its entry is in a peer's log, committed or not, and a peer whose entry is
overwritten goes back to the one before.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import attrs

from trio440.errors import BadMessage, ChangeRefused, InvalidParameter
from trio440.raft.quorum import Majorities

__all__ = ["Configuration", "Configurations", "decode_configuration", "plan_change"]


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(value)))


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

    def __attrs_post_init__(self) -> None:
        """Check that the roles exclude each other."""
        if not self.voters and self.members:
            raise InvalidParameter("voters", self.voters, "at least one")
        both = {*self.voters, *self.outgoing}.intersection(self.learners)
        if both:
            raise InvalidParameter("learners", self.learners, "none of the voters")
        if not set(self.next_learners) <= set(self.outgoing) - set(self.voters):
            raise InvalidParameter("next_learners", self.next_learners, "outgoing voters")

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
        return Configuration(voters=self.voters, learners=(*self.learners, *self.next_learners))

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
        is_sound = bool(names["voters"]) and all(map(_is_list_of_names, names.values()))
        found = Configuration(**names) if is_sound else None
    except (ValueError, AttributeError, InvalidParameter):
        found = None
    if found is None:
        raise BadMessage("an entry holds no configuration of a cluster")
    return found


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def plan_change(
    current: Configuration, voters: Iterable[str], learners: Iterable[str]
) -> Configuration:
    """Return the configuration that a change to these members starts with.

    It is the last one if at most one voter comes or goes, else a joint one.

    Raises:
        ChangeRefused: the present configuration is joint, or nothing would change.
        InvalidParameter: there would be no voter, or somebody is in both roles.
    """
    if current.is_joint:
        raise ChangeRefused("another change is half done")
    target = Configuration(voters=voters, learners=learners)
    if not target.voters:
        raise InvalidParameter("voters", target.voters, "at least one")
    if target == current:
        raise ChangeRefused("these are the members already")
    if len(set(target.voters) ^ set(current.voters)) <= 1:
        return target
    old = set(current.voters)
    return Configuration(
        voters=target.voters,
        outgoing=current.voters,
        learners=set(target.learners) - old,
        next_learners=old & set(target.learners),
    )


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
