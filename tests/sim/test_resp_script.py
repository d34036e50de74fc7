"""What Redis answered to a script of commands is what this server answers, byte for byte."""

import re

import pytest

from tests.support.kv_wrapped import WaitingNamespace
from tests.support.resp_script import Step, read_record
from tests.support.resp_world import open_resp_world, packed
from trio440 import kv
from trio440.kv.resp.parser import split_inline

RECORD = read_record()


def comparable(answers: list[bytes]) -> list[bytes]:
    """Leave out the number of the connection, which HELLO tells."""
    return [re.sub(rb"(\$2\r\nid\r\n):\d+", rb"\1", answer) for answer in answers]


def test_the_record_is_long_enough_to_mean_something() -> None:
    assert sum(len(steps) for steps in RECORD.values()) > 400
    assert all(step.answers for steps in RECORD.values() for step in steps)


@pytest.mark.parametrize("name", RECORD)
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "arrays"])
async def test_one_command_at_a_time(name: str, inline: bool) -> None:
    async with open_resp_world() as world, world.serve(), world.client() as client:
        for step in RECORD[name]:
            await client.stream.send_all(sent(step, inline=inline))
            answers = await client.answers(len(step.answers))
            assert comparable(answers) == comparable(step.answers), step.command


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
@pytest.mark.parametrize("name", RECORD)
async def test_all_commands_in_one_pipeline(name: str, waits: bool) -> None:
    async with (
        open_resp_world() as world,
        kv.open_memory(ports=world.server_ports) as memory,
        world.serve(namespace=WaitingNamespace(memory) if waits else memory),
        world.client() as client,
    ):
        steps = RECORD[name]
        await client.stream.send_all(b"".join(sent(step, inline=False) for step in steps))
        wanted = [answer for step in steps for answer in step.answers]
        assert comparable(await client.answers(len(wanted))) == comparable(wanted)


def sent(step: Step, *, inline: bool) -> bytes:
    line = step.command.encode()
    words = split_inline(line)
    assert words
    return line + b"\r\n" if inline else packed(words)
