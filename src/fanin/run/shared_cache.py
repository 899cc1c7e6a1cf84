"""What the workers of a grid work out of its recipes and tell each other: laws and redraws are those of all seeds."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable

from fanin.run.bounded_cache import BoundedCache, Value

CACHES: dict[str, SharedCache] = {}  # type: ignore[type-arg]  # by the name under which their values are told


class SharedCache(BoundedCache[Value]):
    """A bounded cache whose values other processes may be told.

    Args:
        name: of the cache, in every process.
        most: values that it holds.

    >>> squares, before = SharedCache("squares", most=8), news()
    >>> squares.get(3, lambda: 9)
    9
    >>> told = news()
    >>> squares.values.clear()  # as in another process
    >>> learn(told)
    >>> squares.get(3, lambda: 0), news()
    (9, b'')
    """

    def __init__(self, name: str, most: float) -> None:
        super().__init__(most)
        self.made: list[Hashable] = []
        CACHES[name] = self

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there."""
        if key not in self.values:
            self.made = [*self.made[1 - int(self.most) :], key]
        return super().get(key, make)


def news() -> bytes:
    """What this process has worked out since it was last asked; empty where that is nothing."""
    told = {}
    for name, cache in CACHES.items():
        if found := {key: cache.values[key] for key in cache.made if key in cache.values}:
            told[name] = found
        cache.made = []
    return pickle.dumps(told) if told else b""


def learn(told: bytes) -> None:
    """Take over what another process of this grid has worked out."""
    for name, values in pickle.loads(told).items():  # of a worker of the same grid
        for key, value in values.items():
            CACHES[name].values.setdefault(key, value)
