"""Weights as the kernel takes them, in the records of gemm.h: 8 bits with a scale for 64 inputs, or 4 bits with a scale and a minimum
for 32.

The size of groups weighs agreement against time (docs/research-log.md). Norm gains are not folded in: they widen the range of a
row's values, and quantisation then changes a quarter of all tokens.
"""

from __future__ import annotations

import numpy as np

from green_code.models.bfloat16 import narrow, widen

TILE, GROUP, NIBBLE_GROUP, FOURS = 64, 64, 32, 4
ZERO_POINT, QUANTISED_MAX, NIBBLE_MAX = 128, 127, 15
RECORD_BYTES = {8: TILE * GROUP + 2 * TILE, 4: TILE * GROUP // 2 + 4 * TILE * (GROUP // NIBBLE_GROUP)}
"""By the bits of a weight."""
_AT_ONCE = 16  # records whose passes stay within a cache
_SHARES = (1.0, 0.9, 0.8, 0.7)  # of a group's range, of which the one with the least squared error is taken


def matrix_bytes(outputs: int, inputs: int, bits: int) -> int:
    """Bytes of the records of a matrix."""
    return -(-outputs // TILE) * (inputs // GROUP) * RECORD_BYTES[bits]


def quantise(weight: np.ndarray, bits: int) -> np.ndarray:
    """(N, K) float → (records, RECORD_BYTES[bits]) uint8: of 8 bits, w + ZERO_POINT with w in ±QUANTISED_MAX, then the scales in
    bfloat16; of 4 bits, nibbles in pairs, then scales and minima.

    N is padded to a multiple of 64 with zeros. K must be a multiple of 64.
    """
    outputs, inputs = weight.shape
    padded = np.zeros((-(-outputs // TILE) * TILE, inputs), np.float32)
    padded[:outputs] = weight
    groups = padded.reshape(-1, TILE, inputs // GROUP, GROUP).swapaxes(1, 2)  # (N/64, K/64, 64, 64)
    groups = groups.reshape(-1, TILE, GROUP)
    if bits == 8:
        return _quantise8(groups)
    made = np.empty((len(groups), RECORD_BYTES[4]), np.uint8)
    for at in range(0, len(groups), _AT_ONCE):
        made[at : at + _AT_ONCE] = _quantise4(groups[at : at + _AT_ONCE])
    return made


def dequantise(packed: np.ndarray, inputs: int, bits: int) -> np.ndarray:
    """The inverse: (N, K) float32, N a multiple of 64."""
    packed = packed.reshape(-1, RECORD_BYTES[bits])
    groups = _values8(packed) if bits == 8 else _values4(packed)
    return np.asarray(groups.reshape(-1, inputs // GROUP, TILE, GROUP).swapaxes(1, 2).reshape(-1, inputs))


def integers(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(…, GROUP) float32 → integers in ±QUANTISED_MAX (…, GROUP) int16, and scales (…) in bfloat16: w ≈ scale · integer."""
    halves = _round_up(np.abs(groups).max(-1) / QUANTISED_MAX)
    scales = widen(halves)[..., None]
    return np.rint(groups / np.where(scales > 0, scales, 1)).astype(np.int16), halves


def _quantise8(groups: np.ndarray) -> np.ndarray:
    """(R, 64, 64) → (R, RECORD_BYTES[8])."""
    rounded, halves = integers(groups)
    fours = (rounded + ZERO_POINT).reshape(len(groups), TILE, GROUP // FOURS, FOURS).swapaxes(1, 2)
    made = np.empty((len(groups), RECORD_BYTES[8]), np.uint8)
    made[:, : TILE * GROUP] = fours.reshape(len(groups), -1)
    made[:, TILE * GROUP :] = halves.view(np.uint8)
    return made


def _values8(packed: np.ndarray) -> np.ndarray:
    fours = packed[:, : TILE * GROUP].reshape(len(packed), GROUP // FOURS, TILE, FOURS)
    values = fours.swapaxes(1, 2).reshape(len(packed), TILE, GROUP).astype(np.float32) - ZERO_POINT
    halves = np.ascontiguousarray(packed[:, TILE * GROUP :]).view(np.uint16)
    return np.asarray(values * widen(halves)[..., None])


def _quantise4(groups: np.ndarray) -> np.ndarray:
    """(R, 64, 64) → (R, RECORD_BYTES[4])."""
    halves = groups.reshape(len(groups), TILE, -1, NIBBLE_GROUP).transpose(3, 0, 2, 1)  # (32, R, 2, 64)
    found, scales, minima = nibbles(np.ascontiguousarray(halves).reshape(NIBBLE_GROUP, -1))
    fours = found.reshape(NIBBLE_GROUP // FOURS // 2, 2, FOURS, -1, TILE)
    pairs = (fours[:, 0] | fours[:, 1] << 4).transpose(2, 0, 3, 1)  # (R · 2, 4, 64, 4)
    made = np.empty((len(groups), RECORD_BYTES[4]), np.uint8)
    made[:, : TILE * GROUP // 2] = pairs.reshape(len(groups), -1)
    both = scales.astype(np.uint32) << 16 | minima
    made[:, TILE * GROUP // 2 :] = both.reshape(len(groups), -1).view(np.uint8)
    return made


def nibbles(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(32, G) float32 → nibbles (32, G) uint8, and scales and minima (G,) in bfloat16: w ≈ scale · nibble + minimum. Nibbles of some
    ranges are tried; for each, scale and minimum are fitted by least squares, and those with the least squared error are taken."""
    low, high = np.minimum(groups.min(0), 0), np.maximum(groups.max(0), 0)
    total, count = groups.sum(0), np.float32(NIBBLE_GROUP)
    scale, minimum, least = (np.zeros_like(low) for _ in range(3))
    for share in _SHARES:
        tried = _nearest(groups, (high - low) * np.float32(share / NIBBLE_MAX), low * np.float32(share))
        one, two, product = tried.sum(0), np.square(tried).sum(0), (tried * groups).sum(0)
        spread = count * two - one * one  # 0: all nibbles are the same
        slope = np.where(spread > 0, (count * product - one * total) / np.maximum(spread, 1), 0)
        offset = (total - slope * one) / count
        # Less the constant Σ w²: the residual is orthogonal to what was fitted. Squares of float32 need more range.
        error = -slope.astype(np.float64) * product - offset.astype(np.float64) * total
        better = error < least
        scale, minimum, least = (
            np.where(better, new, old) for new, old in ((slope, scale), (offset, minimum), (error, least))
        )
    scales, minima = narrow(scale), narrow(minimum)
    return _nearest(groups, widen(scales), widen(minima)).astype(np.uint8), scales, minima


def _nearest(groups: np.ndarray, scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """The nibbles of weights, in float32."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(scales > np.finfo(np.float32).tiny, 1 / scales, 0).astype(np.float32)
    found = (groups - minima) * inverse
    return np.asarray(np.clip(np.rint(found, out=found), 0, NIBBLE_MAX, out=found))


def _values4(packed: np.ndarray) -> np.ndarray:
    pairs = packed[:, : TILE * GROUP // 2].reshape(len(packed), GROUP // NIBBLE_GROUP, -1, TILE, FOURS)
    values = np.stack([pairs & 15, pairs >> 4], -2)  # (R, 2, 4, 64, 2, 4)
    values = values.transpose(0, 3, 1, 2, 4, 5).reshape(len(packed), TILE, -1, NIBBLE_GROUP)
    both = (
        np.ascontiguousarray(packed[:, TILE * GROUP // 2 :])
        .view(np.uint32)
        .reshape(len(packed), -1, TILE)
        .swapaxes(1, 2)
    )
    scales, minima = (widen(half.astype(np.uint16))[..., None] for half in (both >> 16, both & 0xFFFF))
    return np.asarray((values * scales + minima).reshape(len(packed), TILE, GROUP))


def _round_up(values: np.ndarray) -> np.ndarray:
    """Float32 ≥ 0 → bfloat16 bits, rounded up, so that no weight exceeds ±QUANTISED_MAX."""
    return np.ascontiguousarray(((values.view(np.uint32) + 0xFFFF) >> 16).astype(np.uint16))
