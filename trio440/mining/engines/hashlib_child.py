"""The process of a lane of the ``hashlib`` engine; run as a script, standard library only.

It reads requests from standard input and answers on standard output, one line each::

    number prefix-in-hex lower upper
    number hash nonce

A new request ends the search of the one before without an answer. The process ends when its
standard input is closed, which also happens when its parent dies; it looks every millisecond,
in the middle of a search too. It ignores Ctrl-C, which is its parent's to handle.
"""

import contextlib
import hashlib
import os
import select
import signal

__all__ = ["Interrupted", "search", "serve"]

STDIN, STDOUT = 0, 1
BLOCK = 1000
"""Nonces between two looks at standard input."""


class Interrupted(Exception):
    """There is something to read: a new request, or the end."""


def search(prefix: bytes, lower: int, upper: int) -> tuple[int, int]:
    """Return the least hash of ``prefix`` and the digits of ``lower`` to ``upper``."""
    copy = hashlib.sha256(prefix).copy
    best = b"\xff" * 32
    best_nonce = lower
    for start in range(lower, upper + 1, BLOCK):
        if select.select([STDIN], [], [], 0)[0]:
            raise Interrupted
        for nonce in range(start, min(start + BLOCK, upper + 1)):
            state = copy()
            state.update(b"%d" % nonce)
            digest = state.digest()
            if digest < best and digest[:8] < best[:8]:
                best = digest
                best_nonce = nonce
    return int.from_bytes(best[:8], "big"), best_nonce


def serve() -> None:
    """Answer requests until standard input ends."""
    pending = b""
    while data := os.read(STDIN, 1 << 16):
        *requests, pending = (pending + data).split(b"\n")
        if requests:
            number, prefix, lower, upper = requests[-1].split()
            try:
                found = search(bytes.fromhex(prefix.decode()), int(lower), int(upper))
            except Interrupted:
                continue
            os.write(STDOUT, b"%s %d %d\n" % (number, *found))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):  # the parent has died
        serve()
