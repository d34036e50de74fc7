"""The mailbox alone: bounds, policies, stash; no actor."""

from typing import Any

import pytest

from trio440.actors.limits import MailboxPolicy, Overflow
from trio440.actors.mailbox import Mailbox, Notice
from trio440.actors.notices import Down
from trio440.actors.oneshot import Asked, OneShot
from trio440.actors.ref import Ref
from trio440.errors import ActorStopped, InvalidParameter, MailboxFull

REF: Ref[Any] = Ref("a", 1, 1)


class Desk:
    """A mailbox and what it has buried; the home of its one-shot references."""

    address = "a"
    incarnation = 1

    def __init__(self, overflow: Overflow = "fail_ask", capacity: int = 2) -> None:
        self.dead: list[tuple[Any, str]] = []
        self.box = Mailbox(REF, MailboxPolicy(capacity, overflow), self.bury)

    def bury(
        self, ref: Ref[Any], message: Any, reason: str, detail: str = "", sender: Any = None
    ) -> None:
        del detail, sender
        assert ref.address == "a"
        self.dead.append((message, reason))

    def ask(self, message: Any) -> Asked:
        return Asked(message, OneShot(9, self))

    def forget_shot(self, counter: int) -> None:
        assert counter == 9

    def rest(self) -> list[Any]:
        return [self.box.take() for _ in range(len(self.box))]


@pytest.mark.parametrize("overflow", ["fail_ask", "drop_newest", "block_ask"])
def test_a_full_mailbox_drops_what_comes(overflow: Overflow) -> None:
    desk = Desk(overflow)
    for number in range(4):
        desk.box.put(number, None)
    assert desk.dead == [(2, "mailbox_full"), (3, "mailbox_full")]
    assert desk.rest() == [0, 1]
    desk.box.put(4, None)
    assert desk.rest() == [4]


def test_drop_oldest_drops_what_has_waited_longest() -> None:
    desk = Desk("drop_oldest")
    for number in range(4):
        desk.box.put(number, None)
    assert desk.dead == [(0, "mailbox_full"), (1, "mailbox_full")]
    assert desk.rest() == [2, 3]


@pytest.mark.parametrize(
    ("overflow", "failed"), [("fail_ask", [2]), ("drop_newest", []), ("drop_oldest", [0])]
)
def test_an_ask_that_is_dropped_fails_unless_it_is_as_if_lost(
    overflow: Overflow, failed: list[int]
) -> None:
    desk = Desk(overflow)
    asks = [desk.ask(number) for number in range(3)]
    for asked in asks:
        desk.box.put(asked, None)
    assert [asked.message for asked in asks if not asked.shot.is_open] == failed
    assert len(desk.dead) == 1


def test_a_blocked_ask_waits_for_room_in_its_turn() -> None:
    desk = Desk("block_ask", 1)
    desk.box.put(0, None)
    for number in (1, 2, 3):
        desk.box.put(desk.ask(number), None)
    desk.box.put(9, None)
    assert desk.dead == [(9, "mailbox_full")]
    assert len(desk.box) == 1
    assert desk.box.take() == 0
    for number in (1, 2, 3):
        assert len(desk.box) == 1
        assert desk.box.take().message == number
    assert len(desk.box) == 0


def test_a_blocked_ask_that_nobody_waits_for_leaves_the_line() -> None:
    desk = Desk("block_ask", 1)
    desk.box.put(0, None)
    asks = [desk.ask(number) for number in (1, 2, 3)]
    for asked in asks:
        desk.box.put(asked, None)
    asks[0].shot.close()
    asks[1].shot.fail(ValueError())
    assert desk.box.take() == 0
    assert desk.rest() == [asks[2]]
    for _ in range(2):
        desk.box.put(4, None)
    late = desk.ask(5)
    desk.box.put(late, None)
    late.shot.close()
    assert not desk.box.line, "what nobody waits for takes no room"
    assert desk.rest() == [4]


async def test_closing_answers_everybody() -> None:
    desk = Desk("block_ask", 2)
    inside, outside = desk.ask(0), desk.ask(2)
    for item in (inside, 1, outside):
        desk.box.put(item, None)
    desk.box.close("stopped", "has stopped")
    for asked in (inside, outside):
        assert isinstance(asked.shot, OneShot)
        with pytest.raises(ActorStopped, match="has stopped"):
            await asked.shot.wait()
    assert sorted(desk.dead) == [(0, "stopped"), (1, "stopped"), (2, "stopped")]
    assert len(desk.box) == 0


@pytest.mark.parametrize("overflow", ["fail_ask", "drop_oldest"])
def test_a_notice_finds_room_and_is_never_dropped(overflow: Overflow) -> None:
    desk = Desk(overflow, 1)
    notices = [Notice(Down(REF, "stopped", number)) for number in range(3)]
    desk.box.put_notice(notices[0])
    desk.box.put("a", None)
    desk.box.put_notice(notices[1])
    desk.box.put("b", None)
    desk.box.put_notice(notices[2])
    left = desk.rest()
    assert [item for item in left if isinstance(item, Notice)] == notices
    assert [item for item in left if not isinstance(item, Notice)] == (
        ["a"] if overflow == "fail_ask" else ["b"]
    )
    desk.box.put("c", None)
    assert desk.rest() == ["c"]


def test_what_is_stashed_counts_and_comes_first() -> None:
    desk = Desk(capacity=3)
    for number in range(3):
        desk.box.put(number, None)
    for _ in range(2):
        desk.box.stash(desk.box.take())
    desk.box.put(3, None)
    assert desk.dead == [(3, "mailbox_full")]
    assert (len(desk.box), desk.box.stashed) == (1, 2)
    with pytest.raises(MailboxFull, match="limit is 3"):
        desk.box.stash("more")
    desk.box.unstash()
    assert desk.rest() == [0, 1, 2]
    desk.box.unstash()
    assert desk.rest() == []


@pytest.mark.parametrize(
    ("capacity", "overflow"), [(0, "fail_ask"), (True, "fail_ask"), (1, "explode")]
)
def test_policies_have_a_range(capacity: int, overflow: Any) -> None:
    with pytest.raises(InvalidParameter):
        MailboxPolicy(capacity, overflow)
