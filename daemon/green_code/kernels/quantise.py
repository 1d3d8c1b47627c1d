"""Weights as the kernel takes them: int8 with a scale per group of 64 inputs, in the records of gemm.h.

The size of groups weighs agreement against time (docs/research-log.md). Norm gains are not folded in: they widen the range of a
row's values, and quantisation then changes a quarter of all tokens.
"""

from __future__ import annotations

import numpy as np

from green_code.models.bfloat16 import widen

TILE, GROUP, FOURS = 64, 64, 4
ZERO_POINT, QUANTISED_MAX = 128, 127
RECORD_BYTES = TILE * GROUP + 2 * TILE


def matrix_bytes(outputs: int, inputs: int) -> int:
    """Bytes of the records of a matrix."""
    return -(-outputs // TILE) * (inputs // GROUP) * RECORD_BYTES


def quantise(weight: np.ndarray) -> np.ndarray:
    """(N, K) float → (records, RECORD_BYTES) uint8: w + ZERO_POINT with w in ±QUANTISED_MAX, then the scales in bfloat16.

    N is padded to a multiple of 64 with zeros. K must be a multiple of 64.
    """
    outputs, inputs = weight.shape
    padded = np.zeros((-(-outputs // TILE) * TILE, inputs), np.float32)
    padded[:outputs] = weight
    groups = padded.reshape(-1, TILE, inputs // GROUP, GROUP).swapaxes(1, 2)  # (N/64, K/64, 64, 64)
    halves = _round_up(np.abs(groups).max(-1) / QUANTISED_MAX)
    scales = widen(halves)[..., None]
    rounded = np.rint(groups / np.where(scales > 0, scales, 1)).astype(np.int16) + ZERO_POINT
    fours = rounded.reshape(*groups.shape[:3], GROUP // FOURS, FOURS).swapaxes(2, 3)
    made = np.empty((*groups.shape[:2], RECORD_BYTES), np.uint8)
    made[..., : TILE * GROUP] = fours.reshape(*groups.shape[:2], -1)
    made[..., TILE * GROUP :] = halves.view(np.uint8)
    return made.reshape(-1, RECORD_BYTES)


def dequantise(packed: np.ndarray, inputs: int) -> np.ndarray:
    """The inverse: (N, K) float32, N a multiple of 64."""
    blocks = packed.reshape(-1, inputs // GROUP, RECORD_BYTES)
    fours = blocks[..., : TILE * GROUP].reshape(*blocks.shape[:2], GROUP // FOURS, TILE, FOURS)
    values = fours.swapaxes(2, 3).reshape(*blocks.shape[:2], TILE, GROUP).astype(np.float32) - ZERO_POINT
    halves = np.ascontiguousarray(blocks[..., TILE * GROUP :]).view(np.uint16)
    return np.asarray((values * widen(halves)[..., None]).swapaxes(1, 2).reshape(-1, inputs))


def _round_up(values: np.ndarray) -> np.ndarray:
    """Float32 ≥ 0 → bfloat16 bits, rounded up, so that no weight exceeds ±QUANTISED_MAX."""
    return np.ascontiguousarray(((values.view(np.uint32) + 0xFFFF) >> 16).astype(np.uint16))
