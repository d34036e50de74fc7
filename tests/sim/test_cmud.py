"""The game, with several players, on a small store and virtual time."""

import trio

from tests.support.cmud_world import AtomicDoor, Campus, sit_down


async def test_a_student_begins_on_floor_5_with_one_cpu_and_no_coins() -> None:
    campus = Campus()
    async with trio.open_nursery() as nursery:
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        assert "Never heard of you" in ada.shown[0]
        assert "Floor 5, the Landing" in ada.take()
        ada.type("inv")
        await ada.idle()
        assert [line.split() for line in ada.take().splitlines()] == [
            ["1", "cpu", "power", "1"],
            ["0", "coins"],
        ]
        assert ada.prompts[-1] == "ada on floor 5> "
        ada.type("quit")
    assert {key: entry.value for key, entry in campus.entries.items()} == {
        b"player/ada": b"Undergraduate",
        b"loc/ada": b"5",
        b"balance/ada": b"0",
        b"comp/ada/cpu": b"1",
    }
