"""Hidden states, keys and values of one cache on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.models.config import ModelConfig


class GpuBuffers:
    """States (S, C) float32, keys and values (L, K, S, D).

    Args:
        make_room: called with the bytes that will be allocated; raises where the device has no room for them.
    """

    def __init__(self, config: ModelConfig, like: Tensor, capacity: int, make_room: Callable[[int], None]) -> None:
        self.config, self.capacity, self._make_room = config, 0, make_room
        self.states = torch.zeros(0, config.width, device=like.device)
        shape = config.layers, config.kv_heads, 0, config.head_width
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.grow(capacity)

    @property
    def nbytes(self) -> int:
        return self.states.nbytes + self.keys.nbytes + self.values.nbytes

    def grow(self, capacity: int) -> None:
        """See `models.backend.Buffers`."""
        if capacity <= self.capacity:
            return
        c, more = self.config, capacity - self.capacity
        position = 4 * c.width + 2 * c.layers * c.kv_heads * c.head_width * self.keys.element_size()
        self._make_room(position * capacity)  # the old ones are freed after the new ones are there
        self.states, self.keys, self.values = (
            F.pad(part, (0, 0, 0, more)) for part in (self.states, self.keys, self.values)
        )
        self.capacity = capacity

    @property
    def addresses(self) -> tuple[int, int, int]:
        return self.states.data_ptr(), self.keys.data_ptr(), self.values.data_ptr()
