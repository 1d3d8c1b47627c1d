"""Weights as the kernel takes them: int8 with a scale an output channel, in tiles of 16 outputs and 4 inputs.

Norm gains are not folded in: they spread a row's values, and quantising them then costs a quarter of all tokens.
"""

from __future__ import annotations

import numpy as np

TILE, FOURS = 16, 4


def quantise(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) float → (N/16, K/4, 16, 4) uint8 of w + 128 with w in ±127, and (N,) float32 scales.

    N is filled up to a multiple of 16 with zeros. K must be a multiple of 32 (a block of activations).
    """
    outputs, inputs = weight.shape
    padded = np.zeros((-(-outputs // TILE) * TILE, inputs), np.float32)
    padded[:outputs] = weight
    scales = np.abs(padded).max(1) / 127
    rounded = np.rint(padded / np.where(scales > 0, scales, 1)[:, None]).astype(np.int16)
    tiles = rounded.reshape(-1, TILE, inputs // FOURS, FOURS).swapaxes(1, 2)
    return np.ascontiguousarray((tiles + 128).astype(np.uint8)), scales.astype(np.float32)


def dequantise(tiles: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The inverse: (N, K) float32."""
    values = tiles.astype(np.float32).swapaxes(1, 2).reshape(len(scales), -1) - 128
    return np.asarray(values * scales[:, None])
