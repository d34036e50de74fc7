"""Spawning in another system: what a system offers, and how it asks for what others do."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, final

import attrs

from trio440.actors.checks import check_count, check_text
from trio440.actors.handlers import annotated_in
from trio440.actors.limits import MailboxPolicy
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.remote.links import Links
from trio440.actors.remote.parcels import shown
from trio440.actors.remote.service import SpawnAnswer, SpawnRequest, Systems
from trio440.actors.remote.values import can_be_sent, decode_value_untrusted, encode_value
from trio440.actors.supervision import Restart
from trio440.errors import (
    ActorError,
    AskTimedOut,
    BadMessage,
    InvalidParameter,
    LimitReached,
    MessageTooLarge,
    RpcError,
    StartFailed,
)
from trio440.rpc import Peer

__all__ = ["Offer", "Offers", "Spawn", "spawn_elsewhere"]

LOOK_SECONDS: Final = 0.05
"""How often it is looked whether a system has become a member."""


@attrs.frozen
class Offer:
    """What others may spawn under one name."""

    factory: Callable[..., Any]
    restart: Restart
    mailbox: MailboxPolicy | None
    limit: int
    """So many at a time."""


Spawn: TypeAlias = Callable[[Offer, tuple[Any, ...]], Awaitable[Ref[Any]]]
"""Starts an actor that is offered."""


@final
class Offers:
    """What others may spawn in one system; each actor is a child of the system itself."""

    def __init__(self, post: Post, spawn: Spawn) -> None:
        """Start with nothing."""
        self._post = post
        self._spawn = spawn
        self._by_name: dict[str, Offer] = {}
        self._counts: Counter[str] = Counter()
        """Of the actors that are there, or start."""
        self._names: dict[Ref[Any], str] = {}
        """Under which each of these was asked for."""

    def add(self, name: str, offer: Offer) -> None:
        """Let others spawn by a name.

        Raises:
            InvalidParameter: the name is no text of 1 to 200 characters, or is taken, or the limit
                is none; a class of messages that the factory takes cannot be learned.
        """
        check_text("name", name)
        check_count("limit", offer.limit)
        if name in self._by_name:
            raise InvalidParameter("name", name, "offered once")
        self._post.vocabulary.learn_all(annotated_in(offer.factory))
        self._by_name[name] = offer

    def ended(self, ref: Ref[Any]) -> None:
        """Hear that an actor here has ended."""
        if (name := self._names.pop(ref, None)) is not None:
            self._counts[name] -= 1

    async def answer(self, asked: SpawnRequest, _: Peer) -> SpawnAnswer:
        """Spawn what another system asks for."""
        if asked.life != self._post.incarnation:
            return SpawnAnswer(0, 0, "another life of the system is there")
        offer = self._by_name.get(asked.name)
        if offer is None:
            return SpawnAnswer(0, 0, f"nothing is offered under the name {asked.name[:40]!r}")
        try:
            vocabulary = self._post.vocabulary
            args = tuple(decode_value_untrusted(value, vocabulary) for value in asked.args)
            ref = await self._start(asked.name, offer, args)
        except (ActorError, BadMessage, InvalidParameter) as error:
            return SpawnAnswer(0, 0, shown(str(error)))
        return SpawnAnswer(ref.counter, ref.incarnation, "")

    async def _start(self, name: str, offer: Offer, args: tuple[Any, ...]) -> Ref[Any]:
        if self._counts[name] >= offer.limit:
            raise LimitReached("actors of this offer", offer.limit)
        self._counts[name] += 1
        try:
            ref = await self._spawn(offer, args)
        except BaseException:
            self._counts[name] -= 1
            raise
        self._names[ref] = name
        if self._post.find(ref) is None:
            self.ended(ref)
        return ref


async def spawn_elsewhere(
    links: Links,
    post: Post,
    address: str,
    name: str,
    args: tuple[Any, ...],
    *,
    timeout_seconds: float,
) -> Ref[Any]:
    """Spawn what the system at an address offers; see ``ActorSystem.spawn_at``."""
    vocabulary = post.vocabulary
    copies = [vocabulary.copy_answer(arg, "an argument") for arg in args]
    values = tuple(encode_value(copy, vocabulary) for copy in copies)
    what = f"{address}/{name}"
    with post.clock.move_on_after(timeout_seconds):
        if (link := links.get_or_make(address, is_wanted=True)) is None:
            raise StartFailed(what, f"no link leads to {address}")
        while (node := links.find(address)) is None:
            await post.clock.sleep(LOOK_SECONDS)
        try:
            answer = await link.call(Systems.spawn, SpawnRequest(node.incarnation, name, values))
        except (RpcError, MessageTooLarge, BadMessage) as error:
            raise StartFailed(what, str(error)) from None
        if answer.problem:
            raise StartFailed(what, answer.problem)
        ref: Ref[Any] = Ref(address, answer.counter, answer.incarnation)
        if not can_be_sent(ref):
            raise StartFailed(what, "the answer is no reference")
        return ref
    raise AskTimedOut(what, timeout_seconds)
