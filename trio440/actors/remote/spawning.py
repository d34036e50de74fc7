"""Spawning in another system: what a system offers, and how it is asked for."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import attrs

from trio440.actors.handlers import annotated_in
from trio440.actors.limits import MailboxPolicy, check_text
from trio440.actors.post import Post
from trio440.actors.ref import Ref
from trio440.actors.remote.service import SpawnAnswer, SpawnRequest
from trio440.actors.remote.values import decode_value_untrusted
from trio440.actors.supervision import Restart
from trio440.errors import ActorError, BadMessage, InvalidParameter
from trio440.rpc import Peer

__all__ = ["Offer", "Offers"]

LONGEST: Final = 400


@attrs.frozen
class Offer:
    """What others may spawn under one name."""

    factory: Callable[..., Any]
    restart: Restart
    mailbox: MailboxPolicy | None


@final
class Offers:
    """What others may spawn in one system; each actor is a child of the system itself."""

    def __init__(
        self, post: Post, spawn: Callable[[Offer, tuple[Any, ...]], Awaitable[Ref[Any]]]
    ) -> None:
        """Start with nothing; ``spawn`` starts an actor."""
        self._post = post
        self._spawn = spawn
        self._by_name: dict[str, Offer] = {}

    def add(self, name: str, offer: Offer) -> None:
        """Let others spawn by a name.

        Raises:
            InvalidParameter: the name is no text of 1 to 200 characters, or is taken; a class of
                messages that the factory takes cannot be learned.
        """
        check_text("name", name)
        if name in self._by_name:
            raise InvalidParameter("name", name, "offered once")
        self._post.vocabulary.learn_all(annotated_in(offer.factory))
        self._by_name[name] = offer

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
            ref = await self._spawn(offer, args)
        except (ActorError, BadMessage, InvalidParameter) as error:
            return SpawnAnswer(0, 0, str(error)[:LONGEST])
        return SpawnAnswer(ref.counter, ref.incarnation, "")
