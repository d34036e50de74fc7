"""What tests start processes with, where it could mislead them."""

import socket
import subprocess

from tests.support.forking import Fork


def test_who_has_ended_without_its_status_here_is_sent_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    line, far_end = socket.socketpair()
    with line, far_end:
        process = Fork(ended.pid, line)
        process.kill()
        assert process.returncode is None
