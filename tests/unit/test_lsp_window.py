from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio440.lsp.params import MESSAGE_OVERHEAD
from trio440.lsp.window import Place, ReceiveWindow, SendWindow


def written(
    count: int, *, isn: int = 0, window: int = 5, unacked: int = 5, backoff: int = 0
) -> SendWindow:
    send_window = SendWindow(isn, window, unacked, backoff)
    for number in range(count):
        send_window.write(b"%d" % number)
    return send_window


def numbers(send_window: SendWindow) -> list[int]:
    return [message.seq_num for message in send_window.take_sendable(0)]


def test_numbers_start_behind_the_isn() -> None:
    assert numbers(written(3, isn=41)) == [42, 43, 44]


@pytest.mark.parametrize(
    ("window", "unacked", "sent"), [(5, 50, 5), (50, 5, 5), (1, 1, 1), (10, 10, 10)]
)
def test_the_lesser_of_both_limits_is_what_goes_out(window: int, unacked: int, sent: int) -> None:
    assert len(numbers(written(20, window=window, unacked=unacked))) == sent


def test_a_late_ack_frees_an_unacked_place_but_does_not_move_the_window() -> None:
    send_window = written(20, window=5, unacked=2)
    assert numbers(send_window) == [1, 2]
    send_window.acknowledge(2)
    assert numbers(send_window) == [3]
    send_window.acknowledge(3)
    assert numbers(send_window) == [4]
    send_window.acknowledge(4)
    assert numbers(send_window) == [5]
    send_window.acknowledge(5)
    assert numbers(send_window) == []
    send_window.acknowledge(1)
    assert numbers(send_window) == [6, 7]


def test_an_ack_counts_once_and_never_for_what_was_not_sent() -> None:
    send_window = written(3, window=2, unacked=2)
    numbers(send_window)
    assert send_window.acknowledge(3) is None
    assert send_window.acknowledge(99) is None
    assert send_window.acknowledge(0) is None
    assert send_window.acknowledge(1) is not None
    assert send_window.acknowledge(1) is None
    assert send_window.outstanding == 1


def test_a_cumulative_ack_takes_everything_up_to_its_number() -> None:
    send_window = written(10, window=10, unacked=10)
    numbers(send_window)
    send_window.acknowledge(2)
    assert [m.seq_num for m in send_window.acknowledge_through(4)] == [1, 3, 4]
    assert [m.seq_num for m in send_window.acknowledge_through(1000)] == list(range(5, 11))
    assert send_window.idle


@pytest.mark.parametrize(
    ("max_backoff", "ticks"),
    [
        (0, [1, 2, 3, 4, 5]),
        (1, [1, 3, 5, 7, 9]),
        (2, [1, 3, 6, 9, 12]),
        (3, [1, 3, 6, 10, 14, 18]),
        (4, [1, 3, 6, 11, 16, 21]),
        (64, [1, 3, 6, 11, 20, 37]),
    ],
)
def test_resends_follow_the_back_off_schedule(max_backoff: int, ticks: Sequence[int]) -> None:
    send_window = written(1, backoff=max_backoff)
    numbers(send_window)
    resent = [tick for tick in range(1, ticks[-1] + 1) if send_window.take_due()]
    assert resent == ticks


def test_each_message_backs_off_by_itself() -> None:
    send_window = written(1, backoff=4)
    numbers(send_window)
    schedule: list[list[int]] = []
    for tick in range(1, 7):
        schedule.append([message.seq_num for message in send_window.take_due()])
        if tick == 2:
            send_window.write(b"later")
            numbers(send_window)
    assert schedule == [[1], [], [1, 2], [], [2], [1]]


def test_buffered_counts_payload_and_overhead_until_acknowledged() -> None:
    send_window = written(0, window=1, unacked=1)
    send_window.write(b"abc")
    send_window.write(b"")
    assert send_window.buffered == 3 + 2 * MESSAGE_OVERHEAD
    numbers(send_window)
    assert send_window.buffered == 3 + 2 * MESSAGE_OVERHEAD
    send_window.acknowledge(1)
    assert send_window.buffered == MESSAGE_OVERHEAD
    assert send_window.next_written == 3


def test_abandoning_leaves_nothing_to_send_or_resend() -> None:
    send_window = written(9)
    numbers(send_window)
    assert send_window.unfinished == 9
    send_window.abandon()
    assert send_window.idle
    assert send_window.unfinished == 0
    assert numbers(send_window) == []
    assert send_window.take_due() == []
    assert send_window.buffered == 0


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.lists(st.tuples(st.sampled_from(["write", "ack", "cack", "tick"]), st.integers(0, 40))),
)
def test_the_window_rules_hold_whatever_happens(
    window: int, unacked: int, steps: list[tuple[str, int]]
) -> None:
    """Against a list of flags: the dumbest window that can be written."""
    send_window = SendWindow(0, window, unacked, 3)
    model: list[str] = []
    for action, number in steps:
        outstanding = [n for n, state in enumerate(model, 1) if state == "sent"]
        if action == "write":
            send_window.write(b"x")
            model.append("waiting")
        elif action == "ack":
            assert (send_window.acknowledge(number) is not None) == (number in outstanding)
            if number in outstanding:
                model[number - 1] = "acknowledged"
        elif action == "cack":
            taken = [message.seq_num for message in send_window.acknowledge_through(number)]
            assert taken == [n for n in outstanding if n <= number]
            for n in taken:
                model[n - 1] = "acknowledged"
        else:
            assert {m.seq_num for m in send_window.take_due()} <= set(outstanding)
        for message in send_window.take_sendable(0):
            assert model[message.seq_num - 1] == "waiting"
            model[message.seq_num - 1] = "sent"
            oldest = min(n for n, s in enumerate(model, 1) if s in {"sent", "waiting"})
            assert message.seq_num < oldest + window
        now_outstanding = model.count("sent")
        assert now_outstanding <= unacked
        assert send_window.outstanding == now_outstanding
        assert send_window.unfinished == now_outstanding + model.count("waiting")
        if "waiting" in model:
            oldest = min(n for n, s in enumerate(model, 1) if s != "acknowledged")
            following = model.index("waiting") + 1
            assert now_outstanding == unacked or following >= oldest + window


def test_receive_window_places() -> None:
    receive_window = ReceiveWindow(10, 3)
    assert receive_window.expected == 11
    assert receive_window.place(10) is Place.OLD
    assert receive_window.place(11) is Place.INSIDE
    assert receive_window.place(13) is Place.INSIDE
    assert receive_window.place(14) is Place.BEYOND
    receive_window.accept(12, b"b")
    assert receive_window.place(12) is Place.OLD


@given(st.permutations(range(1, 13)), st.integers(1, 12))
def test_whatever_the_order_delivery_is_in_order_and_once(order: list[int], window: int) -> None:
    receive_window = ReceiveWindow(0, window)
    delivered: list[bytes] = []
    arriving = list(order)
    while arriving:
        number = arriving.pop(0)
        match receive_window.place(number):
            case Place.INSIDE:
                delivered += receive_window.accept(number, b"%d" % number)
                assert receive_window.place(number) is Place.OLD
            case Place.BEYOND:
                assert number >= receive_window.expected + window
                arriving.append(number)
            case Place.OLD:
                raise AssertionError(number)
        assert receive_window.buffered <= (window - 1) * (2 + MESSAGE_OVERHEAD)
    assert delivered == [b"%d" % number for number in range(1, 13)]
    assert receive_window.buffered == 0
