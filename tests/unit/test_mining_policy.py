"""The bounds of chunks, and which answer wins."""

from typing import Any

import pytest

from trio440.errors import InvalidParameter
from trio440.mining.hashing import Found
from trio440.mining.jobs import Chunk, Job, Miner
from trio440.mining.policy import ChunkSizes
from trio440.mining.ranges import NonceRange


@pytest.mark.parametrize("name", ["first", "least", "most"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 10.0, True, "10", None])
def test_sizes_are_whole_numbers_of_at_least_one(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} must be a whole number of at least 1"):
        ChunkSizes(**{name: value})


def test_the_least_size_is_at_most_the_most() -> None:
    with pytest.raises(InvalidParameter, match="least must be at most the most, 9, not 10"):
        ChunkSizes(first=1, least=10, most=9)
    assert ChunkSizes(first=1, least=9, most=9).most == 9
    assert ChunkSizes(first=1, least=1, most=1).first == 1


@pytest.mark.parametrize("nonces", [(3, 7), (7, 3)])
def test_of_equal_hashes_the_smaller_nonce_wins_in_any_order(nonces: tuple[int, int]) -> None:
    job = Job.of(1, 1, "t", NonceRange(0, 9))
    miner = Miner(2)
    for nonce in nonces:
        half = NonceRange(0, 4) if nonce < 5 else NonceRange(5, 9)
        job.answer(Chunk(job, miner, half), Found(42, nonce))
    assert job.best == Found(42, 3)
    assert not job.missing
