"""A cache with a bound on what it holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Values by key; the one that was not asked for the longest goes first.

    Args:
        most: what the sizes of all values may add up to; one alone may be larger.
        size: of a value.

    >>> cache = BoundedCache[str](most=5, size=len)
    >>> [cache.get(word, lambda word=word: word) for word in ("abc", "de", "f", "abc")]
    ['abc', 'de', 'f', 'abc']
    >>> list(cache.values)
    ['f', 'abc']
    """

    def __init__(self, most: float, size: Callable[[Value], float] = lambda value: 1) -> None:
        self.most, self.size = most, size
        self.values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there."""
        if key not in self.values:
            self.values[key] = make()
        self.values.move_to_end(key)
        while len(self.values) > 1 and sum(map(self.size, self.values.values())) > self.most:
            self.values.popitem(last=False)
        return self.values[key]

    def forget(self, which: Callable[[Hashable], bool]) -> None:
        """Drop the values of some keys."""
        for key in filter(which, list(self.values)):
            del self.values[key]
