"""The network of the stop agent: what it sees of each token, and the probability that it gives.

A perceptron over a few numbers gives the probability that all text so far is right; the hidden state adds nothing there. The laboratory
trains it (green_code_lab/agent/networks.py); tests/lab/agent/test_networks.py compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from green_code.decoding.network_files import Parameters, check_shapes, load_network, save_network

TOKEN_FEATURES: Final = 6
UNITS: Final = 16
_LEAST_PRODUCT = 1e-4
_MOST_LOG_ODDS, _MOST_TOKENS = 6.0, 12


def token_features(product: float, log_odds: float, tokens: int, characters: int, line: str) -> tuple[float, ...]:
    """`TOKEN_FEATURES` numbers of about unit size: the running product with this token, its log-odds, how many tokens and characters the
    text has without it, the length of the line before the cursor, and whether that is blank."""
    return (
        math.log(product + _LEAST_PRODUCT) / 3,
        max(-_MOST_LOG_ODDS, min(_MOST_LOG_ODDS, log_odds)) / 3,
        min(tokens, _MOST_TOKENS) / 6,
        math.log1p(characters) / 2,
        math.log1p(len(line)) / 2,
        float(not line.strip()),
    )


@dataclass(frozen=True, eq=False)
class StopNetwork:
    """
    Args:
        parameters: float32, see `PARAMETER_SHAPES`.
    Raises:
        ValueError: the parameters are others.
    """

    parameters: Parameters

    def __post_init__(self) -> None:
        check_shapes(self.parameters, PARAMETER_SHAPES)

    def right(self, product: float, log_odds: float, tokens: int, characters: int, line: str) -> float:
        """P(all text with this token is right); see `token_features`."""
        bias, weight, out_bias, out = self._sorted
        inputs = np.array(token_features(product, log_odds, tokens, characters, line), np.float32)
        found = float((out @ np.tanh(weight @ inputs + bias) + out_bias)[0])
        return 1 / (1 + math.exp(min(-found, 700.0)))  # NaN stays NaN, which is below no bound

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, ...]:
        return tuple(part for _, part in sorted(self.parameters.items()))

    def save(self, path: Path) -> None:
        save_network(path, self.parameters, {})


PARAMETER_SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "0.weight": (UNITS, TOKEN_FEATURES),
    "0.bias": (UNITS,),
    "2.weight": (1, UNITS),
    "2.bias": (1,),
}
"""Weight and bias of the hidden units, and of the output."""


def load_stop_network(path: Path) -> StopNetwork:
    """Read a bundle's stop agent.

    Raises:
        ValueError: the file is damaged, or has NaN.
    """
    return load_network(path, lambda metadata, parameters: StopNetwork(parameters))
