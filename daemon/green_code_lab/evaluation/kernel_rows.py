"""The kernel's decoder over one position of each of several caches, which share a reading of the weights."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from green_code.kernels.binding import CHUNK
from green_code.kernels.decoder import KernelDecoder
from green_code.models.backend import Buffers, TopToken


class RowsDecoder(KernelDecoder):
    """
    Args:
        decoder: whose weights and threads it shares; only one of both computes at a time.
    """

    def __init__(self, decoder: KernelDecoder) -> None:
        vars(self).update(vars(decoder))

    def run_rows(self, first: int, last: int, rows: Sequence[tuple[Buffers, int]]) -> None:
        """Layers `first` … `last` over one position of each of several caches, in place; the weights are read once for all of them.

        Each row's result is that of `run_layers`, to the bit.

        Args:
            rows: buffers and position, at most CHUNK; rows of one cache in ascending order.
        Raises:
            ValueError: see `run_layers`.
        """
        if not 1 <= first <= last <= self.config.layers or len(rows) > CHUNK:
            raise ValueError(f"layers {first} … {last} of {self.config.layers}, over {len(rows)} rows")
        own = [(self._own(buffers), position) for buffers, position in rows]
        for buffers, position in own:
            self._address(buffers, position, position + 1)
        self._allocate(max((position + 1 for _, position in own), default=0))
        states = np.stack([buffers.padded[position] for buffers, position in own])
        count = len(own)
        starts = (ctypes.c_int * count)(*(position for _, position in own))
        capacities = (ctypes.c_int * count)(*(buffers.capacity for buffers, _ in own))
        keys, values = ((ctypes.c_void_p * count)(*(buffers.addresses[part] for buffers, _ in own)) for part in (1, 2))
        pool = self._threads.open(count)
        self.kernel.run_rows(
            self._model, first - 1, last, states.ctypes.data, starts, capacities, keys, values, count, self._scratch.structure, pool
        )  # fmt: skip
        if pool is not None:
            self._threads.back_off()
        for (buffers, position), state in zip(own, states, strict=True):
            buffers.padded[position] = state

    def top_tokens_of(self, rows: Sequence[tuple[Buffers, int]], depth: int) -> list[TopToken]:
        """`top_tokens` of one position of each of several caches."""
        gathered = np.stack([self._own(buffers).padded[position] for buffers, position in rows])
        return self._tops_at(gathered.ctypes.data, len(rows), depth)
