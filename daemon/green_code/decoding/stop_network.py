"""The network of the stop agent: what it sees behind a prompt and at each token, and the probabilities that it gives.

Behind the prompt, at one low layer, a perceptron over the hidden state and the place of the cursor gives the probability that
something right will be shown. At each token a perceptron over a few numbers gives the probability that all text so far is right; there
the state adds nothing. Training uses `forward`, decoding the same in NumPy: tests/decoding/test_stop_network.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor, nn

from green_code.decoding.exit_classifier import unit_rms
from green_code.decoding.network_files import load_network

TOKEN_FEATURES: Final = 6
_REFUSAL_UNITS, _TOKEN_UNITS = 32, 16
_LEAST_PRODUCT = 1e-4
_MOST_LOG_ODDS, _MOST_TOKENS = 6.0, 12


def token_features(product: float, log_odds: float, tokens: int, characters: int, line: str) -> tuple[float, ...]:
    """`TOKEN_FEATURES` numbers of about unit size: the running product with this token, its log-odds, how many tokens and characters the text has
    without it, the length of the line before the cursor, and whether that is blank."""
    return (
        math.log(product + _LEAST_PRODUCT) / 3,
        max(-_MOST_LOG_ODDS, min(_MOST_LOG_ODDS, log_odds)) / 3,
        min(tokens, _MOST_TOKENS) / 6,
        math.log1p(characters) / 2,
        math.log1p(len(line)) / 2,
        float(not line.strip()),
    )


class StopNetwork(nn.Module):
    """
    Args:
        width: C of the base model. depth: the layer at which it may refuse. place_features: numbers that describe a place.
    """

    def __init__(self, width: int, depth: int, place_features: int) -> None:
        super().__init__()
        self.width, self.depth, self.place_features = width, depth, place_features
        self.refusal = nn.Sequential(
            nn.Linear(width + place_features, _REFUSAL_UNITS), nn.Tanh(), nn.Linear(_REFUSAL_UNITS, 1)
        )
        self.token = nn.Sequential(nn.Linear(TOKEN_FEATURES, _TOKEN_UNITS), nn.Tanh(), nn.Linear(_TOKEN_UNITS, 1))

    def promise(self, state: Tensor, place: Sequence[float]) -> float:
        """P(something right will be shown), from a state (C,) at `depth` and the place's features."""
        inputs = np.concatenate((unit_rms(state).cpu().numpy(), np.asarray(place, np.float32)))
        return _probability(inputs, *self._arrays[:4])

    def right(self, product: float, log_odds: float, tokens: int, characters: int, line: str) -> float:
        """P(all text with this token is right); see `token_features`."""
        inputs = np.array(token_features(product, log_odds, tokens, characters, line), np.float32)
        return _probability(inputs, *self._arrays[4:])

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """Weight and bias of all four layers, refusal first, as NumPy arrays that share their memory."""
        return tuple(
            part.detach().cpu().numpy()
            for layers in (self.refusal, self.token)
            for layer in layers
            if isinstance(layer, nn.Linear)
            for part in (layer.weight, layer.bias)
        )

    def save_metadata(self) -> dict[str, str]:
        return {"width": str(self.width), "depth": str(self.depth), "place_features": str(self.place_features)}


def _probability(
    inputs: np.ndarray, weight: np.ndarray, bias: np.ndarray, out: np.ndarray, out_bias: np.ndarray
) -> float:
    log_odds = float((out @ np.tanh(weight @ inputs + bias) + out_bias)[0])
    return 1 / (1 + math.exp(min(-log_odds, 700.0)))  # NaN stays NaN, which is below no bound


def load_stop_network(path: Path) -> StopNetwork:
    """Read a bundle's stop agent.

    Raises:
        Problem: the file is damaged, or has NaN.
    """

    def build(metadata: Mapping[str, str]) -> StopNetwork:
        width, depth, place_features = (int(metadata[name]) for name in ("width", "depth", "place_features"))
        if not (0 < width <= 1 << 16 and 0 <= place_features <= 1 << 10 and 0 < depth <= 1 << 10):
            raise ValueError(f"width {width}, depth {depth}, place features {place_features}")
        return StopNetwork(width, depth, place_features)

    return load_network(path, build)
