"""The error of quantised weights is within its bound."""

from __future__ import annotations

import numpy as np

from green_code.kernels.quantise import GROUP, RECORD_BYTES, dequantise, quantise


def test_a_weights_error_is_at_most_half_a_step() -> None:
    weight = np.random.default_rng(0).standard_normal((67, 128)).astype(np.float32)
    weight[5] = 0
    packed = quantise(weight)
    back = dequantise(packed, 128)
    assert packed.shape == (2 * 2, RECORD_BYTES) and back.shape == (128, 128)
    most = np.abs(weight).reshape(67, 2, GROUP).max(2).repeat(GROUP, 1)
    # Half a step; a step is a group's largest over 127, and up to a 128th more by the scale's rounding up.
    assert (np.abs(back[:67] - weight) <= most / 254 * (1 + 2**-7) + 1e-7).all()
    assert not back[67:].any()
