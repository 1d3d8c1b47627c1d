"""Weights in the kernel's records: what a layout keeps, and by how much rounding changes a weight."""

from __future__ import annotations

import numpy as np
import pytest

from green_code.kernels.quantise import GROUP, NIBBLE_GROUP, NIBBLE_MAX, RECORD_BYTES, dequantise, quantise


@pytest.fixture
def weight() -> np.ndarray:
    weight = np.random.default_rng(2).standard_normal((67, 128)).astype(np.float32)
    weight[3, :GROUP] = 0
    weight[5, GROUP:] *= 1e-6
    return weight


def test_weights_of_8_bits_are_within_half_a_step(weight: np.ndarray) -> None:
    packed = quantise(weight, 8)
    assert packed.shape == (4, RECORD_BYTES[8]) and packed.dtype == np.uint8
    back = dequantise(packed, 128, 8)
    assert back.shape == (128, 128)
    most = np.abs(weight).reshape(67, 2, GROUP).max(2).repeat(GROUP, 1)
    # Half a step; a step is a group's largest over 127, and up to a 128th more by the scale's rounding up.
    assert (np.abs(back[:67] - weight) <= most / 254 * (1 + 2**-7) + 1e-7).all()
    assert not back[67:].any()


def test_weights_of_4_bits_err_less_than_even_steps_over_their_range(weight: np.ndarray) -> None:
    packed = quantise(weight, 4)
    assert packed.shape == (4, RECORD_BYTES[4]) and packed.dtype == np.uint8
    back = dequantise(packed, 128, 4)
    assert back.shape == (128, 128) and not back[67:].any()
    groups, found = (w.reshape(-1, NIBBLE_GROUP) for w in (weight, back[:67]))
    low = np.minimum(groups.min(1, keepdims=True), 0)
    step = (np.maximum(groups.max(1, keepdims=True), 0) - low) / NIBBLE_MAX
    even = np.rint((groups - low) / np.where(step > 0, step, 1)) * step + low
    errors, even_errors = (np.square(w - groups).sum(1) for w in (found, even))
    assert (errors <= 1.05 * even_errors + 1e-12).all(), "up to the rounding of a group's scale and minimum"
    assert errors.sum() < 0.97 * even_errors.sum()
    assert not back[3, :GROUP].any()


def test_a_matrix_that_nibbles_hold_exactly_comes_back_bit_for_bit() -> None:
    nibbles = np.random.default_rng(3).integers(0, 16, (64, 192)).astype(np.float32)
    nibbles[:, ::NIBBLE_GROUP], nibbles[:, 1::NIBBLE_GROUP] = 0, NIBBLE_MAX
    weight = nibbles * 0.25 - 1.5
    assert np.array_equal(dequantise(quantise(weight, 4), 192, 4), weight)
