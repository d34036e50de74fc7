"""The commands that there are, and COMMAND, which tells of them. Pure."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from trio440.kv.resp import about, keys, strings
from trio440.kv.resp.calls import Call, Client, CommandError, constant, shown
from trio440.kv.resp.parser import Request
from trio440.kv.resp.replies import Encoding, array, bulk, integer, simple

__all__ = ["COMMANDS", "Command", "Step", "find_command", "make_call"]

Step: TypeAlias = Literal[
    "multi",
    "exec",
    "discard",
    "watch",
    "unwatch",
    "keys",
    "flush",
    "reset",
    "quit",
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
]
"""What a session does itself."""

Maker: TypeAlias = Callable[[Request, Client], Call]

UNKNOWN_SHOWN: Final = 128
"""How much of an unknown command and of its arguments an error repeats, as in Redis."""


@attrs.frozen
class Command:
    """One command."""

    name: str
    arity: int
    """The number of its words, the name included; negative: at least so many."""
    group: str
    summary: str
    make: Maker | None = None
    step: Step | None = None
    """What a session does with it outside of a transaction, where it is no plain call."""
    flags: tuple[str, ...] = ()
    keys: tuple[int, int, int] = (0, 0, 0)
    """The first and the last word that is a key, -1: the last of all, and the step."""

    subcommands: Mapping[bytes, int] = {}
    """Their arities, where the second word is one."""

    def check(self, request: Request) -> None:
        """Refuse another number of words, or a subcommand that is not there.

        Raises:
            CommandError: it has, or is not.
        """
        _check_arity(self.name, self.arity, request)
        if self.subcommands and len(request) > 1:
            arity = self.subcommands.get(request[1].upper())
            if arity is None:
                raise about.subcommand_problem(request)
            _check_arity(self.full_name(request), arity, request)

    def full_name(self, request: Request) -> str:
        """Return its name with that of the subcommand."""
        if self.subcommands and len(request) > 1:
            return f"{self.name}|{request[1].decode().lower()}"
        return self.name


def _check_arity(name: str, arity: int, request: Request) -> None:
    if len(request) != arity and (arity > 0 or len(request) < -arity):
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")


def _command(request: Request, client: Client) -> Call:
    """COMMAND [COUNT | LIST | INFO [name...] | DOCS [name...]]."""
    encoding = client.encoding
    what = request[1].upper() if len(request) > 1 else b"INFO"
    wanted = [_known(name) for name in request[2:]] or list(COMMANDS.values())
    match what:
        case b"COUNT":
            return constant(integer(len(COMMANDS)))
        case b"LIST":
            return constant(array([bulk(name) for name in COMMANDS]))
        case b"INFO":
            infos = [_info(each, encoding) if each else encoding.null for each in wanted]
            return constant(array(infos))
        case b"DOCS":
            docs = [(bulk(each.name.encode()), _docs(each, encoding)) for each in wanted if each]
            return constant(encoding.mapping(docs))
    raise about.subcommand_problem(request)


def _known(name: bytes) -> Command | None:
    return COMMANDS.get(name.lower())


def _info(command: Command, encoding: Encoding) -> bytes:
    category = "@write" if "write" in command.flags else "@read"
    categories = ["@connection"] if command.keys == (0, 0, 0) else [category, "@string"]
    return array(
        [
            bulk(command.name.encode()),
            integer(command.arity),
            encoding.unordered([simple(flag) for flag in command.flags]),
            *map(integer, command.keys),
            encoding.unordered([simple(each) for each in categories]),
            encoding.unordered([]),
            encoding.unordered([]),
            encoding.unordered([]),
        ]
    )


def _docs(command: Command, encoding: Encoding) -> bytes:
    facts = {b"summary": command.summary, b"group": command.group}
    return encoding.mapping([(bulk(key), bulk(text.encode())) for key, text in facts.items()])


READ: Final = ("readonly", "fast")
WRITE: Final = ("write", "denyoom", "fast")
ONE: Final = (1, 1, 1)
ALL: Final = (1, -1, 1)

_STRINGS: Final = (
    Command("get", 2, "string", "The value of a key", strings.get, None, READ, ONE),
    Command("mget", -2, "string", "The values of keys", strings.mget, None, READ, ALL),
    Command("strlen", 2, "string", "The length of a value", strings.strlen, None, READ, ONE),
    Command("set", -3, "string", "Give a key a value", strings.set_, None, WRITE, ONE),
    Command("setnx", 3, "string", "Give one to an absent key", strings.setnx, None, WRITE, ONE),
    Command("setex", 4, "string", "Give one for seconds", strings.setex, None, WRITE, ONE),
    Command("psetex", 4, "string", "Give one for milliseconds", strings.setex, None, WRITE, ONE),
    Command("getset", 3, "string", "Give one, return the last", strings.getset, None, WRITE, ONE),
    Command("getdel", 2, "string", "Remove, return the value", strings.getdel, None, WRITE, ONE),
    Command("mset", -3, "string", "Give keys values", strings.mset, None, WRITE, (1, -1, 2)),
    Command("append", 3, "string", "Add to a value's end", strings.append, None, WRITE, ONE),
    Command("incr", 2, "string", "Add one to a number", strings.increment, None, WRITE, ONE),
    Command("decr", 2, "string", "Take one off a number", strings.increment, None, WRITE, ONE),
    Command("incrby", 3, "string", "Add to a number", strings.increment, None, WRITE, ONE),
    Command("decrby", 3, "string", "Take off a number", strings.increment, None, WRITE, ONE),
)
_KEYS: Final = (
    Command("del", -2, "generic", "Remove keys", keys.delete, None, WRITE, ALL),
    Command("unlink", -2, "generic", "Remove keys", keys.delete, None, WRITE, ALL),
    Command("exists", -2, "generic", "How many are there", keys.exists, None, READ, ALL),
    Command("touch", -2, "generic", "How many are there", keys.exists, None, READ, ALL),
    Command("type", 2, "generic", "What a key holds", keys.type_of, None, READ, ONE),
    Command("ttl", 2, "generic", "Time to live, in seconds", keys.ttl, None, READ, ONE),
    Command("pttl", 2, "generic", "The same in milliseconds", keys.pttl, None, READ, ONE),
    Command("expire", -3, "generic", "Give a key seconds", keys.expire, None, WRITE, ONE),
    Command("pexpire", -3, "generic", "Give it milliseconds", keys.expire, None, WRITE, ONE),
    Command("expireat", -3, "generic", "Until a second", keys.expire, None, WRITE, ONE),
    Command("pexpireat", -3, "generic", "Until a millisecond", keys.expire, None, WRITE, ONE),
    Command("persist", 2, "generic", "Give it all time", keys.persist, None, WRITE, ONE),
    Command("keys", 2, "generic", "Keys that match", keys.keys, "keys", ("readonly",)),
    Command("scan", -2, "generic", "Some keys at a time", keys.scan, None, ("readonly",)),
    Command("dbsize", 1, "server", "How many keys", keys.dbsize, None, READ),
    Command("flushdb", -1, "server", "Remove all keys", None, "flush", ("write",)),
    Command("flushall", -1, "server", "Remove all keys", None, "flush", ("write",)),
)
_CONNECTION: Final = (
    Command("ping", -1, "connection", "Answer", about.ping, None, ("fast",)),
    Command("echo", 2, "connection", "Answer the same", about.echo, None, ("fast",)),
    Command("hello", -1, "connection", "Choose the protocol", about.hello, None, ("fast",)),
    Command("auth", -2, "connection", "There are no passwords", about.auth, None, ("fast",)),
    Command("select", 2, "connection", "Choose database 0", about.select, None, ("fast",)),
    Command(
        *("client", -2, "connection", "Of this connection", about.client_command),
        subcommands={b"ID": 2, b"GETNAME": 2, b"SETNAME": 3, b"SETINFO": 4},
    ),
    Command("quit", -1, "connection", "Close", None, "quit", ("fast",)),
    Command("reset", 1, "connection", "Begin anew", None, "reset", ("fast",)),
    Command("info", -1, "server", "Of this server", about.info),
    Command("config", -2, "server", "Its limits", about.config, subcommands={b"GET": -3}),
    Command(
        *("command", -1, "server", "Of the commands", _command),
        subcommands={b"COUNT": 2, b"LIST": 2, b"INFO": -2, b"DOCS": -2},
    ),
)
_SESSION: Final = (
    Command("multi", 1, "transactions", "Begin to queue", None, "multi", ("fast",)),
    Command("exec", 1, "transactions", "Do what is queued", None, "exec"),
    Command("discard", 1, "transactions", "Forget what is queued", None, "discard", ("fast",)),
    Command("watch", -2, "transactions", "Only if unchanged", None, "watch", ("fast",), ALL),
    Command("unwatch", 1, "transactions", "Watch none", None, "unwatch", ("fast",)),
    Command("subscribe", -2, "pubsub", "Hear of changes", None, "subscribe", ("pubsub",)),
    Command("unsubscribe", -1, "pubsub", "Hear no more", None, "unsubscribe", ("pubsub",)),
    Command("psubscribe", -2, "pubsub", "Hear of many", None, "psubscribe", ("pubsub",)),
    Command("punsubscribe", -1, "pubsub", "Hear no more", None, "punsubscribe", ("pubsub",)),
)

COMMANDS: Final[dict[bytes, Command]] = {
    command.name.encode(): command for command in (*_STRINGS, *_KEYS, *_CONNECTION, *_SESSION)
}
_BY_SPELLING: Final = COMMANDS | {name.upper(): command for name, command in COMMANDS.items()}


def find_command(request: Request) -> Command:
    """Return the command that a request names, in capitals or not, with a fitting arity.

    Raises:
        CommandError: there is none, or it has another number of words.
    """
    name = request[0]
    command = _BY_SPELLING.get(name) or _BY_SPELLING.get(name.lower())
    if command is None:
        raise _unknown(request)
    command.check(request)
    return command


def _unknown(request: Request) -> CommandError:
    name, arguments = shown(request[0], UNKNOWN_SHOWN), ""
    for argument in request[1:]:
        if len(arguments) >= UNKNOWN_SHOWN:
            break
        arguments += f"'{shown(argument, UNKNOWN_SHOWN - len(arguments))}' "
    return CommandError(f"ERR unknown command '{name}', with args beginning with: {arguments}")


def make_call(command: Command, request: Request, client: Client) -> Call:
    """Return what a command comes to.

    Raises:
        CommandError: its arguments are wrong.
    """
    if command.make is None:
        raise AssertionError(f"{command.name} is no plain call")
    return command.make(request, client)
