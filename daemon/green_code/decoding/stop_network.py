"""The network of the stop agent: what it sees behind a prompt and at each token, and the probabilities that it gives.

Behind the prompt, at one low layer, a perceptron over the hidden state and the place of the cursor gives the probability that
something right will be shown. At each token a perceptron over a few numbers gives the probability that all text so far is right; there
the state adds nothing. The laboratory trains it (green_code_lab/agent/networks.py); tests/lab/agent/test_networks.py compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from green_code.decoding.exit_classifier import unit_rms
from green_code.decoding.network_files import Parameters, check_shapes, load_network, save_network

TOKEN_FEATURES: Final = 6
REFUSAL_UNITS, TOKEN_UNITS = 32, 16
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
        width: C of the base model. depth: the layer at which it may refuse. place_features: numbers that describe a place.
        parameters: float32, see `parameter_shapes`.
    Raises:
        ValueError: the parameters are others.
    """

    width: int
    depth: int
    place_features: int
    parameters: Parameters

    def __post_init__(self) -> None:
        check_shapes(self.parameters, parameter_shapes(self.width, self.place_features))

    def promise(self, state: np.ndarray, place: Sequence[float]) -> float:
        """P(something right will be shown), from a state (C,) at `depth` and the place's features."""
        inputs = np.concatenate((unit_rms(state), np.asarray(place, np.float32)))
        return _probability(inputs, *self._refusal)

    def right(self, product: float, log_odds: float, tokens: int, characters: int, line: str) -> float:
        """P(all text with this token is right); see `token_features`."""
        inputs = np.array(token_features(product, log_odds, tokens, characters, line), np.float32)
        return _probability(inputs, *self._token)

    @cached_property
    def _refusal(self) -> tuple[np.ndarray, ...]:
        return tuple(part for name, part in sorted(self.parameters.items()) if name.startswith("refusal."))

    @cached_property
    def _token(self) -> tuple[np.ndarray, ...]:
        return tuple(part for name, part in sorted(self.parameters.items()) if name.startswith("token."))

    def save(self, path: Path) -> None:
        metadata = {"width": self.width, "depth": self.depth, "place_features": self.place_features}
        save_network(path, self.parameters, {name: str(value) for name, value in metadata.items()})


def parameter_shapes(width: int, place_features: int) -> dict[str, tuple[int, ...]]:
    """Bias and weight of the hidden units, and of the output, of both parts."""
    sizes = {"refusal": (width + place_features, REFUSAL_UNITS), "token": (TOKEN_FEATURES, TOKEN_UNITS)}
    return {
        f"{part}.{name}": shape
        for part, (inputs, units) in sizes.items()
        for name, shape in (
            ("0.weight", (units, inputs)),
            ("0.bias", (units,)),
            ("2.weight", (1, units)),
            ("2.bias", (1,)),
        )
    }


def _probability(
    inputs: np.ndarray, bias: np.ndarray, weight: np.ndarray, out_bias: np.ndarray, out: np.ndarray
) -> float:
    log_odds = float((out @ np.tanh(weight @ inputs + bias) + out_bias)[0])
    return 1 / (1 + math.exp(min(-log_odds, 700.0)))  # NaN stays NaN, which is below no bound


def load_stop_network(path: Path) -> StopNetwork:
    """Read a bundle's stop agent.

    Raises:
        ValueError: the file is damaged, or has NaN.
    """

    def build(metadata: Mapping[str, str], parameters: Parameters) -> StopNetwork:
        width, depth, place_features = (int(metadata[name]) for name in ("width", "depth", "place_features"))
        if not (0 < width <= 1 << 16 and 0 <= place_features <= 1 << 10 and 0 < depth <= 1 << 10):
            raise ValueError(f"width {width}, depth {depth}, place features {place_features}")
        return StopNetwork(width, depth, place_features, parameters)

    return load_network(path, build)
