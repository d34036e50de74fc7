"""The hash engines: the same answer from every one, for every length and place of the digits."""

import hashlib
import importlib
import importlib.util
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.processes import PATIENCE_SECONDS
from trio440.core.real import REAL_HOST
from trio440.errors import EngineFailed, EngineUnavailable, InvalidParameter
from trio440.mining.engines import ENGINES, cores, measure_rate, numba_engine, open_engine
from trio440.mining.engines.sliced import FIRST_SLICE, SlicedEngine
from trio440.mining.hashing import Found, hash_of, least_hash, prefix_of
from trio440.mining.ranges import MAX_NONCE, NonceRange

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "mining.json").read_text()
)
needs_numba = pytest.mark.skipif(
    not numba_engine.is_numba_installed(), reason="the extra fast is not installed"
)
pytestmark = pytest.mark.mines
INSTALLED = ["hashlib", pytest.param("numba", marks=needs_numba)]
BLOCK = 64


def plain(text: str, nonces: NonceRange) -> Found:
    """The definition once more, sharing no code with the package."""
    best = None
    for nonce in range(nonces.lower, nonces.upper + 1):
        digest = hashlib.sha256(text.encode() + b" " + str(nonce).encode()).hexdigest()
        value = int(digest[:16], 16)
        if best is None or value < best.hash:
            best = Found(value, nonce)
    assert best is not None
    return best


# the reference


@pytest.mark.parametrize(("text", "nonce", "value"), VECTORS["hashes"])
def test_hashes_of_the_vectors(text: str, nonce: int, value: int) -> None:
    assert hash_of(text, nonce) == value
    assert least_hash(text, nonce, nonce) == (value, nonce)


def test_least_hash_of_a_range() -> None:
    assert least_hash("msg", 0, 2) == (4754799531757243342, 1)
    assert least_hash("bradfitz", 0, 3000) == plain("bradfitz", NonceRange(0, 3000))
    with pytest.raises(InvalidParameter):
        least_hash("msg", 2, 1)


def test_surrogates_hash_as_they_are_sent() -> None:
    assert hash_of("a\udcff", 1) == hash_of("a\ufffd", 1)


# the compiled kernel


@pytest.fixture(scope="module")
def kernel() -> Callable[[bytes, NonceRange], Found]:
    if not numba_engine.is_numba_installed():
        pytest.skip("the extra fast is not installed")
    search: Callable[[bytes, NonceRange], Found] = (
        importlib.import_module("trio440.mining.engines.compiled").CompiledSearch().search
    )
    return search


TEXTS = st.text(max_size=140) | st.integers(0, 3 * BLOCK).map(lambda size: "x" * size)
EDGES = [0, MAX_NONCE, *(10**digits for digits in range(1, 20)), 2**32, 2**63]
STARTS = st.integers(0, MAX_NONCE) | st.builds(
    lambda edge, offset: min(max(edge + offset, 0), MAX_NONCE),
    st.sampled_from(EDGES),
    st.integers(-1200, 1200),
)


@settings(max_examples=70, deadline=None)
@given(TEXTS, STARTS, st.integers(1, 5) | st.integers(1, 2500))
@example("", 0, 1)
@example("", MAX_NONCE, 1)
@example("é" * 40, 999, 2)
@example("x" * 54, 99_999, 1002)
def test_the_kernel_agrees_with_the_definition(
    kernel: Callable[[bytes, NonceRange], Found], text: str, lower: int, size: int
) -> None:
    nonces = NonceRange(lower, min(MAX_NONCE, lower + size - 1))
    assert kernel(prefix_of(text), nonces) == plain(text, nonces)


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 5, 9, 10, 20])
def test_the_kernel_in_every_place_of_the_digits(
    digits: int, kernel: Callable[[bytes, NonceRange], Found]
) -> None:
    lower = 10 ** (digits - 1) if digits > 1 else 0
    for length in range(2 * BLOCK + 3):
        nonces = NonceRange(lower, lower + 8)
        text = "t" * length
        assert kernel(prefix_of(text), nonces) == plain(text, nonces), length


def test_the_kernel_across_every_change_of_length(
    kernel: Callable[[bytes, NonceRange], Found],
) -> None:
    for digits in range(1, 20):
        nonces = NonceRange(10**digits - 3, 10**digits + 2)
        for text in ("", "y" * 40, "z" * 57):
            assert kernel(prefix_of(text), nonces) == plain(text, nonces)
    nonces = NonceRange(0, 12_345)
    assert kernel(prefix_of("all of them"), nonces) == plain("all of them", nonces)


# every engine through the one interface


def edge_cases() -> list[tuple[str, NonceRange]]:
    rng = random.Random(440)
    texts = ["", "msg", "ü€😀 <&>", "line\nbreak", *("l" * size for size in (54, 55, 56, 62, 63))]
    texts += ["m" * size for size in (64, 119, 120, 800)]
    cases = []
    for text in texts:
        for edge in rng.sample(EDGES, 5):
            lower = max(0, edge - rng.randrange(40))
            cases.append((text, NonceRange(lower, min(MAX_NONCE, lower + rng.randrange(80)))))
    return cases


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("lanes", [1, 3])
async def test_engines_agree_with_the_definition(name: Any, lanes: int) -> None:
    async with open_engine(name, lanes=lanes) as engine:
        assert (engine.name, engine.lanes) == (name, lanes)
        for text, nonces in edge_cases():
            assert await engine.search(text, nonces) == plain(text, nonces)
        several_slices = NonceRange(999_000, 999_000 + 5 * FIRST_SLICE)
        assert await engine.search("msg", several_slices) == plain("msg", several_slices)


@pytest.mark.parametrize("name", INSTALLED)
async def test_an_engine_is_of_use_after_a_cancelled_search(name: Any) -> None:
    async with open_engine(name, lanes=2) as engine:
        for _ in range(5):
            with trio.move_on_after(0.05) as scope:
                await engine.search("endless", NonceRange(0, MAX_NONCE))
            assert scope.cancelled_caught
            assert await engine.search("msg", NonceRange(0, 2)) == (4754799531757243342, 1)


@pytest.mark.parametrize("name", INSTALLED)
async def test_the_event_loop_runs_on_while_an_engine_works(name: Any) -> None:
    async with open_engine(name, lanes=1) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(engine.search, "endless", NonceRange(0, MAX_NONCE))
        times = [trio.current_time()]
        for _ in range(20):
            await trio.sleep(0.01)
            times.append(trio.current_time())
        gaps = sorted(after - before for before, after in itertools.pairwise(times))
        assert gaps[10] < 1.0, "it runs on, although another program may hold it up now and then"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", INSTALLED)
async def test_the_rate_is_measured(name: Any) -> None:
    async with open_engine(name, lanes=1) as engine:
        with trio.fail_after(PATIENCE_SECONDS):
            while await measure_rate(engine, seconds=0.05) < 10_000:
                pass  # another program has held it up


async def test_auto_takes_the_fastest_that_is_installed() -> None:
    async with open_engine() as engine:
        assert engine.name == ("numba" if numba_engine.is_numba_installed() else "hashlib")
        assert engine.lanes == cores() >= 1


async def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    async with open_engine("auto", lanes=1) as engine:
        assert engine.name == "hashlib"
    with pytest.raises(EngineUnavailable, match=r"trio440\[fast\]"):
        async with open_engine("numba", lanes=1):
            pass
    with pytest.raises(EngineUnavailable):
        numba_engine.warm_up()


@needs_numba
async def test_auto_does_without_a_numba_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"{name}: Numba needs another NumPy")

    monkeypatch.setattr(importlib, "import_module", fail)
    async with open_engine("auto", lanes=1) as engine:
        assert engine.name == "hashlib"
    with pytest.raises(EngineUnavailable, match=r"not usable here: .* Numba needs another NumPy"):
        async with open_engine("numba", lanes=1):
            pass


@pytest.mark.parametrize(("name", "lanes"), [("openssl", 1), ("auto", 0), ("hashlib", 257)])
async def test_bad_parameters(name: Any, lanes: int) -> None:
    with pytest.raises(InvalidParameter):
        async with open_engine(name, lanes=lanes):
            pass
    assert name not in ENGINES or lanes not in range(1, 257)


# slices


@attrs.define(eq=False)
class ModelLane:
    """Takes the time that its speed says, virtual time, and keeps what it was asked."""

    speed: float
    slices: list[NonceRange] = attrs.field(factory=list)
    fails: bool = False

    async def search(self, prefix: bytes, nonces: NonceRange) -> Found:
        assert prefix == b"t "
        self.slices.append(nonces)
        await trio.sleep(nonces.size / self.speed)
        if self.fails:
            raise EngineFailed("broken")
        return Found(abs(nonces.lower - 1_000_000), nonces.lower)


def engine_of(*lanes: ModelLane) -> SlicedEngine:
    return SlicedEngine("model", lanes, slice_seconds=0.02, clock=REAL_HOST.clock)


async def test_slices_cover_a_range_once_and_are_as_long_as_they_should(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fast, slow = ModelLane(2e6), ModelLane(1e5)
    nonces = NonceRange(7, 10_000_000)
    found = await engine_of(fast, slow).search("t", nonces)
    slices = sorted(fast.slices + slow.slices)
    assert slices[0].lower == 7
    assert slices[-1].upper == 10_000_000
    assert all(low.upper + 1 == high.lower for low, high in itertools.pairwise(slices))
    assert found == min(Found(abs(s.lower - 1_000_000), s.lower) for s in slices)
    assert all(part.size <= 0.0201 * 2e6 for part in fast.slices[3:-1])
    assert all(part.size <= 0.0201 * 1e5 for part in slow.slices[1:-1])
    assert sum(part.size for part in slow.slices) == pytest.approx(1e7 / 21, rel=0.1)


async def test_an_engine_searches_for_one_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    engine = engine_of(ModelLane(1e6))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.search, "t", NonceRange(0, 10**6))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await engine.search("t", NonceRange(0, 1))
    assert (await engine.search("t", NonceRange(0, 1))).nonce == 0


async def test_a_lane_that_fails_ends_the_search(autojump_clock: trio.testing.MockClock) -> None:
    lanes = (ModelLane(1e6), ModelLane(1e6, fails=True))
    with pytest.raises(EngineFailed, match="broken"):
        await engine_of(*lanes).search("t", NonceRange(0, 10**9))
