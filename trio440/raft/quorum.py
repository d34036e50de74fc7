"""The arithmetic of majorities.

A decision needs a majority of every group in ``majorities``: one group as a rule, two while the
membership changes by joint consensus (paper, section 6).
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

__all__ = ["Majorities", "VoteResult", "agreed_index", "has_quorum", "majority", "vote_result"]

Majorities: TypeAlias = Sequence[Sequence[str]]
"""Groups of peers; none is empty, and no group names a peer twice."""


class VoteResult(enum.Enum):
    """Where an election stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(size: int) -> int:
    """Return how many of ``size`` are more than half: 3 of 5, 3 of 4."""
    return size // 2 + 1


def agreed_index(majorities: Majorities, reached: Mapping[str, int]) -> int:
    """Return the largest number that a quorum has reached.

    Args:
        majorities: the groups; at least one.
        reached: by peer; 0 for one that is absent.
    """
    least = None
    for group in majorities:
        numbers = sorted([reached.get(peer, 0) for peer in group], reverse=True)
        agreed = numbers[len(group) // 2]
        if least is None or agreed < least:
            least = agreed
    return least or 0


def has_quorum(majorities: Majorities, peers: Collection[str]) -> bool:
    """Whether these peers are a majority of every group."""
    return all(sum(peer in peers for peer in group) >= majority(len(group)) for group in majorities)


def vote_result(majorities: Majorities, votes: Mapping[str, bool]) -> VoteResult:
    """Return whether an election is won, lost or open, given the votes so far."""
    result = VoteResult.WON
    for group in majorities:
        needed = majority(len(group))
        granted = sum(votes.get(peer) is True for peer in group)
        refused = sum(votes.get(peer) is False for peer in group)
        if granted + (len(group) - granted - refused) < needed:
            return VoteResult.LOST
        if granted < needed:
            result = VoteResult.PENDING
    return result
