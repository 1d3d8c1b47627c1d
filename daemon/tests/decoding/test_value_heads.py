"""What value heads expect, where they stand, and the files that are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from green_code.decoding.value_heads import MOST_CHARACTERS, load_value_heads, value_depths
from tests.decoding.networks import value_heads

WIDTH, DEPTHS, PLACE = 24, (3, 6), 5


@pytest.mark.parametrize(
    ("layers", "depths"), [(18, (5, 9)), (24, (6, 12)), (28, (7, 14)), (6, (2, 3)), (3, (1, 2)), (2, (1,)), (1, ())]
)
def test_they_stand_at_a_quarter_and_half_of_the_layers(layers: int, depths: tuple[int, ...]) -> None:
    assert value_depths(layers) == depths


def test_what_they_expect_is_by_hand() -> None:
    """A state has no size; half of the most characters is the logistic function of 0."""
    heads = value_heads(2, (1,), 1)
    heads.parameters["1.weight"][:] = (1.0, -1.0, 2.0)
    heads.parameters["1.bias"][:] = -1.0
    for size in (1e-2, 1.0, 1e4):
        assert heads.characters(1, np.array([size, size], np.float32), [0.5]) == pytest.approx(MOST_CHARACTERS / 2)
    one = heads.characters(1, np.array([3.0, 0.0], np.float32), [0.5])
    assert one == pytest.approx(MOST_CHARACTERS / (1 + math.exp(-math.sqrt(2))), rel=1e-4)


def test_written_heads_are_read_again(tmp_path: Path) -> None:
    own, path = value_heads(WIDTH, DEPTHS, PLACE), tmp_path / "values.safetensors"
    own.save(path)
    read = load_value_heads(path)
    assert (read.width, read.depths, read.place_features) == (WIDTH, DEPTHS, PLACE)
    state, place = np.linspace(-1, 1, WIDTH, dtype=np.float32), [0.5] * PLACE
    for depth in DEPTHS:
        assert read.characters(depth, state, place) == pytest.approx(own.characters(depth, state, place), rel=0.01)


Damage = Callable[[dict[str, np.ndarray], dict[str, str]], object]


def _set(name: str, value: str) -> Damage:
    return lambda weights, metadata: metadata.__setitem__(name, value)


DAMAGES: dict[str, Damage] = {
    "another width": _set("width", str(2 * WIDTH)),
    "another place": _set("place_features", str(PLACE + 1)),
    "other depths": _set("depths", "3,7"),
    "descending": _set("depths", "6,3"),
    "no number": _set("depths", "deep"),
    "no depths": _set("depths", ""),
    "no layer": _set("depths", "0,3"),
    "negative": _set("width", "-1"),
    "no width": lambda weights, metadata: metadata.pop("width"),
    "no head": lambda weights, metadata: weights.pop("3.weight"),
    "NaN": lambda weights, metadata: weights.__setitem__("3.bias", np.array([math.nan])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    own, path = value_heads(WIDTH, DEPTHS, PLACE), tmp_path / "values.safetensors"
    weights = dict(own.parameters)
    metadata = {"width": str(WIDTH), "depths": "3,6", "place_features": str(PLACE)}
    save_file(weights, path, metadata)
    assert load_value_heads(path)
    DAMAGES[damage](weights, metadata)
    save_file(weights, path, metadata)
    with pytest.raises(ValueError):
        load_value_heads(path)
