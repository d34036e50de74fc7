"""The store on real sockets: what is written at one server is heard of at the other one."""

import trio

from tests.support.processes import PATIENCE_SECONDS
from trio440 import kv


async def test_what_is_put_at_one_server_is_read_at_another() -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        async with (
            kv.open_server(0, 2) as one,
            kv.open_server(0, 2, descriptions=[one.description]) as two,
            kv.open_client(one.client_addresses) as here,
            kv.open_client(two.client_addresses[1:]) as there,
        ):
            for writer, reader in ((here, there), (there, here)):
                async with reader.watch(b"k") as changes:
                    await writer.put(b"k", b"v")
                    assert (await anext(changes)).value == b"v"
                entry = await there.get(b"k")
                assert entry is not None
                assert entry.value == b"v"
            assert len(set(one.client_addresses + two.client_addresses)) == 4
            assert one.statistics().highest_rate <= 10
