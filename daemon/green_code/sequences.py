"""The common prefix of two sequences, and a map that works ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items in work at once; more would hold too much memory."""


def common(one: Sequence[object], other: Sequence[object]) -> int:
    """Length of the longest common prefix. A binary search, so that lists are compared by C code and not by a loop."""
    one, other = list(one), list(other)
    shared, most = 0, min(len(one), len(other))
    while shared < most:
        middle = (shared + most + 1) // 2
        if one[shared:middle] == other[shared:middle]:
            shared = middle
        else:
            most = middle - 1
    return shared


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` in a few threads that work ahead of the reader, for functions that release the interpreter's lock (NumPy, torch)."""
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > _AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
