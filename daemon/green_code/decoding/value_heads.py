"""Value heads: how much of a suggestion would be accepted, seen from the state behind a prompt at a low layer.

A head stands at a quarter of the model's layers and one at half. Each is a linear map of the hidden state and of the features of the
cursor's place. Its logistic function is the expected share of `MOST_CHARACTERS` that would be accepted (a regression of a share: Papke
and Wooldridge 1996). The laboratory trains them (green_code_lab/agent/values.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from green_code.decoding.exit_classifier import unit_rms
from green_code.decoding.network_files import Parameters, check_shapes, load_network, save_network

MOST_CHARACTERS: Final = 40
"""More accepted characters of a suggestion count as so many."""


def value_depths(layers: int) -> tuple[int, ...]:
    """The layers of a model that have value heads: a quarter and half of them, rounded up, below the last."""
    return tuple(sorted({depth for part in (4, 2) if (depth := -(-layers // part)) < layers}))


@dataclass(frozen=True, eq=False)
class ValueHeads:
    """
    Args:
        width: C of the base model. depths: of the heads, ascending. place_features: F numbers that describe a place.
        parameters: float32, see `parameter_shapes`.
    Raises:
        ValueError: the parameters are others.
    """

    width: int
    depths: tuple[int, ...]
    place_features: int
    parameters: Parameters

    def __post_init__(self) -> None:
        check_shapes(self.parameters, parameter_shapes(self.width, self.depths, self.place_features))

    def characters(self, depth: int, state: np.ndarray, place: Sequence[float]) -> float:
        """How many characters would be accepted, from a state (C,) at `depth` and the place's features."""
        inputs = np.concatenate((unit_rms(state), np.asarray(place, np.float32)))
        log_odds = float(self.parameters[f"{depth}.weight"] @ inputs + self.parameters[f"{depth}.bias"][0])
        return MOST_CHARACTERS / (1 + math.exp(min(-log_odds, 700.0)))

    def save(self, path: Path) -> None:
        metadata = {"depths": ",".join(map(str, self.depths)), "place_features": str(self.place_features)}
        save_network(path, self.parameters, {"width": str(self.width), **metadata})


def parameter_shapes(width: int, depths: Sequence[int], place_features: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of each head."""
    shapes: dict[str, tuple[int, ...]] = {"weight": (width + place_features,), "bias": (1,)}
    return {f"{depth}.{name}": shape for depth in depths for name, shape in shapes.items()}


def load_value_heads(path: Path) -> ValueHeads:
    """Read a bundle's value heads.

    Raises:
        ValueError: the file is damaged, or has NaN; see also `network_files.load_network`.
    """

    def build(metadata: Mapping[str, str], parameters: Parameters) -> ValueHeads:
        width, place_features = int(metadata["width"]), int(metadata["place_features"])
        depths = tuple(int(depth) for depth in metadata["depths"].split(","))
        if list(depths) != sorted(set(depths)) or depths[0] < 1:
            raise ValueError(f"its depths {depths} are not ascending layers")
        return ValueHeads(width, depths, place_features, parameters)

    return load_network(path, build)
