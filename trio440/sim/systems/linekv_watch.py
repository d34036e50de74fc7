"""What linekv promises, checked on what clients send and get and on what is on disk. Pure.

Every connection of a client writes to a key of its own, which nobody else writes to, and to keys
that all share. Of its own key it knows the content after each line: a beginning of its lines is
what a store may hold, and after an answer nothing before that answer may be missing. Of the
shared keys the history of all clients must be linearizable.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from trio440.errors import BadMessage, InvariantViolated, JournalCorrupt
from trio440.journal.recovery import recover
from trio440.linekv.changes import decode_changes
from trio440.linekv.protocol import Delete, Get, Put, Request, Update
from trio440.sim.chance import stream
from trio440.sim.checking.history import Call, History, Invocation
from trio440.sim.checking.linearizability import check_linearizable
from trio440.sim.checking.models import LineStore
from trio440.sim.disk import SimDisk, Survival

__all__ = ["DATA", "Dialog", "Promises", "draw_cuts"]

DATA: Final = "/data"
"""The server's directory."""
SHARED_KEYS: Final = 2
SHARED_SPAN: Final = 1_000_000
"""Shared keys are in use for so many microseconds, lest their histories grow hard to check."""
STEP_LIMIT: Final = 20_000
SAME: Final = b"same"
"""A value that a connection puts again and again."""
LONG: Final = 700
"""So long a value does not fit a sector of a disk."""
DISK_REFUSAL: Final = b"Error: this server cannot write its disk any more: "

Values = tuple[bytes, ...]


@attrs.define(eq=False)
class _Log:
    """What one connection wrote to its own key, line by line."""

    key: bytes
    states: list[Values] = attrs.Factory(lambda: [()])
    """The key's values after so many lines; the last is that after all of them."""
    least: int = 0
    """So many lines have been seen to be in effect."""

    def write(self, request: Put | Delete | Update) -> None:
        self.states.append(_after(self.states[-1], request))

    def place(self, values: Values) -> int | None:
        """Return the least number of lines, not below ``least``, that gives these values."""
        try:
            return self.states.index(values, self.least)
        except ValueError:
            return None

    def shown(self, values: Values) -> str:
        wanted = self.states[self.least]
        text = f"{self.key!r} is {values!r} where {self.least} of {len(self.states) - 1} lines"
        return f"{text} count for certain, which gives {wanted!r}"


@attrs.define(eq=False)
class _Asked:
    """A Get that is to be answered."""

    key: bytes
    log: _Log | None
    """Of the key, if it is one connection's own."""
    lines: int | None
    """After how many lines of this very connection's own log; None: the log is another's."""
    invocation: Invocation | None
    """Of a shared key."""
    before: list[Invocation]
    """Of the lines before it, which count when it is answered."""
    fence: bytes
    values: list[bytes] = attrs.Factory(list)


@attrs.define(eq=False)
class Dialog:
    """One connection, as its client sees it; :meth:`Promises.connect` makes one."""

    name: str
    _promises: "Promises"
    _rng: random.Random
    log: _Log = attrs.field(init=False)
    answered: int = 0
    """Gets that were answered."""
    refused: bool = False
    """Whether the server has told that its disk is gone: nothing more is known."""
    careless: bool = False
    """Whether the client does not read in time, so that answers may lack lines."""
    _expected: deque[_Asked | bytes] = attrs.field(factory=deque, init=False)
    _uncertain: list[Invocation] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.log = _Log(self.name.encode())

    @property
    def owed(self) -> int:
        """How many answers and refusals are still to come."""
        return len(self._expected)

    # What the client asks

    def draw_request(self, looks: Iterable[bytes] = ()) -> bytes:
        """Return a line that asks for something, with its line end; or two lines."""
        rng = self._rng
        draw = rng.random()
        own = rng.random() < 0.7  # noqa: PLR2004 - most
        key = self.log.key if own else self._promises.draw_shared(rng)
        if draw < 0.45:  # noqa: PLR2004 - shares of the kinds of requests
            return self.change(Put(key, self._draw_value(own=own)))
        if draw < 0.55:  # noqa: PLR2004
            return self.change(Update(key, self._draw_old(key, own=own), self._draw_value(own=own)))
        if draw < 0.6:  # noqa: PLR2004
            return self.change(Delete(key))
        if draw < 0.65:  # noqa: PLR2004
            return self._draw_nonsense()
        others = list(looks)
        if others and draw < 0.72:  # noqa: PLR2004
            return self.get(rng.choice(others))
        return self.get(key)

    def change(self, request: Put | Delete | Update) -> bytes:
        """Return the line of a change, which is on record from now on."""
        key = request.key
        if key == self.log.key:
            self.log.write(request)
        else:
            self._uncertain.append(self._promises.invoke(self.name, request))
        match request:
            case Put(_, value):
                line = b"Put:%b:%b" % (key, value)
            case Update(_, old, new):
                line = b"Update:%b:%b:%b" % (key, old, new)
            case _:
                line = b"Delete:%b" % key
        return line + self._line_end()

    def get(self, key: bytes) -> bytes:
        """Return a Get, and a line that is refused behind its answer."""
        own = key == self.log.key
        log = self._promises.logs.get(key)
        invocation = None if log else self._promises.invoke(self.name, Get(key))
        before, self._uncertain = self._uncertain, []
        self._count += 1
        fence = b"Fence-%b-%d" % (self.log.key, self._count)
        lines = len(self.log.states) - 1 if own else None
        refusal = b"Error: unknown command '%b'" % fence
        self._expected.append(_Asked(key, log, lines, invocation, before, refusal))
        return b"Get:%b%b%b%b" % (key, self._line_end(), fence, self._line_end())

    def fill(self, count: int, size: int) -> bytes:
        """Return lines that put a long list."""
        lines = [self.change(Put(self.log.key, b"%d-" % n + bytes(size))) for n in range(count)]
        return b"".join(lines)

    def draw_half_line(self) -> bytes:
        """Return the beginning of a line; it must never take effect."""
        line = b"Put:%b:this line has no end" % self.log.key
        return line[: self._rng.randint(1, len(line))]

    def endless_line(self, limit: int) -> bytes:
        """Return a line past a limit, which is refused; then the connection ends."""
        self._expected.append(b"Error: a line is too long, the limit is %d bytes" % limit)
        return b"Put:%b:" % self.log.key + b"x" * limit

    def _draw_nonsense(self) -> bytes:
        self._count += 1
        tag = b"%b-%d" % (self.log.key, self._count)
        line, problem = self._rng.choice(
            [
                (b"Put:" + tag, b"a request of this kind is Put:key:value"),
                (b"Update:a:" + tag, b"a request of this kind is Update:key:old:new"),
                (
                    b"Get:a:" + tag,
                    b"a request of this kind is Get:key, and no key contains a colon",
                ),
                (tag + b":a:b", b"unknown command '%b'" % tag),
            ]
        )
        self._expected.append(b"Error: " + problem)
        return line + self._line_end()

    def _draw_value(self, *, own: bool) -> bytes:
        rng = self._rng
        if own and rng.random() < 0.25:  # noqa: PLR2004 - now and then
            return SAME
        self._count += 1
        tail = rng.choice([b"", b"", b":", b":a:b", b" \xff\xfe", b" \xff\xfe\r\x00"])
        if rng.random() < 0.05:  # noqa: PLR2004 - a few
            tail += b"x" * LONG
        return b"%b.%d%b" % (self.log.key, self._count, tail)

    def _draw_old(self, key: bytes, *, own: bool) -> bytes:
        values = self.log.states[-1] if own else self._promises.last_seen.get(key, ())
        olds = [value for value in values if b":" not in value and len(value) < LONG]
        return self._rng.choice(olds) if olds and self._rng.random() < 0.8 else b"absent"  # noqa: PLR2004

    def _line_end(self) -> bytes:
        return b"\r\n" if self._rng.random() < 0.2 else b"\n"  # noqa: PLR2004 - some of them

    # What the server says

    def receive_line(self, line: bytes) -> bool:
        """Judge a line of the server; whether it ended an answer.

        Raises:
            InvariantViolated: it is not what comes next.
        """
        if line.startswith(DISK_REFUSAL):
            self.refused = True
            return False
        if self.refused:
            return False
        if self.careless:
            self._skip_to(line)
        if not self._expected:
            raise InvariantViolated("nothing is said that was not asked", f"{self.name}: {line!r}")
        asked = self._expected[0]
        if not isinstance(asked, _Asked):
            if line != asked:
                shown = f"{self.name}: {line!r} in the place of {asked!r}"
                raise InvariantViolated("answers come in the order of the requests", shown)
            self._expected.popleft()
            return False
        if line == asked.fence:
            self._expected.popleft()
            self._judge(asked)
            return True
        if not line.startswith(asked.key + b":"):
            shown = f"{self.name}: {line!r} in the answer about {asked.key!r}"
            raise InvariantViolated("an answer is about what was asked", shown)
        asked.values.append(line.removeprefix(asked.key + b":"))
        return False

    def _skip_to(self, line: bytes) -> None:
        """Pass over what was dropped for a client that did not read."""
        while self._expected:
            asked = self._expected[0]
            if line == asked or (
                isinstance(asked, _Asked)
                and (line == asked.fence or line.startswith(asked.key + b":"))
            ):
                return
            self._expected.popleft()

    def _judge(self, asked: _Asked) -> None:
        if self.careless:
            return
        self.answered += 1
        values = tuple(asked.values)
        if asked.invocation is not None:
            _require_order(asked.key, values)
            self._promises.last_seen[asked.key] = values
        for one in asked.before:
            one.ok()
        if asked.invocation is not None:
            asked.invocation.ok(values)
        log = asked.log
        if log is None:
            return
        if asked.lines is not None:
            if values != log.states[asked.lines]:
                shown = f"{values!r} in the place of {log.states[asked.lines]!r}"
                raise InvariantViolated("a connection sees all that it asked before", shown)
            log.least = max(log.least, asked.lines)
            return
        place = log.place(values)
        if place is None:
            raise InvariantViolated("what was answered stays, in order", log.shown(values))
        log.least = place


class Promises:
    """What all connections of a world are judged by."""

    def __init__(self, now: Callable[[], int], seed: object) -> None:
        """Begin with an empty store.

        Args:
            now: virtual time in microseconds.
            seed: for the images of the disk that are looked at.
        """
        self._now = now
        self._rng = stream(seed, "linekv", "images")  # type: ignore[arg-type]
        self.history = History(now)
        self.logs: dict[bytes, _Log] = {}
        """By key, what belongs to one connection."""
        self.last_seen: dict[bytes, Values] = {}

    def connect(self, client: str, number: int, rng: random.Random) -> Dialog:
        """Return the dialog of a client's next connection."""
        dialog = Dialog(f"{client}/{number}", self, rng)
        self.logs[dialog.log.key] = dialog.log
        return dialog

    def old_keys(self, client: str) -> list[bytes]:
        """Return the keys of a client's connections."""
        prefix = client.encode() + b"/"
        return [key for key in self.logs if key.startswith(prefix)]

    def draw_shared(self, rng: random.Random) -> bytes:
        """Return a key that all may write to at this time, or that they wrote to before."""
        span = self._now() // SHARED_SPAN
        if span and rng.random() < 0.1:  # noqa: PLR2004 - now and then
            span = rng.randrange(span)
        return b"shared\xff%d-%d" % (span, rng.randrange(SHARED_KEYS))

    def invoke(self, name: str, request: Request) -> Invocation:
        """Record that a request about a shared key is made."""
        return self.history.invoke(name, _call(request))

    def look_at(self, disk: SimDisk, *, share: float) -> dict[bytes, Values]:
        """Require of a share of the moments that a power cut now would leave what was answered.

        Returns what is there for certain, if it was looked at.

        Raises:
            InvariantViolated: it would not.
        """
        rng = self._rng
        if rng.random() >= share:
            return {}
        survivals: list[Survival] = ["random", "nothing"]
        contents: dict[bytes, Values] = {}
        for survival in survivals:
            contents = self._recover(disk.image(rng, survival))
            self.require_contents(contents)
        return contents

    def require_contents(self, contents: Mapping[bytes, Values]) -> None:
        """Require that a store holds what was answered, and nothing that was not put."""
        for key, log in self.logs.items():
            values = contents.get(key, ())
            if log.place(values) is None:
                raise InvariantViolated("what was answered is on disk", log.shown(values))
        for key in contents:
            if key not in self.logs and not key.startswith(b"shared\xff"):
                raise InvariantViolated("nothing is invented", repr(key))

    def judge(self) -> None:
        """Require that the history of all clients is linearizable.

        A history that is too hard to check is passed over.
        """
        verdict = check_linearizable(self.history, LineStore(), step_limit=STEP_LIMIT)
        if verdict.answer == "violated":
            why = verdict.explanations[0]
            raise InvariantViolated("the history is linearizable", str(verdict), why)

    @staticmethod
    def _recover(disk: SimDisk) -> dict[bytes, Values]:
        tree = disk.tree(DATA)
        try:
            found = recover(DATA, tree.list_directory(""), tree.read)
        except JournalCorrupt as error:
            raise InvariantViolated("a power cut damages nothing", str(error)) from error
        contents: dict[bytes, Values] = {}
        snapshot = b"" if found.snapshot is None else found.snapshot.data
        try:
            for data in (snapshot, *found.records):
                for request in decode_changes(data):
                    if not isinstance(request, Get):
                        contents[request.key] = _after(contents.get(request.key, ()), request)
        except BadMessage as error:
            raise InvariantViolated("what is on disk was written", str(error)) from error
        return contents


def draw_cuts(rng: random.Random, data: bytes) -> list[bytes]:
    """Cut bytes into pieces at random places."""
    if rng.random() < 0.3 or len(data) < 2:  # noqa: PLR2004 - some whole
        return [data] if data else []
    count = min(len(data) - 1, rng.randint(1, 4))
    places = sorted(rng.sample(range(1, len(data)), count))
    return [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]


def _after(values: Values, request: Put | Delete | Update) -> Values:
    match request:
        case Put(_, value):
            return (*values, value)
        case Delete():
            return ()
        case Update(_, old, new):
            if old not in values:
                return (*values, new)
            place = values.index(old)
            return (*values[:place], *values[place + 1 :], new)


def _call(request: Request) -> Call:
    match request:
        case Put(key, value):
            return LineStore.put(key, value)
        case Update(key, old, new):
            return LineStore.update(key, old, new)
        case Delete(key):
            return LineStore.delete(key)
        case Get(key):
            return LineStore.get(key)


def _require_order(key: bytes, values: Values) -> None:
    """Require that each connection's values are there once, in the order in which it sent them."""
    last: dict[bytes, int] = {}
    for value in values:
        name, _, rest = value.partition(b".")
        digits = rest[: len(rest) - len(rest.lstrip(b"0123456789"))]
        number = int(digits) if digits else 0
        if number <= last.get(name, -1):
            shown = f"{key!r}: {value!r} behind number {last[name]}"
            raise InvariantViolated("a connection's lines count once and in order", shown)
        last[name] = number
