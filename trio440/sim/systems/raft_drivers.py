"""Has the watch see all that the driver of a peer at level B takes in and sends."""

from trio440.raft.driver import Driver
from trio440.raft.messages import Message
from trio440.sim.systems.raft_watch import Durable, Watch

__all__ = ["watch_driver"]


def watch_driver(watch: Watch, driver: Driver, durable: Durable, *, is_lost: bool) -> None:
    """Look at what a peer comes back with, at all that it says, and after all that it hears.

    Messages that come together are taken in by one step of a task: a leader may commit by the
    first of them and lead no more by the second, so each is looked at by itself.

    Args:
        watch: looks.
        driver: of a peer that has just been opened.
        durable: what its disk has.
        is_lost: the disk is lost, and the peer is to be refused: it is nobody yet.
    """
    send, receive, ask, node = driver.send, driver.receive, driver.wait_readable, driver.node

    def sent(message: Message) -> bool:
        watch.sent(message)
        return send(message)

    def received(message: Message) -> None:
        receive(message)
        watch.look(node)

    async def asked() -> bool:
        committed = watch.committed
        may_read = await ask()
        if may_read:
            watch.read(node.id, driver.applier.applied, committed)
        return may_read

    driver.send = sent
    driver.wait_readable = asked  # type: ignore[method-assign]
    if not is_lost:
        watch.started(node, durable, node.snapshot_index, lambda: None)
        driver.receive = received  # type: ignore[method-assign]
