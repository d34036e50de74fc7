"""What redis-cli prints for random commands, by a dictionary."""

import random
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["RespModel"]

KEYS: Final = 30

Step: TypeAlias = tuple[str, str]
"""A command, and what redis-cli prints for it."""
Draw: TypeAlias = Callable[[], Step]


class RespModel:
    """Draws commands, and says what is answered to each and what is there in the end."""

    def __init__(self, prefix: str, rng: random.Random, *, is_atomic: bool) -> None:
        """Begin with nothing.

        Args:
            prefix: of all keys.
            rng: draws them.
            is_atomic: whether the engine has atomic operations, or refuses them.
        """
        self.values: dict[str, str] = {}
        self._prefix = prefix
        self._rng = rng
        self._is_atomic = is_atomic
        self._numbers = 0
        common = [self._set, self._set, self._get, self._delete, self._mset, self._mget]
        self._common: list[Draw] = [*common, self._exists, self._strlen]
        self._atomic: list[Draw] = [
            self._incrby,
            self._append,
            self._setnx,
            self._getset,
            self._getdel,
        ]

    def step(self) -> Step:
        """Return the next command, and what redis-cli prints for it, without the last line end."""
        kinds = self._common if self._rng.random() < 0.7 else self._atomic
        if kinds is self._atomic and not self._is_atomic:
            before = dict(self.values)
            command, _ = self._rng.choice(kinds)()
            self.values = before
            name = command.partition(" ")[0].upper()
            return command, f"ERR {name} needs a linearizable namespace\n"
        return self._rng.choice(kinds)()

    def _key(self) -> str:
        return f"{self._prefix}{self._rng.randrange(KEYS)}"

    def _number_key(self) -> str:
        return f"{self._prefix}n{self._rng.randrange(KEYS)}"

    def _keys(self) -> list[str]:
        return list(dict.fromkeys(self._key() for _ in range(self._rng.randint(1, 20))))

    def _value(self) -> str:
        self._numbers += 1
        return f"v{self._numbers}"

    # Of all engines

    def _set(self) -> Step:
        key, value = self._key(), self._value()
        self.values[key] = value
        return f"set {key} {value}{self._rng.choice(['', '', ' keepttl', ' ex 1000'])}", "OK"

    def _get(self) -> Step:
        key = self._key()
        return f"get {key}", self.values.get(key, "")

    def _delete(self) -> Step:
        keys = self._keys()
        gone = [key for key in keys if self.values.pop(key, None) is not None]
        return f"del {' '.join(keys)}", str(len(gone))

    def _mset(self) -> Step:
        pairs = {key: self._value() for key in self._keys()}
        self.values |= pairs
        return f"mset {' '.join(f'{key} {value}' for key, value in pairs.items())}", "OK"

    def _mget(self) -> Step:
        keys = self._keys()
        return f"mget {' '.join(keys)}", "\n".join(self.values.get(key, "") for key in keys)

    def _exists(self) -> Step:
        keys = self._keys()
        return f"exists {' '.join(keys)}", str(sum(key in self.values for key in keys))

    def _strlen(self) -> Step:
        key = self._key()
        return f"strlen {key}", str(len(self.values.get(key, "")))

    # Of atomic engines

    def _incrby(self) -> Step:
        key, by = self._number_key(), self._rng.randint(-5, 50)
        number = int(self.values.get(key, "0")) + by
        self.values[key] = str(number)
        return f"incrby {key} {by}", str(number)

    def _append(self) -> Step:
        key, value = self._key(), self._value()
        self.values[key] = self.values.get(key, "") + value
        return f"append {key} {value}", str(len(self.values[key]))

    def _setnx(self) -> Step:
        key, value = self._key(), self._value()
        was_there = key in self.values
        self.values.setdefault(key, value)
        return f"setnx {key} {value}", str(int(not was_there))

    def _getset(self) -> Step:
        key, value = self._key(), self._value()
        before = self.values.get(key, "")
        self.values[key] = value
        return f"getset {key} {value}", before

    def _getdel(self) -> Step:
        key = self._key()
        return f"getdel {key}", self.values.pop(key, "")
