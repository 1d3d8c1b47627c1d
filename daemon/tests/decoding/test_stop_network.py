"""What the stop network sees, and the files that are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from green_code.decoding.stop_network import TOKEN_FEATURES, load_stop_network, token_features
from tests.decoding.networks import stop_network

VIEWS = [
    (0.9, 2.0, 0, 0, ""), (0.5, 0.0, 3, 11, "x = "), (0.0, -math.inf, 0, 0, " " * 400), (1.0, math.inf, 96, 100_000, "x" * 10_000),
    (1e-300, -700.0, 10**6, 10**9, "\t"),
]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_what_it_sees_of_a_token_is_finite_and_bounded(view: tuple[float, float, int, int, str]) -> None:
    found = token_features(*view)
    assert len(found) == TOKEN_FEATURES and all(math.isfinite(each) and abs(each) < 12 for each in found)


def test_a_written_network_is_read_again(tmp_path: Path) -> None:
    own, path = stop_network(), tmp_path / "stop.safetensors"
    own.save(path)
    assert load_stop_network(path).right(*VIEWS[1]) == pytest.approx(own.right(*VIEWS[1]), rel=0.01)


def _nan(weights: dict[str, np.ndarray]) -> None:
    weights["0.weight"][0, 0] = math.nan


def _infinite(weights: dict[str, np.ndarray]) -> None:
    weights["2.bias"][0] = math.inf


DAMAGES: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "another shape": lambda weights: weights.__setitem__("0.bias", np.ones(3)),
    "a part is missing": lambda weights: weights.pop("0.weight"),
    "more": lambda weights: weights.__setitem__("more", np.ones(1)),
    "NaN": _nan,
    "infinity": _infinite,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    weights, path = dict(stop_network().parameters), tmp_path / "stop.safetensors"
    DAMAGES[damage](weights)
    save_file(weights, path)
    with pytest.raises(ValueError):
        load_stop_network(path)


@pytest.mark.parametrize("content", [b"", b"?" * 100])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stop.safetensors").write_bytes(content)
    with pytest.raises(ValueError):
        load_stop_network(tmp_path / "stop.safetensors")


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stop.safetensors"
    stop_network().save(path)
    assert load_file(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError):
        load_stop_network(path)
