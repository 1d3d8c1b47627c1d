"""Launches, waits, bytes and a predicted time for each published shape, from the plan alone: no card and no weights are needed.

    python -m green_code_lab.benchmark.gpu_check.planned

The prediction assumes a card's published bandwidth, and three figures that no measurement of ours stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from green_code.decoding.exit_classifier import ExitClassifier, parameter_shapes
from green_code.decoding.exit_policies import agent_for
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.verifier import Verifier
from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.packing import layout
from green_code.gpu.plan import HeadScratch, Plan, Scratch
from green_code.gpu.weights import Weights
from green_code.kernels.packing import Extras
from green_code.models.backend import CANDIDATES
from green_code.models.config import ModelConfig
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code_lab.benchmark.gpu_check.stand_in import Counter, Recorder
from green_code_lab.benchmark.gpu_shapes import SHAPES
from green_code_lab.lite.recipe import paper_exits

BANDWIDTHS: Final = {"H100 SXM": 3.35e12, "RTX 4090": 1.008e12}
"""Bytes a second, as NVIDIA publishes them."""
REACHED: Final = 0.85
"""Assumed: of the bandwidth, what a product reaches while it runs."""
BETWEEN_SECONDS: Final = 1.5e-6
"""Assumed: from the end of one kernel of a graph to the full speed of the next."""
HOST_SECONDS: Final = 100e-6
"""Assumed: of Python, of sending a control block, of a replay and of waiting, for each graph."""
_RANK, _POSITIONS = 128, 1024


@dataclass(frozen=True)
class Planned:
    """Of a token at full depth, alone, behind `_POSITIONS` others, in weights of `bits`."""

    name: str
    bits: int
    layer: float  # launches, on average
    head: int
    exit: int
    bytes_read: int

    @property
    def launches(self) -> int:
        return round(self.layer * SHAPES[self.name].layers) + self.head

    def bound(self, bandwidth: float) -> float:
        """Seconds that reading takes at least."""
        return self.bytes_read / bandwidth

    def seconds(self, bandwidth: float) -> float:
        """Predicted."""
        return self.bound(bandwidth) / REACHED + self.launches * BETWEEN_SECONDS + HOST_SECONDS


def planned(name: str, bits: int) -> Planned:
    config = SHAPES[name]
    depth, extras = config.layers // 2, Extras((config.layers // 2,), (), _RANK)
    plan = Plan(Weights.planned(config, extras, bits), torch.bfloat16, torch.device("meta"))
    whole, head, exit = Recorder(), Recorder(), Recorder()
    plan.layers(whole, 1, config.layers, Scratch(config, 1, plan.like(), 8), 8)
    scratch = HeadScratch(config, _RANK, 64, plan.like())
    plan.head(head, config.layers, 1, scratch, None)
    plan.head(exit, depth, 1, scratch, None)
    agent = 3  # the state's norm, its product with the hidden layer, the decision
    counts = len(whole.launches) / config.layers, len(head.launches), len(exit.launches) + agent
    return Planned(name, bits, *counts, _bytes_read(config, bits, extras))


def counting(config: ModelConfig, exits: Sequence[int]) -> tuple[KVCache, Counter]:
    """A cache of a decoder that counts and computes nothing."""
    machine = Counter()
    return KVCache(GpuDecoder(Weights.planned(config, Extras(tuple(exits), (), _RANK), 8), machine)), machine


def waits(config: ModelConfig, exits: Sequence[int], tokens: int = 1) -> int:
    """How often the host waits for so many tokens that an agent takes past each exit, one after the other."""
    cache, machine = counting(config, exits)
    shapes = parameter_shapes(config.width, len(exits))
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    agent = agent_for(ExitClassifier(tuple(exits), zeros), cache.decoder)  # what it is told is 0, so it goes on
    verifier = Verifier(agent, Chooser(Vocabulary(*TinySource().vocabulary(None))))
    cache.append([0, 0])
    for _ in range(tokens):
        (decoded,) = verifier.verify(cache, len(cache) - 1, b"", ())
        assert decoded.depth == config.layers
        cache.append([decoded.token])
    return machine.synchronisations


def exits_of(config: ModelConfig) -> tuple[int, ...]:
    """Those that the paper would give this model."""
    first, second = paper_exits(config.layers)
    return first + second


def _bytes_read(config: ModelConfig, bits: int, extras: Extras) -> int:
    matrices = layout(config, extras, bits).matrices
    weights = sum(part.nbytes for name, m in matrices.items() if "lens" not in name for part in m.parts)
    rows = 2 * CANDIDATES * config.width
    seen = sum(min(_POSITIONS, window or _POSITIONS) for window in config.windows)
    return weights + rows + 2 * 2 * seen * config.kv_heads * config.head_width


def table() -> str:
    """In Markdown."""
    cards = list(BANDWIDTHS.items())
    columns = ["model", "bits", "launches a layer", "an exit", "a token", "waits a token (exits)", "GB read"]
    columns += [f"{card}: bound, predicted, share" for card, _ in cards]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name in SHAPES:
        exits = exits_of(SHAPES[name])
        waited = f"{waits(SHAPES[name], exits)} ({len(exits)})"
        for bits in (8, 4):
            p = planned(name, bits)
            row = [name, f"{bits}", f"{p.layer:.2f}", f"{p.exit}", f"{p.launches}", waited, f"{p.bytes_read / 1e9:.2f}"]
            for _, bandwidth in cards:
                bound, seconds = 1e3 * p.bound(bandwidth), 1e3 * p.seconds(bandwidth)
                row.append(f"{bound:.2f} ms, {seconds:.2f} ms, {bound / seconds:.0%}")
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
