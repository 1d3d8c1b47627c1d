"""bfloat16 in NumPy, which has no such type: the upper half of a float32, kept as uint16."""

from __future__ import annotations

import numpy as np


def narrow(values: np.ndarray) -> np.ndarray:
    """Finite float32 → bfloat16 bits (uint16), rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    even = bits >> 16
    even &= 1
    even += 0x7FFF
    even += bits
    even >>= 16
    return even.astype(np.uint16)


def widen(halves: np.ndarray) -> np.ndarray:
    """bfloat16 bits (uint16) → float32, exactly."""
    wide = halves.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
