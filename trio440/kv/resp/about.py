"""The commands that speak of the connection and of the server, not of keys. Pure."""

from collections.abc import Sequence
from typing import Final

from trio440.kv.operations import Count, Counted, Result
from trio440.kv.resp.calls import (
    WRONG_NUMBER,
    Call,
    Client,
    CommandError,
    check_pattern,
    constant,
    shown,
)
from trio440.kv.resp.globs import matcher
from trio440.kv.resp.parser import Request, parse_integer
from trio440.kv.resp.replies import OK, RESP2, RESP3, bulk, integer

__all__ = [
    "REDIS_VERSION",
    "auth",
    "client_command",
    "config",
    "echo",
    "hello",
    "info",
    "ping",
    "select",
    "subcommand_problem",
]

REDIS_VERSION: Final = "7.0.15"
"""Of which the commands that are here follow the words; clients choose what they send by it."""

MOST_PATTERNS: Final = 64
"""Words of a CONFIG GET."""
INT32_END: Final = 1 << 31
NAME_BYTES: Final = 256
"""The longest name that a client may have."""
BAD_NAME: Final = "ERR Client names cannot contain spaces, newlines or special characters."
WRONG_PAIR: Final = "WRONGPASS invalid username-password pair or user is disabled."
NOT_ASKED_FOR: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)


def subcommand_problem(request: Request) -> CommandError:
    """Return the error of a subcommand that is not there."""
    name = request[0].decode().upper()
    return CommandError(f"ERR unknown subcommand '{shown(request[1])}'. Try {name} HELP.")


def ping(request: Request, _: Client) -> Call:
    """PING [message]."""
    if len(request) > 2:  # noqa: PLR2004 - the shape
        raise CommandError("ERR wrong number of arguments for 'ping' command")
    return constant(bulk(request[1]) if len(request) > 1 else b"+PONG\r\n")


def echo(request: Request, _: Client) -> Call:
    """ECHO message."""
    return constant(bulk(request[1]))


def select(request: Request, _: Client) -> Call:
    """SELECT 0: a namespace is one database."""
    index = parse_integer(request[1])
    if index is None:
        raise CommandError(WRONG_NUMBER)
    if not -INT32_END <= index < INT32_END:
        raise CommandError(
            "ERR value is out of range, value must between -2147483648 and 2147483647"
        )
    if index != 0:
        raise CommandError("ERR DB index is out of range")
    return constant(OK)


def auth(request: Request, _: Client) -> Call:
    """AUTH: there are no passwords, and as in Redis the user ``default`` may give any."""
    match request[1:]:
        case [_]:
            raise CommandError(NOT_ASKED_FOR)
        case [b"default", _]:
            return constant(OK)
        case [_, _]:
            raise CommandError(WRONG_PAIR)
    raise CommandError("ERR syntax error")


def hello(request: Request, client: Client) -> Call:
    """HELLO [2 | 3 [AUTH user password] [SETNAME name]]."""
    encoding, name = client.encoding, client.name
    if len(request) > 1:
        version = parse_integer(request[1])
        if version is None:
            raise CommandError("ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
        encoding = RESP2 if version == RESP2.version else RESP3
    words = list(request[2:])
    while words:
        match words:
            case [option, user, _, *rest] if option.upper() == b"AUTH":
                if user != b"default":
                    raise CommandError(WRONG_PAIR)
            case [option, name, *rest] if option.upper() == b"SETNAME":
                _check_name(name)
            case _:
                given = shown(words[0], len(words[0]))
                raise CommandError(f"ERR Syntax error in HELLO option '{given}'")
        words = rest
    client.encoding, client.name = encoding, name
    pairs = [
        (b"server", bulk(b"redis")),
        (b"version", bulk(REDIS_VERSION.encode())),
        (b"proto", integer(encoding.version)),
        (b"id", integer(client.number)),
        (b"mode", bulk(b"standalone")),
        (b"role", bulk(b"master")),
        (b"modules", b"*0\r\n"),
    ]
    return constant(encoding.mapping([(bulk(key), value) for key, value in pairs]))


def _check_name(name: bytes) -> None:
    if len(name) > NAME_BYTES:
        raise CommandError(f"ERR a client name is too long, the limit is {NAME_BYTES} bytes")
    if not all(ord("!") <= byte <= ord("~") for byte in name):
        raise CommandError(BAD_NAME)


def client_command(request: Request, client: Client) -> Call:
    """CLIENT ID | SETNAME name | GETNAME | SETINFO attribute value | NO-EVICT on | off."""
    match request[1].upper():
        case b"ID":
            return constant(integer(client.number))
        case b"GETNAME":
            return constant(client.encoding.optional(client.name or None))
        case b"SETNAME":
            _check_name(request[2])
            client.name = request[2]
            return constant(OK)
        case b"SETINFO":
            if request[2].lower() not in (b"lib-name", b"lib-ver"):
                raise CommandError(f"ERR Unrecognized option '{shown(request[2])}'")
            _check_name(request[3])
            return constant(OK)
    raise subcommand_problem(request)


def config(request: Request, client: Client) -> Call:
    """CONFIG GET pattern...: what a client may want to know of a server."""
    limits = client.server.limits
    if len(request) > MOST_PATTERNS:
        raise CommandError("ERR too many parameters for CONFIG GET")
    values = {
        b"appendonly": b"no",
        b"databases": b"1",
        b"maxclients": b"%d" % limits.clients,
        b"maxmemory": b"0",
        b"maxmemory-clients": b"%d" % limits.memory_bytes,
        b"notify-keyspace-events": b"AK",
        b"port": b"%d" % client.server.port,
        b"proto-max-bulk-len": b"%d" % limits.request_bytes,
        b"requirepass": b"",
        b"save": b"",
        b"timeout": b"%d" % (limits.idle_seconds or 0),
    }
    found: dict[bytes, bytes] = {}
    for pattern in request[2:]:
        check_pattern(pattern, limits)
        if pattern.lower() in values:  # Redis says a plain name as it was said
            found[pattern] = values[pattern.lower()]
            continue
        matches = matcher(pattern.lower())
        found |= {name: value for name, value in values.items() if matches(name)}
    pairs = [(bulk(name), bulk(value)) for name, value in found.items()]
    return constant(client.encoding.mapping(pairs))


SECTIONS: Final = ("server", "clients", "memory", "stats", "replication", "keyspace")


def info(request: Request, client: Client) -> Call:
    """INFO [section...], all without one."""
    words = {word.lower().decode(errors="replace") for word in request[1:]}
    everything = not words or words & {"all", "default", "everything"}
    chosen = [section for section in SECTIONS if everything or section in words]

    def answer(results: Sequence[Result]) -> bytes:
        keys = results[0].number if results and isinstance(results[0], Counted) else 0
        texts = [
            "".join(f"{line}\r\n" for line in (f"# {name.capitalize()}", *_section(name, keys)))
            for name in chosen
        ]
        return bulk("\r\n".join(texts).encode())

    def _section(name: str, keys: int) -> list[str]:
        server = client.server
        counters = server.counters
        facts: dict[str, dict[str, object]] = {
            "server": {
                "redis_version": REDIS_VERSION,
                "redis_mode": "standalone",
                "tcp_port": server.port,
                "uptime_in_seconds": server.uptime_seconds(),
                "trio440_engine": server.engine,
            },
            "clients": {
                "connected_clients": counters.clients,
                "maxclients": server.limits.clients,
            },
            "memory": {
                "mem_clients_normal": counters.memory_bytes,
                "maxmemory_clients": server.limits.memory_bytes,
            },
            "stats": {
                "total_connections_received": counters.clients_served + counters.clients_refused,
                "total_commands_processed": counters.commands,
                "rejected_connections": counters.clients_refused,
                "evicted_clients": counters.clients_closed_memory,
                "client_output_buffer_limit_disconnections": counters.clients_closed_slow,
                "trio440_batches": counters.batches,
                "trio440_operations": counters.operations,
            },
            "replication": {"role": "master", "connected_slaves": 0},
            "keyspace": {"db0": f"keys={keys}"} if keys else {},
        }
        return [f"{key}:{value}" for key, value in facts[name].items()]

    return Call(answer, (Count(),) if "keyspace" in chosen else ())
