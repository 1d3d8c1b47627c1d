"""The exit classifier as one call of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from green_code.models.backend import TopToken

if TYPE_CHECKING:
    from green_code.kernels.decoder import KernelDecoder


@dataclass(frozen=True)
class ExitParameters:
    """Of the exit classifier, float32: H hidden units over C + B features, E exits, two actions."""

    inner: np.ndarray
    biases: np.ndarray
    action: np.ndarray
    action_bias: np.ndarray
    pending_unit: float
    log_odds_within: float


ExitProbability = Callable[[Tensor, int, TopToken, int], float]
"""A state (C,), its pending work, its top token, the exit's index → P(exit)."""


def exit_probability_function(decoder: KernelDecoder, parameters: ExitParameters) -> ExitProbability | None:
    return decoder.judge_of(parameters)
