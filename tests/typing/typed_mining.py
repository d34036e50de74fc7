"""The miner's public types that users see; mypy reads this file, nothing runs it."""

from typing import NoReturn, assert_type

from trio440.mining import (
    Found,
    HashEngine,
    JobProgress,
    MiningServer,
    NonceRange,
    SchedulerStatistics,
    Throttled,
    find_least_hash,
    hash_of,
    least_hash,
    open_mining_server,
    work,
)
from trio440.mining.engines import cores, measure_rate, open_engine


async def a_miner(host: str, port: int) -> NoReturn:
    async with open_engine("numba", lanes=2) as engine:
        assert_type(engine, HashEngine)
        assert_type(engine.name, str)
        assert_type(engine.lanes, int)
        assert_type(await measure_rate(engine), float)
        assert_type(await engine.search("text", NonceRange(0, 9)), Found)
        slow: HashEngine = Throttled(engine, 1000.0)
        await work(host, port, slow)


async def a_client(host: str, port: int) -> None:
    found = await find_least_hash(host, port, "text", NonceRange(0, 9))
    assert_type(found, Found)
    assert_type(found.hash, int)
    assert_type(least_hash("text", 0, 9), Found)
    assert_type(hash_of("text", found.nonce), int)
    assert_type(cores(), int)
    open_engine("cuda")  # type: ignore[arg-type]  # no such engine
    least_hash(b"bytes", 0, 9)  # type: ignore[arg-type]  # text only


async def a_server() -> None:
    async with open_mining_server() as server:
        assert_type(server, MiningServer)
        assert_type(server.progress(), list[JobProgress])
        assert_type(server.statistics(), SchedulerStatistics)
        for job in server.progress():
            assert_type(job.share, float)
            assert_type(job.seconds_left, float | None)
            assert_type(job.best, Found | None)
