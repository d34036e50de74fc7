"""Where the others may be: addresses and names that are asked for the members.

A name may have no address yet, or another one tomorrow. So names are looked up until they have an
address, and again for as long as this node is alone.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence

import trio

from trio440.actors.cluster.config import Config
from trio440.core.host import Address, Host, format_address, parse_address
from trio440.errors import InvalidParameter, ResolutionFailed

__all__ = ["Seeds", "numeric_address"]


def numeric_address(text: str) -> Address | None:
    """Read ``HOST:PORT`` with a literal of either family; None when it is anything else."""
    try:
        host, port = parse_address(text)
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (str(literal), port, 0, 0) if ":" in host else (str(literal), port)


class Seeds:
    """The seeds of one member, and the look-up of those that are names."""

    def __init__(
        self,
        own: Address,
        config: Config,
        ports: Host,
        *,
        is_alone: Callable[[], bool],
        join: Callable[[Sequence[str]], None],
    ) -> None:
        """Begin without seeds.

        Args:
            own: the member's address; seeds of the other family cannot be reached from it.
            config: for the bound on seeds, and how long to wait between two look-ups.
            ports: for the resolver and the clock.
            is_alone: whether the member knows no other.
            join: takes numeric addresses, new ones.
        """
        self._own = own
        self._config = config
        self._ports = ports
        self._is_alone = is_alone
        self._join = join
        self._addresses: set[str] = set()
        self._names: dict[str, tuple[str, int]] = {}
        self._unresolved: set[str] = set()
        self._added = trio.Event()

    @property
    def unresolved(self) -> int:
        """How many names have had no address so far."""
        return len(self._unresolved)

    def add(self, seeds: Iterable[str]) -> None:
        """Take seeds; addresses are joined at once, names when :meth:`resolve_forever` knows them.

        Raises:
            InvalidParameter: one is not ``HOST:PORT``, or there are more than ``max_seeds``; then
                none is taken.
        """
        addresses, names = [], {}
        for seed in seeds:
            name = parse_address(seed)
            address = numeric_address(seed)
            if address is not None and len(address) == len(self._own):
                addresses.append(format_address(address))
            else:
                names[seed] = name
        count = len(self._addresses.union(addresses)) + len({**self._names, **names})
        if count > self._config.max_seeds:
            raise InvalidParameter("seeds", count, f"at most {self._config.max_seeds} seeds")
        self._unresolved.update(name for name in names if name not in self._names)
        self._names.update(names)
        self._take(addresses)
        if names:
            self._added.set()

    def _take(self, addresses: Iterable[str]) -> None:
        room = self._config.max_seeds - len(self._addresses)
        new = [one for one in dict.fromkeys(addresses) if one not in self._addresses][:room]
        self._addresses.update(new)
        self._join(new)

    async def resolve_forever(self) -> None:
        """Look names up, at once and later again."""
        await self._added.wait()
        wait = first = self._config.join_interval_us
        while True:
            if self._added.is_set():
                self._added = trio.Event()
                wait = first
            wanted = list(self._names) if self._is_alone() else sorted(self._unresolved)
            async with trio.open_nursery() as nursery:
                for name in wanted:
                    nursery.start_soon(self._resolve, name)
            with self._ports.clock.move_on_after(wait / 1e6):
                await self._added.wait()
            wait = min(2 * wait, self._config.reconnect_interval_us)

    async def _resolve(self, name: str) -> None:
        host, port = self._names[name]
        try:
            found = await self._ports.net.resolve(host, port, kind="udp")
        except ResolutionFailed:
            return
        fitting = [format_address(one) for one in found if len(one) == len(self._own)]
        if fitting:
            self._unresolved.discard(name)
            self._take(fitting)
