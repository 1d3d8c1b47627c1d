"""Is what the card computes right? Every family in small, against torch in float32 on the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.packing import pack
from green_code.gpu.weights import Weights
from green_code.models.adapters import Adapters
from green_code.models.config import ModelConfig
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from green_code_lab.benchmark.gpu_check.compiled import compile_apart
from green_code_lab.benchmark.gpu_check.where import Where, smaller
from green_code_lab.benchmark.gpu_shapes import SHAPES

_SPREAD = 0.08
EXACT, ROUNDED = 2e-3, 0.08
"""How far states may be from torch's, over the greatest of them: with all in float32, and with codes of 8 bits in bfloat16."""


def run(where: Where) -> list[dict[str, Any]]:
    """A row for each family.

    Raises:
        AssertionError: something is wrong, and what.
    """
    if not where.is_card:
        print(compile_apart())
    rows = []
    for name, config in SHAPES.items():
        small = smaller(config, 2, 64, 64) if not where.is_card else smaller(config, 4, 512, 4096)
        row = {"model": name, **_compared(where, small)}
        print(row, flush=True)
        assert row["float32"] < EXACT and row["int8"] < ROUNDED, row
        assert row["rows alone"] == "the same bits" or not where.is_card, row
        rows.append(row)
    return rows


def _compared(where: Where, config: ModelConfig) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(float(len(shape) == 1), _SPREAD, shape).astype(np.float32)
        for name, shape in weight_shapes(config).items()
    }
    prompt, more = (700, 8) if where.is_card else (3, 2)  # over several splits, some of them in a batch of their own
    tokens = [1 + i % (config.vocabulary - 1) for i in range(prompt + more)]
    expected = _states(Decoder.load(config, weights), tokens, prompt)
    found: dict[str, Any] = {}
    for name, bits, dtype in (("float32", 32, torch.float32), ("int8", 8, torch.bfloat16)):
        data, extras = pack(config, weights.items(), Adapters(), bits)
        machine = where.machine()
        on_device = Weights.of(config, extras, bits, np.asarray(data), str(machine.device))
        decoder = GpuDecoder(on_device, machine, dtype, block=16 if where.is_card else 64)
        found[name] = float(np.abs(_states(decoder, tokens, prompt) - expected).max() / np.abs(expected).max())
        if bits == 8:
            found["rows alone"] = _alone(decoder, tokens, prompt)
    return found


def _states(decoder: Any, tokens: list[int], prompt: int) -> np.ndarray:
    """Of the last positions at full depth, which run in a batch behind the prompt."""
    cache = KVCache(decoder)
    cache.append(tokens[:prompt])
    cache.advance(prompt - 1, decoder.config.layers, 0)
    cache.append(tokens[prompt:])
    cache.advance(len(tokens) - 1, decoder.config.layers, prompt)
    return np.array(cache.states(prompt, len(tokens)))


def _alone(decoder: GpuDecoder, tokens: list[int], prompt: int) -> str:
    """Whether rows give in a batch what they give one after another."""
    together, cache = _states(decoder, tokens, prompt), KVCache(decoder)
    cache.append(tokens[:prompt])
    cache.advance(prompt - 1, decoder.config.layers, 0)
    for token in tokens[prompt:]:
        cache.append([token])
        cache.advance(len(cache) - 1, decoder.config.layers)
    same = np.array_equal(cache.states(prompt, len(tokens)), together)
    return "the same bits" if same else "nearly the same"
