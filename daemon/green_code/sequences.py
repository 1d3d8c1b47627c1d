"""The common prefix of two sequences."""

from __future__ import annotations

from collections.abc import Sequence


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
