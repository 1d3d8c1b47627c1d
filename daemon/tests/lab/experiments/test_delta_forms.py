"""Forms of a change that is known: its rank, its size, and what the shipped form is read back as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from green_code.models.delta import read_delta
from green_code_lab.experiments.delta_forms import WeightFormat, factors, weight_formats
from green_code_lab.lite.export import export_delta

ROWS, COLUMNS, LAYERS, RANK = 192, 256, 4, 20
GENERATOR = torch.Generator().manual_seed(1)
NAMES = [f"layers.{layer}.mlp_in.weight" for layer in range(LAYERS)]


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR)


BASE = {name: normal(ROWS, COLUMNS) for name in NAMES} | {
    "layers.0.mlp_norm.weight": torch.ones(COLUMNS),
    "embed.weight": normal(8, COLUMNS),
}
CHANGE = {name: normal(ROWS, RANK) @ normal(RANK, COLUMNS) * 1e-3 for name in NAMES} | {
    "layers.0.mlp_norm.weight": normal(COLUMNS) * 1e-3
}
TRAINED = {name: weight + CHANGE.get(name, 0.0) for name, weight in BASE.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WeightFormat]:
    folder = tmp_path_factory.mktemp("forms")
    found = {
        weight_format.label: weight_format for weight_format in weight_formats(BASE, TRAINED, LAYERS, folder)
    }
    assert not list(folder.iterdir())
    return found


def error(weight_format: WeightFormat) -> float:
    """Of the matrices, as a share of their change."""
    off = sum((weight_format.weights[name] - TRAINED[name]).pow(2).sum() for name in NAMES)
    return float(off / sum(CHANGE[name].pow(2).sum() for name in NAMES)) ** 0.5


def test_every_form_has_all_weights_and_leaves_the_embedding(found: dict[str, WeightFormat]) -> None:
    for weight_format in found.values():
        assert set(weight_format.weights) == set(BASE)
        assert torch.equal(weight_format.weights["embed.weight"], BASE["embed.weight"])
        torch.testing.assert_close(
            weight_format.weights["layers.0.mlp_norm.weight"],
            TRAINED["layers.0.mlp_norm.weight"],
            atol=1e-5,
            rtol=0,
        )


def test_a_rank_that_the_change_has_loses_nothing(found: dict[str, WeightFormat]) -> None:
    assert RANK <= 32
    assert error(found["rank 32"]) < 1e-2


def test_fewer_bits_lose_more_and_take_less(found: dict[str, WeightFormat]) -> None:
    labels = ["as trained", "3 bits everywhere", "as shipped", "2 bits everywhere"]
    errors, sizes = ([part(found[label]) for label in labels] for part in (error, lambda f: f.megabytes))
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)
    assert errors[-1] < 0.4


def test_sizes_by_hand(found: dict[str, WeightFormat]) -> None:
    """In float16: all values; or the two factors of each matrix. The vector is whole in each."""
    vector = 2 * COLUMNS
    assert found["as trained"].megabytes * 1e6 == pytest.approx(2 * LAYERS * ROWS * COLUMNS + vector)
    assert found["rank 64"].megabytes * 1e6 == pytest.approx(2 * LAYERS * 64 * (ROWS + COLUMNS) + vector)


def test_the_shipped_form_is_the_bundles(found: dict[str, WeightFormat], tmp_path: Path) -> None:
    export_delta(BASE, TRAINED, LAYERS, tmp_path / "delta")
    assert found["as shipped"].megabytes * 1e6 == (tmp_path / "delta").stat().st_size
    for name, delta in read_delta(tmp_path / "delta"):
        assert torch.equal(found["as shipped"].weights[name], BASE[name] + delta)


def test_factors_are_the_nearest_of_their_rank() -> None:
    left, right = factors(torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0])), 2)
    torch.testing.assert_close(
        left.float() @ right.float(), torch.diag(torch.tensor([8.0, 4.0, 0.0, 0.0])), atol=1e-2, rtol=0
    )
