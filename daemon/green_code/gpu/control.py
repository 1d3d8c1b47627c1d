"""The control block: what a recorded graph must be told at each replay, in device memory.

A graph keeps the addresses and sizes that it was recorded with. So the buffers of a cache, the positions and the answers to what an exit
classifier asks lie in one int64 vector, which the host overwrites before a replay. Triton reads the indices as constants.
"""

from __future__ import annotations

from typing import Final

import triton.language as tl

ROWS_AT_MOST: Final = 16
"""Positions of a graph."""
WORDS: Final = 64
ALIGNED = tl.constexpr(16)
"""Bytes to which torch aligns at least: what Triton must know to read several numbers at once through an address."""

STATES = tl.constexpr(0)  # addresses of a cache's states, keys and values
KEYS = tl.constexpr(1)
VALUES = tl.constexpr(2)
CAPACITY = tl.constexpr(3)  # positions that they have room for
START = tl.constexpr(4)  # the first position of the rows of a span of layers
ROWS = tl.constexpr(5)  # how many rows there are; later ones write nothing
EXIT = tl.constexpr(6)  # index of the exit at which the classifier decides
BOUND = tl.constexpr(7)  # its bound, as the bits of a float32
POSITIONS = tl.constexpr(8)  # of the rows that the head reads
PENDING = tl.constexpr(24)  # evaluations that are left behind each of them
