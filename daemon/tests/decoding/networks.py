"""The agents' networks with random parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from green_code.decoding import exit_classifier as exits_module
from green_code.decoding.exit_classifier import ExitClassifier
from green_code.decoding.stop_network import PARAMETER_SHAPES, StopNetwork
from green_code.decoding.value_heads import ValueHeads, parameter_shapes


def exit_classifier(width: int, exits: Sequence[int], seed: int = 0) -> ExitClassifier:
    return ExitClassifier(tuple(exits), _random(exits_module.parameter_shapes(width, len(exits)), seed))


def stop_network(seed: int = 0) -> StopNetwork:
    return StopNetwork(_random(PARAMETER_SHAPES, seed))


def value_heads(width: int, depths: Sequence[int], place_features: int, seed: int = 0) -> ValueHeads:
    parameters = _random(parameter_shapes(width, depths, place_features), seed)
    return ValueHeads(width, tuple(depths), place_features, parameters)


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Uniform as torch draws a linear layer's."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.uniform(-1, 1, shape).astype(np.float32) / np.float32(shape[-1] ** 0.5)
        for name, shape in shapes.items()
    }
