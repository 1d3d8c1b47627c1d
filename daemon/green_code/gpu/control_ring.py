"""The host's side of the control block: writes one for each replay, and waits for the device before it overwrites any.

Must not know: what is launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from green_code.gpu.buffers import GpuBuffers
from green_code.gpu.control import BOUND, CAPACITY, EXIT, KEYS, PENDING, POSITIONS, ROWS, START, STATES, VALUES, WORDS
from green_code.gpu.graphs import Machine

_BLOCKS: Final = 64  # on the host; the device may be so many calls behind


class ControlRing:
    """
    Args:
        control: (2, WORDS) int64 on the device: the block of the layers, and that of the head.
    """

    def __init__(self, machine: Machine, control: Tensor) -> None:
        self._machine, self._control = machine, control
        self._blocks = machine.on_host(_BLOCKS, 2, WORDS, dtype=torch.int64)
        self._words, self._told = self._blocks.numpy(), 0

    def tell(
        self, buffers: GpuBuffers, start: int, count: int, positions: Sequence[int] = (), pending: Sequence[int] = (), index: int = 0,
        bound: float = 0.0,
    ) -> None:  # fmt: skip
        """Send the control block: a span over `count` positions from `start` on, and what is read behind it.

        Args:
            positions: that the head reads. pending: evaluations left behind each of them. index, bound: of the exit that decides.
        """
        words = self._words[self._slot()]
        states, keys, values = buffers.addresses
        for part, rows in zip(words, (count, len(positions)), strict=True):
            part[STATES.value], part[KEYS.value], part[VALUES.value] = states, keys, values
            part[CAPACITY.value], part[START.value], part[ROWS.value] = buffers.capacity, start, rows
        words[1, EXIT.value], words[1, BOUND.value] = index, int(np.float32(bound).view(np.int32))
        words[1, POSITIONS.value : POSITIONS.value + len(positions)] = positions
        words[1, PENDING.value : PENDING.value + len(pending)] = pending
        self._send()

    def tell_nothing(self) -> None:
        """Send a block without rows: what runs with it writes nothing."""
        self._words[self._slot()] = 0
        self._send()

    def wait(self) -> None:
        """Until the device has done everything, so that it has read the whole ring."""
        self._machine.synchronise()
        self._told = 0

    def _slot(self) -> int:
        """The next block; the device has read it."""
        self._told += 1
        if self._told == _BLOCKS:
            self.wait()
        return self._told

    def _send(self) -> None:
        self._machine.launch.copy(self._control, self._blocks[self._told])
