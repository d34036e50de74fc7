"""The game on the engines themselves: what it promises on each, in virtual time."""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from tests.support import kv_engines
from tests.support.cmud_world import Player, sit_down_at
from trio440 import kv

Open = Callable[[kv.TableLimits], AbstractAsyncContextManager[kv_engines.Opened]]

atomic = pytest.mark.parametrize(
    "opening",
    [kv_engines.open_memory, kv_engines.open_served, kv_engines.open_linearizable],
    ids=["memory", "served", "raft"],
)


async def all_idle(*players: Player) -> None:
    for player in players:
        await player.idle()


@atomic
async def test_two_terminals_of_one_player_lose_no_coins(opening: Open) -> None:
    async with opening(kv.TableLimits()) as opened, trio.open_nursery() as nursery:
        here, there = [await sit_down_at(nursery, opened.space, "ada", seed=n) for n in (1, 2)]
        for desk in (here, there):
            desk.type("mine 10")
        await all_idle(here, there)
        found = sum(int(re.findall(r"Altogether (\d+)", desk.take())[0]) for desk in (here, there))
        assert f"{found}  coins" in await here.does("inv")
        assert found > 10
        nursery.cancel_scope.cancel()


@atomic
async def test_a_shared_problem_is_exact(opening: Open) -> None:
    async with opening(kv.TableLimits()) as opened, trio.open_nursery() as nursery:
        players = [await sit_down_at(nursery, opened.space, f"p{n}", seed=n) for n in range(3)]
        for player in players:
            player.take()
            player.type(*["solve"] * 8)
        await all_idle(*players)
        text = "".join(player.take() for player in players)
        left = sorted(map(int, re.findall(r"is down by 1 to (\d+)\.", text)), reverse=True)
        assert left == [*range(99, 99 - len(left), -1)]
        entry = await opened.space.get(b"problem/Undergraduate")
        assert entry is not None
        assert int(entry.value) == left[-1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "engine", ["memory", pytest.param("raft", marks=pytest.mark.slow), "eventual"]
)
async def test_players_see_and_hear_each_other_within_two_seconds(engine: str) -> None:
    opening: dict[str, Callable[[], AbstractAsyncContextManager[kv_engines.Opened]]] = {
        "memory": lambda: kv_engines.open_memory(kv.TableLimits()),
        "raft": lambda: kv_engines.open_linearizable(kv.TableLimits()),
        "eventual": kv_engines.open_eventual,
    }
    async with opening[engine]() as opened, trio.open_nursery() as nursery:
        ada = await sit_down_at(nursery, opened.space, "ada")
        ada.take()
        bob = await sit_down_at(nursery, opened.space, "bob")
        await trio.sleep(2)
        assert "With you: ada (Undergraduate)." in bob.take()
        assert ada.take() == "bob comes in."
        await bob.does("say hello", "say again")
        await trio.sleep(2)
        assert ada.take() == 'bob: "hello"\nbob: "again"'
        await bob.does("move fence")
        await trio.sleep(2)
        assert ada.take() == "bob is gone."
        await ada.does("move fence")
        await trio.sleep(2)
        assert bob.take().splitlines()[-1] == "ada comes in."
        async with trio.open_nursery() as brief:
            await sit_down_at(brief, opened.space, "eve")
            await bob.does("move 5")
            await trio.sleep(2)
            brief.cancel_scope.cancel()
        bob.take()
        await trio.sleep(12)
        assert bob.take() == "eve is gone."
        nursery.cancel_scope.cancel()


async def test_on_the_eventual_engine_a_player_keeps_what_it_has_done() -> None:
    async with kv_engines.open_eventual() as opened, trio.open_nursery() as nursery:
        ada = await sit_down_at(nursery, opened.space, "ada")
        text = await ada.does("mine 5", "move 9", "buy cpu", "inv")
        bought = int(re.findall(r"Altogether (\d+)", text)[0])
        assert text.splitlines()[-2].split() == [f"{bought + 1}", "cpu", "power", f"{bought + 1}"]
        await ada.does("quit")
        again = await sit_down_at(nursery, opened.space, "ada")
        assert "Floor 9" in again.take()
        nursery.cancel_scope.cancel()
