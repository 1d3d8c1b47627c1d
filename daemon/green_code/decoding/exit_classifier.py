"""The exit classifier: the network of the policy `agent`.

One two-layer perceptron for all exits, with a bias of the hidden units for each exit. Its inputs are the hidden state and three
features; the laboratory trains it (green_code_lab/agent/networks.py), and the kernel has it, too (kernels/exit_classifier.h). That
all are equal is tested in tests/lab/agent/test_networks.py and tests/kernels/test_exit_classifier.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from green_code.decoding.network_files import Parameters, check_shapes, load_network, save_network
from green_code.kernels.binding import EXTRA_FEATURES
from green_code.models.backend import ExitParameters, TopToken

CONTINUE, EXIT = 0, 1
HIDDEN_UNITS = 64
EPSILON = 1e-6  # of the state's mean square
PENDING_UNIT = math.log(1e4)
MAX_LOG_ODDS = 6.0  # a probability of .9975; higher ones give the same feature


def unit_rms(states: np.ndarray) -> np.ndarray:
    """(…, C) states divided by their root mean square, float32; idempotent."""
    states = states.astype(np.float32, copy=False)
    mean: np.ndarray = np.square(states).mean(-1, keepdims=True)
    return np.asarray(states / np.sqrt(mean + np.float32(EPSILON)))


@dataclass(frozen=True, eq=False)
class ExitClassifier:
    """
    Args:
        exits: their depths, E of them, ascending.
        parameters: float32, of H hidden units over C + EXTRA_FEATURES features: `inner.weight` (H, C + EXTRA_FEATURES), `inner.bias` (H,),
            `exit_bias.weight` (E, H), `action.weight` (2, H), `action.bias` (2,).
    Raises:
        ValueError: the parameters do not fit one another.
    """

    exits: tuple[int, ...]
    parameters: Parameters

    def __post_init__(self) -> None:
        p = self.parameters
        features = p["inner.weight"].shape[-1]
        check_shapes(p, parameter_shapes(features - EXTRA_FEATURES, len(self.exits)))

    @property
    def width(self) -> int:
        """C of the base model."""
        return int(self.parameters["inner.weight"].shape[1]) - EXTRA_FEATURES

    def exit_probability(self, state: np.ndarray, pending: int, top: TopToken, exit_index: int) -> float:
        """P(EXIT) for one state (C,)."""
        p = self.parameters
        inner, action = p["inner.weight"], p["action.weight"]
        clipped = max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, top.log_odds))
        extra = np.array((math.log1p(pending) / PENDING_UNIT, clipped, top.margin), np.float32)
        x = unit_rms(state)
        hidden = inner[:, :-EXTRA_FEATURES] @ x + inner[:, -EXTRA_FEATURES:] @ extra + p["inner.bias"]
        scores = action @ np.tanh(hidden + p["exit_bias.weight"][exit_index]) + p["action.bias"]
        return 1 / (1 + math.exp(min(700.0, float(scores[CONTINUE] - scores[EXIT]))))

    def parameters_for_decoder(self) -> ExitParameters:
        """See `kernels.exit_classifier`."""
        p = self.parameters
        biases = p["inner.bias"] + p["exit_bias.weight"]
        return ExitParameters(
            p["inner.weight"], biases, p["action.weight"], p["action.bias"], PENDING_UNIT, MAX_LOG_ODDS
        )

    def save(self, path: Path) -> None:
        save_network(path, self.parameters, {"exits": ",".join(map(str, self.exits)), "width": str(self.width)})


def parameter_shapes(width: int, exits: int) -> dict[str, tuple[int, ...]]:
    """Of a model of `width` and so many exits."""
    return {
        "inner.weight": (HIDDEN_UNITS, width + EXTRA_FEATURES),
        "inner.bias": (HIDDEN_UNITS,),
        "exit_bias.weight": (exits, HIDDEN_UNITS),
        "action.weight": (2, HIDDEN_UNITS),
        "action.bias": (2,),
    }


def load_exit_classifier(path: Path, exits: Sequence[int]) -> ExitClassifier:
    """Read agent.safetensors of a bundle whose exits are `exits`.

    Raises:
        ValueError: the file is damaged, has NaN, or was trained for other exits.
    """

    def build(metadata: Mapping[str, str], parameters: Parameters) -> ExitClassifier:
        trained = tuple(int(e) for e in metadata["exits"].split(","))
        if trained != tuple(exits):
            raise ValueError(
                f"it decides at {trained}, its bundle says {tuple(exits)}: retrain with `green-code train`"
            )
        check_shapes(parameters, parameter_shapes(int(metadata["width"]), len(trained)))
        return ExitClassifier(trained, parameters)

    return load_network(path, build)
