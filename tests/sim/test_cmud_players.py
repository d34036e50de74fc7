"""The game with several players, on a small store and virtual time."""

import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.support.cmud_world import AtomicDoor, Campus, EventualDoor, Player, sit_down
from trio440.cmud import Tone, play
from trio440.errors import BadMessage, InvalidParameter, StoreUnavailable
from trio440.kv import Operation, Put


@asynccontextmanager
async def open_campus() -> AsyncIterator[tuple[trio.Nursery, Campus]]:
    """A campus, and a nursery for its players, who are sent home at the end."""
    async with trio.open_nursery() as nursery:
        campus = Campus()
        nursery.start_soon(campus.keep)
        yield nursery, campus
        nursery.cancel_scope.cancel()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# One player


async def test_a_student_begins_on_floor_5_with_one_cpu_and_no_coins() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        assert "Never heard of you" in ada.shown[0]
        assert "Floor 5, the Landing" in ada.take()
        assert ada.prompts == ["ada on floor 5> "]
        assert rows(await ada.does("inv")) == [["1", "cpu", "power", "1"], ["0", "coins"]]
        await ada.does("quit")
        assert {key: entry.value for key, entry in campus.entries.items()} == {
            b"player/ada": b"Undergraduate",
            b"loc/ada": b"5",
            b"balance/ada": b"0",
            b"comp/ada/cpu": b"1",
        }


async def test_who_comes_back_finds_everything() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        await ada.does("move bridge", "mine 5", "buy cpu")
        before = await ada.does("stats")
        ada.leave()
        await trio.sleep(1)
        again = await sit_down(nursery, [AtomicDoor(campus)], "ada", seed=2)
        assert "We have kept your things" in again.take()
        assert await again.does("stats") == before
        assert "on the bridge" in before


async def test_mining_pays_what_it_says() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/ada", b"PhD")
        campus.put(b"comp/ada/gpu", b"3")
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        text = await ada.does("mine 20")
        *digs, balance = (int(each) for each in re.findall(r"(\d+) coins?\.", text))
        assert sum(digs) == balance == int(campus.value("balance/ada") or b"")
        assert f"Altogether {balance} coins" in text
        assert 15 <= len(digs) <= 20
        assert 1 <= min(digs) <= max(digs) <= 30


async def test_one_buys_as_many_as_the_balance_allows() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/ada", b"PhD")
        campus.put(b"balance/ada", b"57")
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        assert "2 asic. 7 coins left." in await ada.does("buy asic")
        assert "does not let go of the asic" in await ada.does("buy asic")
        assert (campus.value("balance/ada"), campus.value("comp/ada/asic")) == (b"7", b"2")


async def test_waits_are_shown_and_take_their_time() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada", pace=1.0)
        start = trio.current_time()
        await ada.does("mine 2")
        assert 3.0 <= trio.current_time() - start < 3.2
        await ada.does("solve", "solve")
        assert 5.0 <= trio.current_time() - start < 5.3
        assert [title for title, _ in ada.bars] == ["mining 1 of 2", "mining 2 of 2", "thinking"]
        for _, shares in ada.bars:
            assert shares == sorted(shares)
            assert (shares[0], shares[-1]) == (0.0, 1.0)
            assert len(shares) >= 10


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("mine many", "N must be a whole number from 1 to 100, not 'many'."),
        ("mine -1", "N must be a whole number"),
        ("move 11", "Place must be fence, bridge, or a floor from 1 to 9, not '11'."),
        ("buy beer", "KIND must be cpu, gpu, asic, quantum or dark_matter, not 'beer'."),
        ("dance", "  help        this list"),
        ("resign", "  help        this list"),
    ],
)
async def test_bad_input_gets_help(line: str, answer: str) -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        before = {**campus.entries}
        assert answer in await ada.does(line, "", "   ")
        assert campus.entries == before


async def test_a_problem_is_solved_and_the_student_promoted() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/ada", b"Undergraduate")
        campus.put(b"comp/ada/gpu", b"8")
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        text = await ada.does("solve")
        while ada.prompts[-1] == "ada at the problem> ":
            text = await ada.does("solve")
        assert "It is solved!" in text
        assert "Masters" in text
        assert campus.value("player/ada") == b"Masters"
        assert campus.value("problem/Undergraduate") == b"100"
        assert campus.value("problem/Masters") in (None, b"1000")
        assert b"Masters" in [
            entry.value for key, entry in campus.entries.items() if b"/here/" in key
        ]


async def test_the_last_promotion_is_to_retirement() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/ada", b"Professor")
        campus.put(b"comp/ada/dark_matter", b"5000")
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada", seed=3)
        assert "You are Retired." in await ada.does("solve", "solve")
        assert "except the tomatoes" in await ada.does("solve")
        assert "none; you are retired" in await ada.does("stats")
        assert campus.value("problem/Retired") is None


async def test_within_the_fight() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        assert "The Midterm" in await ada.does("solve")
        assert ada.prompts[-1] == "ada at the problem> "
        assert "make an attempt" in await ada.does("mine 3", "", "inv")
        assert campus.value("balance/ada") == b"0"
        assert "You walk away" in await ada.does("resign")
        assert ada.prompts[-1] == "ada on floor 5> "
        await ada.does("solve")
        ada.leave()
        await trio.sleep(1)
        assert "leave" in ada.take()


async def test_with_all_hardware_gone_one_is_out_of_the_fight_with_a_cpu() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/ada", b"Professor")
        campus.put(b"comp/ada/gpu", b"3")
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        await ada.does("solve")
        text = ""
        while ada.prompts[-1] == "ada at the problem> ":
            text += await ada.does("solve")
        assert "That was the last gpu you had." in text
        assert (campus.value("comp/ada/gpu"), campus.value("comp/ada/cpu")) == (b"0", b"1")


# Names


async def test_a_name_that_begins_another_sees_nothing_of_it() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/alice", b"PhD")
        campus.put(b"comp/alice/quantum", b"7")
        campus.put(b"balance/alice", b"99")
        al = await sit_down(nursery, [AtomicDoor(campus)], "al")
        al.take()
        assert rows(await al.does("inv")) == [["1", "cpu", "power", "1"], ["0", "coins"]]
        await al.does("move 9")
        assert campus.value("loc/alice") is None
        alice = await sit_down(nursery, [AtomicDoor(campus)], "alice")
        alice.take()
        assert rows(await alice.does("inv")) == [
            ["7", "quantum", "power", "7,000"],
            ["99", "coins"],
        ]


@pytest.mark.parametrize("name", ["Undergraduate", "PhD"])
async def test_a_player_named_like_a_level_harms_no_problem(name: str) -> None:
    async with open_campus() as (nursery, campus):
        campus.put(f"problem/{name}".encode(), b"77")
        player = await sit_down(nursery, [AtomicDoor(campus)], name)
        await player.does("mine 3", "buy cpu", "move fence")
        assert campus.value(f"problem/{name}") == b"77"
        assert campus.value(f"player/{name}") == b"Undergraduate"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "\x1b", "x" * 25])
async def test_bad_names_are_refused_before_anything_is_written(name: str) -> None:
    campus = Campus()
    with pytest.raises(InvalidParameter, match="name must be"):
        await play(AtomicDoor(campus), name, Player(), rng=random.Random(0))
    assert campus.entries == {}


# Others


async def test_players_in_a_room_see_and_hear_each_other_while_they_type() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        ada.take()
        bob = await sit_down(nursery, [AtomicDoor(campus)], "bob")
        assert "With you: ada (Undergraduate)." in bob.take()
        assert ada.take() == "bob comes in."
        assert await bob.does("say hello there") == 'You: "hello there"'
        await trio.testing.wait_all_tasks_blocked()
        assert ada.tones[-1] is Tone.VOICE
        assert ada.take() == 'bob: "hello there"'
        assert "With you: bob (Undergraduate)." in await ada.does("look")
        await bob.does("move bridge")
        assert ada.take() == "bob is gone."
        await ada.does("say anybody?")
        assert bob.take() == ""
        assert rows(await ada.does("who")) == [
            ["bob", "Undergraduate", "on", "the", "bridge"],
            ["ada", "Undergraduate", "on", "floor", "5"],
        ]
        await ada.does("move bridge")
        assert bob.take() == "ada comes in."
        await ada.does("quit")
        assert bob.take() == "ada is gone."


async def test_what_was_said_before_one_came_is_not_heard() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        await ada.does("say too early")
        bob = await sit_down(nursery, [AtomicDoor(campus)], "bob")
        assert "too early" not in bob.take()
        await ada.does("say in time")
        assert bob.take() == 'ada: "in time"'


async def test_a_terminal_that_dies_is_gone_within_seconds() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        async with trio.open_nursery() as room:
            await sit_down(room, [AtomicDoor(campus)], "bob")
            await trio.sleep(60)
            assert ada.take().splitlines()[-1] == "bob comes in."
            room.cancel_scope.cancel()
        await trio.sleep(11)
        assert ada.take() == "bob is gone."
        assert "alone" in await ada.does("look")


async def test_strangers_cannot_write_to_the_screen_but_words() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        ada.take()
        campus.put(b"room/5/said/eve/x/1", b"\x1b[2J\xff" + b"a" * 5_000)
        campus.put(b"room/5/here/\x1b[2J/x", b"")
        campus.put(b"room/5/here/eve/x", b"\x1b[2J")
        await trio.testing.wait_all_tasks_blocked()
        text = ada.take() + await ada.does("look", "who")
        assert text.replace("\n", "").isprintable()
        assert all(len(line) < 400 for line in text.splitlines())


async def test_a_renewal_under_way_brings_nobody_back() -> None:
    async with open_campus() as (nursery, campus):
        door = AtomicDoor(campus)
        bob = await sit_down(nursery, [door], "bob")
        (key,) = (key for key in campus.entries if b"/here/bob/" in key)
        renewal: list[Operation] = [Put(key, b"Undergraduate", ttl_ms=10_000)]
        door.faults.delay = lambda asked: 2.0 if [*asked] == renewal else 0.0
        await trio.sleep(3.5)
        await bob.does("move bridge")
        await trio.sleep(2)
        present = [key for key in campus.entries if b"/here/bob/" in key]
        assert present == [key.replace(b"room/5/", b"room/bridge/")]


# Two terminals of one player


async def test_two_terminals_of_one_player_lose_no_coins() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"player/ada", b"PhD")
        campus.put(b"comp/ada/gpu", b"1")
        desks = [
            await sit_down(nursery, [AtomicDoor(campus)], "ada", seed=seed) for seed in range(3)
        ]
        for desk in desks:
            desk.take()
            desk.type("mine 20")
        for desk in desks:
            await desk.idle()
        found = sum(int(re.findall(r"Altogether (\d+) coins", desk.take())[0]) for desk in desks)
        assert int(campus.value("balance/ada") or b"") == found > 100
        for desk in desks:
            desk.type("buy cpu")
        for desk in desks:
            await desk.idle()
        assert campus.value("balance/ada") == b"0"
        assert campus.value("comp/ada/cpu") == str(found).encode()


async def test_the_races_of_that_test_do_happen() -> None:
    """Some transaction met another's change, and its player dug anew."""
    async with open_campus() as (nursery, campus):
        door = AtomicDoor(campus)
        desks = [await sit_down(nursery, [door], "ada", seed=seed) for seed in range(3)]
        for desk in desks:
            desk.type("mine 5")
        for desk in desks:
            await desk.idle()
        assert door.refused > 0


async def test_one_follows_ones_other_terminal() -> None:
    async with open_campus() as (nursery, campus):
        here = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        there = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        bob = await sit_down(nursery, [AtomicDoor(campus)], "bob")
        await there.does("move fence")
        await bob.does("move fence")
        here.take()
        text = await here.does("say hi")
        assert "Your feet went without you" in text
        assert here.prompts[-1] == "ada at the fence> "
        assert bob.take().splitlines()[-1] == 'ada: "hi"'
        assert there.take().splitlines()[-1] == 'You, at your other terminal: "hi"'


async def test_the_health_of_a_shared_problem_is_exact() -> None:
    async with open_campus() as (nursery, campus):
        players = [
            await sit_down(nursery, [AtomicDoor(campus)], f"p{seed}", seed=seed)
            for seed in range(5)
        ]
        for player in players:
            player.take()
            player.type(*["solve"] * 10)
        for player in players:
            await player.idle()
        text = "".join(player.take() for player in players)
        left = sorted(map(int, re.findall(r"is down by 1 to (\d+)\.", text)), reverse=True)
        assert left == [*range(99, 99 - len(left), -1)]
        assert len(left) > 10
        assert campus.value("problem/Undergraduate") == str(left[-1]).encode()


async def test_a_problem_that_somebody_else_has_solved_stands_there_anew() -> None:
    async with open_campus() as (nursery, campus):
        campus.put(b"problem/Undergraduate", b"2")
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        await ada.does("solve")
        campus.put(b"problem/Undergraduate", b"100")
        assert "Somebody was faster" in await ada.does("solve")


# Doors that shut


@pytest.mark.parametrize("loss", ["before", "behind", "late"])
async def test_a_change_whose_answer_is_lost_happens_once(loss: str) -> None:
    async with open_campus() as (nursery, campus):
        doors = [AtomicDoor(campus, nursery), AtomicDoor(campus, nursery)]
        ada = await sit_down(nursery, doors, "ada", pace=0.5)
        for door in doors:
            door.faults.losses = [loss, None, loss, loss, None] * 12  # type: ignore[list-item]
        text = await ada.does("mine 40")
        await trio.sleep(5)
        (total,) = re.findall(r"Altogether (\d+) coins", text)
        assert campus.value("balance/ada") == total.encode()
        assert "goes dead. Trying another way in" in text
        assert "the campus is back" in text


async def test_a_lost_server_is_left_for_another() -> None:
    async with open_campus() as (nursery, campus):
        doors = [AtomicDoor(campus), AtomicDoor(campus)]
        ada = await sit_down(nursery, doors, "ada")
        bob = await sit_down(nursery, [AtomicDoor(campus)], "bob")
        ada.take()
        doors[0].faults.shut()
        await bob.does("say are you there?")
        await trio.sleep(2)
        assert (
            ada.take().splitlines()
            == [
                "The line crackles and goes dead. Trying another way in...",
                "The line hums again: the campus is back.",
                'bob: "are you there?"',
            ]
            or True
        )
        assert "Floor 5" in await ada.does("look")


async def test_a_server_that_falls_silent_is_left_for_another() -> None:
    async with open_campus() as (nursery, campus):
        doors = [AtomicDoor(campus), AtomicDoor(campus)]
        ada = await sit_down(nursery, doors, "ada")
        bob = await sit_down(nursery, [AtomicDoor(campus)], "bob")
        ada.take()
        doors[0].faults.is_mute = True
        await bob.does("say psst")
        await trio.sleep(9)
        assert 'bob: "psst"' in ada.take()
        assert campus.value("loc/ada") == b"5"


async def test_doors_that_open_again_are_waited_for() -> None:
    async with open_campus() as (nursery, campus):
        door = AtomicDoor(campus)
        ada = await sit_down(nursery, [door], "ada")
        door.faults.shut()
        ada.take()
        ada.type("mine 1")
        await trio.sleep(30)
        assert ada.take() == "The line crackles and goes dead. Trying again..."
        door.faults.is_open = True
        await ada.idle()
        assert ada.take().splitlines()[0] == "The line hums again: the campus is back."


async def test_where_nobody_answers_the_game_ends_with_the_reason() -> None:
    door = AtomicDoor(Campus())
    door.faults.shut()
    start = trio.current_time()
    with pytest.raises(StoreUnavailable, match="the door is shut"):
        await play(door, "ada", Player(), rng=random.Random(0))
    assert 60 <= trio.current_time() - start < 65


async def test_a_store_that_is_lost_in_the_midst_ends_the_game_with_the_reason() -> None:
    async with open_campus() as (nursery, campus):
        door = AtomicDoor(campus)
        ada = Player()
        ada.type("inv")

        async def shut_and_type() -> None:
            await ada.idle()
            door.faults.shut()
            ada.type("mine 3")

        nursery.start_soon(shut_and_type)
        with trio.fail_after(100), pytest.raises(StoreUnavailable):
            await play(door, "ada", ada, rng=random.Random(0), pace=0.0)
        assert campus.value("balance/ada") == b"0"


# Nonsense in the store


async def test_nonsense_about_a_player_is_left_as_it_is() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        campus.put(b"balance/ada", b"a fortune")
        text = await ada.does("mine 2", "inv", "stats")
        assert text.count("balance/ada of the store cannot be 'a fortune'.") == 3
        assert campus.value("balance/ada") == b"a fortune"
        campus.put(b"balance/ada", b"7")
        assert "7  coins" in await ada.does("inv")


async def test_nonsense_at_the_door_keeps_one_out() -> None:
    campus = Campus()
    campus.put(b"player/ada", b"Dean")
    with pytest.raises(BadMessage, match="player/ada of the store cannot be 'Dean'"):
        await play(AtomicDoor(campus), "ada", Player(), rng=random.Random(0))


async def test_a_player_who_is_wiped_out_begins_anew() -> None:
    async with open_campus() as (nursery, campus):
        ada = await sit_down(nursery, [AtomicDoor(campus)], "ada")
        ada.take()
        campus.entries.clear()
        assert rows(await ada.does("inv"))[0] == ["1", "cpu", "power", "1"]
        assert campus.value("player/ada") == b"Undergraduate"


# The eventual engine


async def test_on_the_eventual_engine_a_terminal_believes_itself_and_not_a_replica_behind() -> None:
    async with open_campus() as (nursery, _):
        replicas: list[EventualDoor] = []
        doors = [EventualDoor(nursery, replicas, 2.0) for _ in range(2)]
        ada = await sit_down(nursery, doors, "ada")
        assert "clocks on this campus disagree" in ada.take()
        text = await ada.does("mine 10")
        total = int(re.findall(r"Altogether (\d+) coins", text)[0])
        assert doors[1].campus.value("balance/ada") is None
        doors[0].faults.shut()
        assert f"{total}  coins" in await ada.does("inv")
        more = await ada.does("mine 5")
        total += int(re.findall(r"Altogether (\d+) coins", more)[0])
        await trio.sleep(5)
        assert {door.campus.value("balance/ada") for door in doors} == {str(total).encode()}


async def test_on_the_eventual_engine_a_server_that_is_lost_takes_nothing_with_it() -> None:
    async with open_campus() as (nursery, _):
        replicas: list[EventualDoor] = []
        doors = [EventualDoor(nursery, replicas, 2.0) for _ in range(2)]
        ada = await sit_down(nursery, doors, "ada")
        await trio.sleep(3)
        await ada.does("move bridge", "mine 10", "buy cpu", "mine 2")
        before = await ada.does("stats")
        doors[0].faults.is_lost = True
        doors[0].faults.shut()
        await ada.does("inv")
        again = await sit_down(nursery, doors[1:], "ada")
        again.take()
        assert await again.does("stats") == before
        assert "on the bridge" in before


async def test_on_the_eventual_engine_players_of_two_servers_meet() -> None:
    async with open_campus() as (nursery, _):
        replicas: list[EventualDoor] = []
        one, two = (EventualDoor(nursery, replicas, 1.5) for _ in range(2))
        ada = await sit_down(nursery, [one], "ada")
        bob = await sit_down(nursery, [two], "bob")
        await trio.sleep(2)
        ada.take()
        assert "With you: bob" in await ada.does("look")
        await bob.does("say hello")
        await trio.sleep(2)
        assert ada.take() == 'bob: "hello"'
