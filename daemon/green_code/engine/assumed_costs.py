"""What a model's work costs before it is measured: an estimate from the model's shape, always labelled `estimate`.

Costs are proportional to the bytes of weights that are read (for a batch) and to the weights that are multiplied (for a position),
whatever the family: other operations take little. The rates are those of a reference machine, in CPU-seconds, and an
`EstimateMeter`'s watts per core turn them into joules. Joules may be wrong by a factor of two or three on another processor, and by
more without the kernel. Savings are ratios, and much closer. Of a GPU they say nothing but what is worth more than what, and its joules
are unknown until they are measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from green_code.energy.costs import CostModel
from green_code.energy.meters import EstimateMeter
from green_code.energy.rows import UNKNOWN
from green_code.kernels.weight_bits import bits_for, candidate_bytes, head_bits
from green_code.models.backend import Backend
from green_code.models.config import ModelConfig
from green_code.work import Prices, Work

REFERENCE: Final = "AMD EPYC, one thread, int8 kernel with AVX2, 1 December 2026"
_WIDTH, _VOCABULARY = 640, 38_912  # of Gemma 3 270M with the default bundle, whose costs these are
_LAYER_WEIGHTS = 5_570_560
_KV_WEIGHTS = 327_680
_READ: Final = {8: 1.0, 4: 5 / 8}
"""Bytes that are read of weights with so many bits, scales included, against 8 bits."""
_SECONDS: Final = Prices(
    layer_batch=298e-6,
    small_batch_position=65e-6,
    layer_position=110e-6,
    head_batch=34e-6,
    head_position=126e-6,
    decision=36e-6,
    kv_only=6.6e-6,
)
"""CPU-seconds per unit of work, fitted as `energy.costs.fit` does; head and decision with the SVD head and a lens."""


def assumed_costs(decoder: Backend) -> CostModel:
    """The estimate for a decoder; `assumed` is set, and the interval is as wide as the figure."""
    costs = costs_of(decoder.config, decoder.has_svd_head, bits_for(decoder.config))
    return costs if decoder.gpu is None else replace(costs, source=UNKNOWN)


def costs_of(config: ModelConfig, has_svd_head: bool, bits: int = 8) -> CostModel:
    """The estimate for a shape, with the SVD head or without. `bits`: of the layers' weights; those of the head are `head_bits`."""
    meter = EstimateMeter()
    watts = meter.watts_per_core
    layer = watts * layer_weights(config) / _LAYER_WEIGHTS
    vocabulary = watts * config.vocabulary / _VOCABULARY
    if has_svd_head:
        head_batch, head_position = _SECONDS.head_batch * vocabulary, _SECONDS.head_position * vocabulary
    else:  # the whole head, which costs per weight what a layer does; and where it has 4 bits, candidates' rows
        head, narrow = watts * config.vocabulary * config.width / _LAYER_WEIGHTS, head_bits(config)
        head_batch, head_position = _SECONDS.layer_batch * head * _READ[narrow], _SECONDS.layer_position * head
        if narrow == 4:
            head_position += watts * _SECONDS.layer_batch * candidate_bytes(config) / _LAYER_WEIGHTS
    prices = Prices(
        layer_batch=_SECONDS.layer_batch * layer * _READ[bits],
        small_batch_position=_SECONDS.small_batch_position * layer,
        layer_position=_SECONDS.layer_position * layer,
        head_batch=head_batch,
        head_position=head_position,
        decision=_SECONDS.decision * watts * (config.width / _WIDTH) ** 2,
        kv_only=_SECONDS.kv_only * watts * kv_weights(config) / _KV_WEIGHTS,
    )
    described = f"assumed until measured, from {REFERENCE}, × {watts:g} W per core"
    return CostModel(prices, meter.source, described, relative_interval=1.0, window_seconds=0.0, assumed=True)


def token_work(layers: int) -> Work:
    """A token at full depth, alone in its batch."""
    return Work(
        layer_batches=layers, layer_positions=layers, small_batch_positions=layers, head_batches=1, head_positions=1
    )


def layer_weights(config: ModelConfig) -> int:
    """Weights of a layer's matrices."""
    attention = config.width * config.head_width * 2 * (config.heads + config.kv_heads)
    return attention + (3 if config.row.gated else 2) * config.width * config.mlp_width


def kv_weights(config: ModelConfig) -> int:
    """Weights of a layer's matrices for keys and values."""
    return config.width * config.head_width * 2 * config.kv_heads
