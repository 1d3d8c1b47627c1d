"""The results of a function that were used last, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


class BoundedCache(Generic[Key, Result]):
    """Calls `function` where its result is not held; any thread may ask.

    Args:
        size: bytes that an entry takes. most_bytes: of all entries; a larger one is not held.
    """

    def __init__(self, function: Callable[[Key], Result], size: Callable[[Key, Result], int], most_bytes: int) -> None:
        self._function, self._size, self._most_bytes = function, size, most_bytes
        self._held: OrderedDict[Key, Result] = OrderedDict()
        self._guard = threading.Lock()
        self.held_bytes = 0

    def __call__(self, key: Key) -> Result:
        with self._guard:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        result = self._function(key)
        with self._guard:
            if key not in self._held:
                self._held[key] = result
                self.held_bytes += self._size(key, result)
            while self.held_bytes > self._most_bytes:
                self.held_bytes -= self._size(*self._held.popitem(last=False))
        return result
