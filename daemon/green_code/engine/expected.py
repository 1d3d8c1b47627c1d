"""What a model of the catalog will need on this machine, before it is downloaded: from its shape, as `assumed_costs.py` prices work."""

from __future__ import annotations

from dataclasses import dataclass

from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of, layer_weights
from green_code.kernels.weight_bits import bits_for
from green_code.models.families import ModelConfig
from green_code.models.rows import Shape
from green_code.work import Work

_POSITIONS = 1024  # of a usual prompt, in the cache
_PREVIEW = 128  # directions of the SVD head
_PROGRAM_BYTES = 200_000_000  # Python, packages, tokenizer
_BYTES = {8: 1.03, 4: 0.625}  # of a weight, with its scales


@dataclass(frozen=True)
class Expected:
    """Bytes of the converted weights and of the engine that holds them; milliseconds and joules of a token at full depth."""

    disk_bytes: int
    memory_bytes: int
    milliseconds: float
    joules: float
    source: str


def expected(shape: Shape) -> Expected:
    """The estimate for a shape, with weights of 8 or 4 bits and the head's rows in bfloat16."""
    config = _config(shape)
    rows = shape.vocabulary * shape.width * 2 * (1 if shape.tied else 2)
    weights = int(_BYTES[bits_for(config)] * shape.layers * layer_weights(config)) + rows + shape.vocabulary * _PREVIEW
    cache = shape.layers * 2 * shape.kv_heads * shape.head_width * 4 * _POSITIONS
    costs, layers = costs_of(config, has_svd_head=True), shape.layers
    token = Work(
        layer_batches=layers, layer_positions=layers, small_batch_positions=layers, head_batches=1, head_positions=1
    )
    joules = costs.prices.of(token)
    seconds = joules / EstimateMeter().watts_per_core
    return Expected(weights, weights + cache + _PROGRAM_BYTES, 1000 * seconds, joules, costs.source)


def _config(shape: Shape) -> ModelConfig:
    """A configuration that costs what the shape does."""
    return ModelConfig(
        family="llama" if shape.gated else "opt", layers=shape.layers, width=shape.width, heads=shape.heads,
        kv_heads=shape.kv_heads, head_width=shape.head_width, mlp_width=shape.mlp_width, vocabulary=shape.vocabulary,
        norm_eps=1e-5, max_positions=2048, attention_scale=1.0, tied_head=shape.tied,
        windows=(None,) * shape.layers, ropes=(None,) * shape.layers,
    )  # fmt: skip
