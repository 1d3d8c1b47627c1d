"""The kernel against the torch decoder over the same rounded weights, at every level that this processor runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.kernels.binding import Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.config import ModelConfig
from green_code.models.hugging_face_config import config_from_hugging_face
from green_code.models.torch_decoder import Decoder
from tests.kernels.references import (
    CONFIGS,
    GEMMA,
    ROWS,
    decoder_for,
    dequantised,
    holding,
    random_weights,
    rounding,
    run,
    states,
)
from tests.models.references import FAMILY_MODELS, family_model


def config_of(name: str) -> ModelConfig:
    return CONFIGS[name] if name in CONFIGS else config_from_hugging_face(family_model(name).config.to_dict())


@pytest.mark.parametrize(
    "name, bits", [*((name, 8) for name in (*CONFIGS, *FAMILY_MODELS)), *((name, 4) for name in CONFIGS)]
)
def test_layers_and_head_are_those_of_the_torch_decoder(name: str, bits: int, kernels: dict[str, Kernel]) -> None:
    """Layer by layer, each from the reference's states, so that a value rounded the other way does not spread."""
    config = config_of(name)
    reference = rounding(Decoder.load(config, dequantised(config, random_weights(config), bits)))
    for level, kernel in kernels.items():
        decoder = decoder_for(kernel, config, bits)
        expected = torch.from_numpy(states(config))
        for layer in range(1, config.layers + 1):
            buffers = holding(decoder, expected.numpy())
            expected = reference.run_layer(layer, expected.double()[None])[0].float()
            decoder.run_layers(layer, layer, buffers, 0, ROWS)
            found = torch.from_numpy(buffers.states[:ROWS])
            error = (found - expected).norm(dim=1) / expected.norm(dim=1)
            assert error.median() < 1e-5, (level, layer)
            # A value between two steps may round the other way after another order of sums.
            assert error.max() < 1e-2, (level, layer)
            assert not buffers.padded[:, config.width :].any()
        wanted = reference.logits(expected.double()).float()
        logits = torch.from_numpy(decoder.logits(expected.numpy()))
        assert logits.shape == wanted.shape
        assert (logits - wanted).norm() / wanted.norm() < 0.01, level  # 8 bits here too
        decoder.embed_into(buffers, 7, [3, 5])
        rounded = {name: torch.from_numpy(w).bfloat16().float() for name, w in random_weights(config).items()}
        embedded = Decoder.load(config, rounded).embed_tokens(torch.tensor([3, 5]), 7)
        assert np.array_equal(decoder.states(buffers, 7, 9), embedded)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "cuts",
    [
        {1: 2, 2: 1, 3: 2},
        {64: 1, 65: 2},
        {5: 2, 70: 3, 100: 1, 149: 2},
        {16: 2, 31: 1, 33: 1, 36: 2},
        {4: 1, 9: 2, 15: 1, 22: 2, 30: 1, 39: 2},
    ],
)
def test_a_row_is_bit_identical_however_work_is_split(
    name: str, bits: int, cuts: Mapping[int, int], kernels: dict[str, Kernel]
) -> None:
    config = CONFIGS[name]
    for kernel in kernels.values():
        decoder = decoder_for(kernel, config, bits)
        whole, parts = run(decoder, states(config)), run(decoder, states(config), cuts)
        for one, other in zip(whole, parts, strict=True):
            assert np.array_equal(one, other), kernel.level
        logits = decoder.logits(whole[0])
        assert all(np.array_equal(logits[i], decoder.logits(whole[0][i])) for i in (0, 63, 64, 149))


@pytest.mark.parametrize("name", CONFIGS)
def test_stale_cache_changes_nothing(name: str, kernels: dict[str, Kernel]) -> None:
    """After a truncation it may hold anything, NaN among the scales."""
    for kernel in kernels.values():
        decoder = decoder_for(kernel, CONFIGS[name])
        clean, littered = (holding(decoder, states(CONFIGS[name])) for _ in range(2))
        for part in (littered.keys, littered.values):
            part[:] = 0xFF  # the greatest bytes, and NaN
        for buffers in (clean, littered):
            for start, stop in ((0, 1), (1, 34), (34, 36), (36, ROWS)):
                decoder.run_layers(1, decoder.config.layers, buffers, start, stop)
        assert np.array_equal(clean.states, littered.states), kernel.level


def test_without_a_projection_propagated_kv_are_those_of_the_layer(kernels: dict[str, Kernel]) -> None:
    for config, (level, kernel) in itertools.product(CONFIGS.values(), kernels.items()):
        decoder, x = decoder_for(kernel, config), states(config)
        given = holding(decoder, x)
        decoder.project_kv(2, config.layers, given, 5, ROWS, propagated=False)
        assert np.array_equal(given.states[:ROWS], x), level
        assert not given.keys[0].any() and not given.values[0].any()
        for layer in range(2, config.layers + 1):
            through = holding(decoder, x)
            decoder.run_layers(layer, layer, through, 5, ROWS)
            assert np.array_equal(given.keys[layer - 1], through.keys[layer - 1]), level
            assert np.array_equal(given.values[layer - 1], through.values[layer - 1]), level


def test_propagated_kv_are_those_of_the_learned_projections(kernels: dict[str, Kernel]) -> None:
    """As in a decoder that has them in qkv; a layer without a KV projection uses its own."""
    torch.manual_seed(13)
    weights, x = random_weights(GEMMA), states(GEMMA)
    both, queries = 2 * GEMMA.kv_heads * GEMMA.head_width, GEMMA.heads * GEMMA.head_width
    adapter = LinearAdapter(
        *(part.numpy() for part in (torch.randn(both, GEMMA.width) / GEMMA.width**0.5, 0.5 + torch.rand(GEMMA.width)))
    )
    qkv = weights["layers.1.qkv.weight"].copy()
    qkv[queries:] += adapter.matrix * adapter.gain
    same = {**weights, "layers.1.qkv.weight": qkv}
    for level, kernel in kernels.items():
        learned = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights.items(), Adapters(kv_projections={2: adapter})))
        reference = KernelDecoder(kernel, GEMMA, *pack(GEMMA, same.items(), Adapters()))
        found, wanted = holding(learned, x), holding(reference, x)
        for decoder, buffers in ((learned, found), (reference, wanted)):
            decoder.project_kv(2, 3, buffers, 5, ROWS, propagated=True)
        assert np.array_equal(found.keys, wanted.keys) and np.array_equal(found.values, wanted.values), level
        plain = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights.items(), Adapters()))
        found, wanted = holding(learned, x), holding(plain, x)
        for decoder, buffers in ((learned, found), (plain, wanted)):
            decoder.project_kv(2, 3, buffers, 5, ROWS, propagated=False)
        assert np.array_equal(found.keys, wanted.keys), "exact keys use no KV projection"
        assert np.array_equal(found.values, wanted.values), "exact values use no KV projection"
        for decoder, buffers in ((learned, found), (plain, wanted)):
            decoder.run_layers(1, GEMMA.layers, buffers, 0, ROWS)
        assert np.array_equal(found.states, wanted.states), "exact layers use no KV projection"
        assert learned.weight_bytes == plain.weight_bytes, "no token reads KV projections"


def test_a_prompt_whose_last_layer_runs_over_few_positions_is_bit_identical(kernels: dict[str, Kernel]) -> None:
    """Keys, values, and the states of positions whose token is requested, at once or later."""
    weights = random_weights(GEMMA)
    shape = 2 * GEMMA.kv_heads * GEMMA.head_width, GEMMA.width
    learned = Adapters(
        kv_projections={GEMMA.layers: LinearAdapter(torch.randn(shape).numpy(), np.ones(GEMMA.width, np.float32))}
    )
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights.items(), learned))
        whole, cache = KVCache(decoder), KVCache(decoder)
        for each in (whole, cache):
            each.append([i % GEMMA.vocabulary for i in range(ROWS)])
        whole.advance(ROWS - 1, GEMMA.layers)
        cache.advance(ROWS - 1, GEMMA.layers, ROWS - 3)
        cache.advance(ROWS - 1, GEMMA.layers, 70)
        assert np.array_equal(cache.buffers.keys, whole.buffers.keys), level  # type: ignore[attr-defined]
        assert np.array_equal(cache.buffers.values, whole.buffers.values), level  # type: ignore[attr-defined]
        assert np.array_equal(cache.states(70, ROWS), whole.states(70, ROWS)), level
        assert cache.work.kv_only == ROWS - 3
