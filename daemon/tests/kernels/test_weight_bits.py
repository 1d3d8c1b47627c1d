"""How many bits weights get: by what was measured, otherwise by size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from green_code.kernels import weight_bits
from green_code.kernels.weight_bits import MOST_LOST, bits_for, head_bits
from green_code.models.config import ModelConfig
from green_code.models.rows import ROWS, Row, Shape
from tests.kernels.references import LLAMA


def config_of(shape: Shape) -> ModelConfig:
    names = ("layers", "width", "heads", "kv_heads", "head_width", "mlp_width", "vocabulary")
    rows = {name: getattr(LLAMA, name)[:1] * shape.layers for name in ("windows", "ropes")}
    return replace(LLAMA, **{name: getattr(shape, name) for name in names}, **rows)


def row(lost: float | None) -> Row:
    return replace(ROWS["qwen2.5-coder-0.5b"], int4=lost)


@pytest.mark.parametrize(
    "lost, bits", [([MOST_LOST], 4), ([MOST_LOST + 0.001], 8), ([0.0, 0.02], 8), ([None, 0.001], 4), ([None], 8)]
)
def test_a_measured_shape_has_few_bits_where_it_loses_little(
    lost: list[float | None], bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_bits, "ROWS", {str(i): row(each) for i, each in enumerate(lost)})
    config = config_of(row(None).shape)
    assert bits_for(config) == bits
    assert bits_for(replace(config, vocabulary=30_000)) == bits, "pruned"
    assert bits_for(replace(config, mlp_width=4096)) == 8, "another shape"


def test_a_shape_that_was_not_measured_has_few_bits_where_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_bits, "ROWS", {})
    bits = {name: bits_for(config_of(row.shape)) for name, row in ROWS.items()}
    assert bits["gemma-3-270m"] == bits["qwen2.5-coder-1.5b"] == 8
    assert bits["qwen2.5-coder-3b"] == bits["qwen2.5-coder-7b"] == 4


@pytest.mark.parametrize("width", [64, 100, 896])
def test_a_large_head_is_previewed_in_four_bits(width: int) -> None:
    """256 rows of 16 bits must be fewer bits than what 4 instead of 8, and two scales of 16 in 64 inputs for two and a minimum, save."""
    tokens = 256 * 16 / (8 + 16 / 64 - 4 - 32 / 32)
    few, many = (replace(LLAMA, width=width, vocabulary=count) for count in (int(tokens) - 64, int(tokens) + 64))
    assert (head_bits(few), head_bits(many)) == (8, 4)
    assert {head_bits(row.shape.config()) for row in ROWS.values()} == {4}
