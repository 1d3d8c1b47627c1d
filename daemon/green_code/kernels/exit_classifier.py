"""The exit classifier in one call of the kernel (exit_classifier.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from green_code.kernels.binding import EXTRA_FEATURES, UNIT_BLOCK, CExitClassifier
from green_code.models.backend import Buffers, ExitParameters, ExitProbability, TopToken

if TYPE_CHECKING:
    from green_code.kernels.decoder import KernelDecoder


def exit_probability_function(decoder: KernelDecoder, parameters: ExitParameters) -> ExitProbability | None:
    """The classifier as one call of the kernel; None where H is no multiple of UNIT_BLOCK.

    Raises:
        ValueError: the parameters do not fit one another or this model.
    """
    p, (hidden, features), width = parameters, parameters.inner.shape, decoder.config.width
    fits = (
        features == width + EXTRA_FEATURES
        and p.biases.shape == (len(p.biases), hidden)
        and (p.action.shape, p.action_bias.shape) == ((2, hidden), (2,))
    )
    if not fits:
        raise ValueError("these are not the parameters of an exit classifier for this model")
    if hidden % UNIT_BLOCK:
        return None
    arrays = [np.ascontiguousarray(a, np.float32) for a in (p.inner.T, p.biases, p.action[1] - p.action[0])]
    bias = float(p.action_bias[1] - p.action_bias[0])
    pointers = (array.ctypes.data for array in arrays)
    structure = CExitClassifier(hidden, width, len(p.biases), *pointers, bias, p.pending_unit, p.log_odds_within)

    def exit_probability(
        buffers: Buffers, position: int, pending: int, top: TopToken, index: int, _arrays: object = arrays
    ) -> float:  # `_arrays` keeps alive what the structure points into
        state = decoder.state_address(buffers, position)
        return decoder.kernel.exit_probability(structure, index, state, pending, top.log_odds, top.margin)

    return exit_probability
