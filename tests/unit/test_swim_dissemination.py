"""What gossip sends, how often and how much of it."""

from hypothesis import given
from hypothesis import strategies as st

from trio440.actors.cluster.dissemination import Dissemination, retransmission_limit
from trio440.actors.cluster.messages import Node, Record, State, record_size

ROOM = 10_000


def about(address: str, refutations: int = 0) -> Record:
    return Record(Node(address, 1), State.ALIVE, refutations)


def test_section_4_1_of_swim_lambda_log_n_transmissions() -> None:
    assert [retransmission_limit(3, live) for live in (1, 5, 50, 500)] == [3, 6, 12, 19]
    queue = Dissemination()
    queue.put(about("a"))
    limit = retransmission_limit(3, 5)
    sent = [queue.take(ROOM, limit) for _ in range(limit + 3)]
    assert sent == [[about("a")]] * limit + [[]] * 3
    assert len(queue) == 0


def test_section_4_1_of_swim_those_sent_least_go_first() -> None:
    queue = Dissemination()
    queue.put(about("a"))
    queue.put(about("b"))
    room = record_size(about("a"))
    order = [queue.take(room, 3)[0].node.address for _ in range(2)]
    queue.put(about("c"))
    order += [queue.take(room, 3)[0].node.address for _ in range(7)]
    assert order == ["b", "a", "c", "c", "a", "b", "b", "a", "c"]


def test_one_record_for_each_address_and_the_last_one() -> None:
    queue = Dissemination()
    queue.put(about("a"))
    queue.take(ROOM, 2)
    queue.put(about("a", 1))
    assert len(queue) == 1
    assert [queue.take(ROOM, 2) for _ in range(3)] == [[about("a", 1)]] * 2 + [[]]


def test_what_the_message_says_anyway_is_left_out_and_counted_apart() -> None:
    queue = Dissemination()
    queue.put(about("a"))
    queue.put(about("b"))
    assert queue.take(ROOM, 1, without="a") == [about("b")]
    assert "a" in queue
    queue.count("a", 1)
    queue.count("a", 1)
    assert len(queue) == 0


@given(
    st.lists(st.text("xyz", min_size=1, max_size=6), max_size=12),
    st.lists(st.integers(-10, 400), max_size=30),
    st.integers(1, 5),
)
def test_no_message_has_more_than_its_room_and_nothing_is_sent_too_often(
    addresses: list[str], rooms: list[int], limit: int
) -> None:
    queue = Dissemination()
    for address in addresses:
        queue.put(about(address))
    counts = dict.fromkeys(addresses, 0)
    for room in rooms:
        taken = queue.take(room, limit)
        assert sum(map(record_size, taken)) <= max(0, room)
        for record in taken:
            counts[record.node.address] += 1
    assert all(count <= limit for count in counts.values())
    for _ in range(limit * (len(addresses) + 1)):
        for record in queue.take(ROOM, limit):
            counts[record.node.address] += 1
    assert all(count == limit for count in counts.values())
    assert len(queue) == 0
