"""What the clients of a server hold of its memory, together bounded. Pure."""

from collections.abc import Callable

from trio440.kv.resp.limits import Counters

__all__ = ["Account", "Memory"]


class Account:
    """What one client holds; :meth:`Memory.open_account` makes one."""

    def __init__(self, memory: "Memory", evict: Callable[[], None]) -> None:
        self.held_bytes = 0
        self.evict = evict
        self._memory = memory
        self.kept = 0
        """Between requests."""
        self._waiting = self._results = 0

    def keep(self, size: int) -> None:
        """Say how much is kept for the client between its requests."""
        if size != self.kept:
            self.kept = size
            self._memory.change(self, size + self._waiting + self._results)

    def wait_with(self, size: int) -> None:
        """Say how much waits to be sent."""
        if size != self._waiting:
            self._waiting = size
            self._memory.change(self, self.kept + size + self._results)

    def hold_results(self, size: int) -> None:
        """Say how much there is of results that are not yet answers."""
        if size != self._results:
            self._results = size
            self._memory.change(self, self.kept + self._waiting + size)

    def close(self) -> None:
        """Say that the client is gone; idempotent."""
        self._memory.forget(self)


class Memory:
    """The accounts of all clients. Past the limit the client with the most is closed."""

    def __init__(self, limit: int, counters: Counters) -> None:
        self._limit = limit
        self._counters = counters
        self._accounts: dict[Account, None] = {}

    def open_account(self, evict: Callable[[], None]) -> Account:
        """Return an account; ``evict`` is called, once at most, to have its client closed."""
        account = Account(self, evict)
        self._accounts[account] = None
        return account

    def change(self, account: Account, size: int) -> None:
        """Note what an account holds, and see to the limit."""
        if account not in self._accounts:
            return
        self._counters.memory_bytes += size - account.held_bytes
        account.held_bytes = size
        while self._counters.memory_bytes > self._limit:
            largest = max(self._accounts, key=lambda each: each.held_bytes)
            self._counters.clients_closed_memory += 1
            self.forget(largest)
            largest.evict()

    def forget(self, account: Account) -> None:
        """Close an account."""
        if account in self._accounts:
            del self._accounts[account]
            self._counters.memory_bytes -= account.held_bytes
