"""Is what the card computes right? Every family in small, against torch in float32 on the processor: states, and what is read from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from green_code.decoding.exit_classifier import ExitClassifier, parameter_shapes
from green_code.decoding.exit_policies import ExitView, agent_for
from green_code.decoding.kv_cache import KVCache
from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.packing import HEAD as PREVIEW
from green_code.gpu.packing import pack
from green_code.gpu.weights import Weights
from green_code.kernels.packing import head_weight
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.bfloat16 import narrow, widen
from green_code.models.config import ModelConfig
from green_code.models.shapes import HEAD, weight_shapes
from green_code.models.svd_head import principal_directions
from green_code.models.torch_decoder import Decoder
from green_code_lab.benchmark.gpu_check.compiled import compile_apart
from green_code_lab.benchmark.gpu_check.where import Where, smaller
from green_code_lab.benchmark.gpu_shapes import SHAPES

_SPREAD = 0.08
EXACT, ROUNDED = 2e-3, 0.08
"""How far states may be from torch's, over the greatest of them: with all in float32, and with codes of 8 or 4 bits in bfloat16. Codes
of 4 bits are compared with torch on their own values, which are far from the weights."""
READ = 0.05
"""How far log-odds, margins and the agent's probability may be from torch's, with all in float32."""
_LENS, _KV = "lens", "KV projections"


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
        assert row["float32"] < EXACT and row["int8"] < ROUNDED and row["int4"] < ROUNDED, row
        assert all(row[name] < EXACT for name in (_LENS, _KV) if name in row), row
        assert all(row[name] < READ for name in ("head", "SVD head", "agent") if name in row), row
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
    for name, bits, dtype in (("float32", 32, torch.float32), ("int8", 8, torch.bfloat16), ("int4", 4, torch.bfloat16)):
        decoder = _decoder(where, config, weights, Adapters(), bits, dtype)
        right = expected if bits != 4 else _states(dequantised(decoder, weights), tokens, prompt)
        found[name] = _difference(_states(decoder, tokens, prompt), right)
        if bits == 8:
            found["rows alone"] = _alone(decoder, tokens, prompt)
        if bits == 32:
            found |= _read(decoder, Decoder.load(config, weights), tokens, "head")
    if config.row.norm == "rms":  # without RMS norms there are neither lenses nor an SVD head
        adapters, plain = _adapters(config, weights), Decoder.load(config, weights)
        plain.set_lenses(adapters.lenses)
        plain.set_kv_projections(adapters.kv_projections)
        found |= _read(_decoder(where, config, weights, adapters, 32, torch.float32), plain, tokens, "SVD head")
    return found


def _decoder(
    where: Where,
    config: ModelConfig,
    weights: Mapping[str, np.ndarray],
    adapters: Adapters,
    bits: int,
    dtype: torch.dtype,
) -> GpuDecoder:
    data, extras = pack(config, weights.items(), adapters, bits)
    machine = where.machine()
    on_device = Weights.of(config, extras, bits, np.asarray(data), str(machine.device))
    return GpuDecoder(on_device, machine, dtype, block=16 if where.is_card else 64)


def dequantised(decoder: GpuDecoder, weights: Mapping[str, np.ndarray]) -> Decoder:
    """The torch decoder with the values of a GPU decoder's codes, and a head of its own, whose codes are others than the embedding's."""
    own = decoder.weights

    def values() -> Iterator[tuple[str, np.ndarray]]:
        for name, weight in weights.items():
            matrix = own.matrices.get(name.removesuffix(".weight"))
            if weight.ndim == 1 or own.bits == 32:
                yield name, weight
            elif matrix is not None:
                yield name, matrix.values(slice(None))[:, : weight.shape[1]].cpu().numpy()
            else:
                yield name, widen(narrow(weight))
        yield HEAD, own.matrices[PREVIEW].values(slice(None))[:, : decoder.config.width].cpu().numpy()

    return Decoder.load(replace(decoder.config, tied_head=False), dict(values()))


def _adapters(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> Adapters:
    """A lens, KV projections of the last layer, and an SVD head of all directions, whose preview is right but for rounding."""
    generator, width, kv = np.random.default_rng(5), config.width, 2 * config.kv_heads * config.head_width

    def linear(outputs: int) -> LinearAdapter:
        return LinearAdapter(
            generator.normal(0, 0.05, (outputs, width)).astype(np.float32),
            generator.uniform(0.5, 2, width).astype(np.float32),
        )

    head, normed = weights[head_weight(config)], generator.normal(0, 1, (4 * width, width))
    directions = principal_directions(lambda: iter([head]), normed.T @ normed, width)
    return Adapters(directions.astype(np.float32), {config.layers // 2: linear(width)}, {config.layers: linear(kv)})


def _read(decoder: GpuDecoder, plain: Decoder, tokens: list[int], head: str) -> dict[str, float]:
    """Differences of what is read from states in the middle: top tokens by a head, the agent's decision and, where `plain` has them, the
    lens's states and those behind the KV projections."""
    depth, last, found = plain.config.layers // 2, plain.config.layers, dict[str, float]()
    caches = KVCache(decoder), KVCache(plain)
    for cache in caches:
        cache.append(tokens[:4])
        cache.advance(3, depth)
    one, other = caches
    classifier = ExitClassifier((depth,), _drawn(parameter_shapes(plain.config.width, 1)))
    agent = agent_for(classifier, decoder)
    view, right = (ExitView(cache, 3, depth, cache.pending(3, last)) for cache in caches)
    decided, expected = agent.should_exit(view), classifier.exit_probability(right.state, right.pending, right.top, 0)
    assert view.top.exit_probability is not None, "the card has not decided"
    found["agent"] = abs(view.top.exit_probability - expected)
    assert decided == (expected > agent.threshold) or abs(expected - agent.threshold) < READ, (decided, expected)
    tops = [(view.top, right.top), *zip(*(cache.top_tokens([2, 3], depth) for cache in caches), strict=True)]
    found[head] = max(max(abs(a.log_odds - b.log_odds), abs(a.margin - b.margin)) for a, b in tops)
    assert all(a.token == b.token or b.margin < READ for a, b in tops), tops
    if head != "head":
        lensed = (cache.decoder.lensed_states(cache.buffers, 2, 4, depth) for cache in caches)
        found[_LENS] = _difference(*lensed)
        for cache in caches:
            cache.advance(3, last - 1)
            cache.decoder.project_kv(last, last, cache.buffers, 0, 4, propagated=True)
            cache.decoder.run_layers(last, last, cache.buffers, 3, 4)
        found[_KV] = _difference(one.state(3), other.state(3))
    return found


def _drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    return {name: generator.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def _difference(found: np.ndarray, right: np.ndarray) -> float:
    """Over the greatest value."""
    return float(np.abs(found - right).max() / np.abs(right).max())


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
