"""The memory of one cache for the kernel."""

from __future__ import annotations

import numpy as np

from green_code.kernels.binding import VALUE_BLOCK

_LINE_BYTES = 64  # of a processor's cache


class KernelBuffers:
    """States (S, C) float32, in rows that are `padded` to whole groups; keys and values (L, K, S, bytes of a position), in blocks of
    VALUE_BLOCK positions that are interleaved (attention.h).

    Addresses and a view of each state are made once: where caches are cold, making one takes tens of microseconds.

    Args:
        layout: C, C in whole groups, L, K, and the bytes of a key and of a value.
    """

    def __init__(self, layout: tuple[int, int, int, int, int, int], capacity: int) -> None:
        self.layout = layout
        self._allocate(capacity)

    @property
    def nbytes(self) -> int:
        return self.padded.nbytes + self.keys.nbytes + self.values.nbytes

    def grow(self, capacity: int) -> None:
        """See `models.backend.Buffers`."""
        old = self.states, self.keys, self.values
        self._allocate(capacity)
        for new, was in zip((self.states, self.keys, self.values), old, strict=True):
            new[..., : was.shape[-2], :] = was

    def _allocate(self, capacity: int) -> None:
        width, padded, layers, kv_heads, key_bytes, value_bytes = self.layout
        self.capacity = -(-capacity // VALUE_BLOCK) * VALUE_BLOCK
        self.padded = zeros((self.capacity, padded), np.float32)
        self.states = self.padded[:, :width]
        self.keys = zeros((layers, kv_heads, self.capacity, key_bytes), np.uint8)
        self.values = zeros((layers, kv_heads, self.capacity, value_bytes), np.uint8)
        self.rows = list(self.states)
        self.addresses = self.states.ctypes.data, self.keys.ctypes.data, self.values.ctypes.data


def zeros(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """As NumPy's, aligned to a cache line, and written, so that their memory is taken at once and not as positions fill."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.full(size + _LINE_BYTES, 0, np.uint8)
    start = -room.ctypes.data % _LINE_BYTES
    return room[start : start + size].view(dtype).reshape(shape)
