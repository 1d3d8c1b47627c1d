"""The kernel against the torch decoder over the same rounded weights, at every level that this processor runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.kernels.binding import Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack, why_not
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.decoder import Decoder
from tests.kernels.references import (
    CONFIGS,
    GEMMA,
    LLAMA,
    ROWS,
    as_packed,
    buffers,
    made,
    random_weights,
    rounding,
    run,
    states,
)


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_and_head_are_those_of_the_torch_decoder(name: str, kernels: dict[str, Kernel]) -> None:
    """Layer by layer, each from the reference's own states, so that a rounding that fell otherwise does not spread."""
    config = CONFIGS[name]
    reference, x = rounding(Decoder.load(config, as_packed(random_weights(config)))), states(config)
    for level, kernel in kernels.items():
        decoder = made(kernel, config)
        keys, values = buffers(decoder)
        expected = x
        for layer in range(1, config.layers + 1):
            found = expected.clone()
            expected = reference.run_layer(layer, expected[None])[0]
            decoder.run_layers(layer, layer, found, 0, len(found), keys, values)
            error = (found - expected).norm(dim=1) / expected.norm(dim=1)
            assert error.median() < 1e-5, (level, layer)
            # Now and then a value lies between two steps, and another order of sums takes the other one.
            assert error.max() < 1e-2, (level, layer)
        wanted = reference.logits(expected)
        logits = decoder.logits(expected)
        assert logits.shape == wanted.shape
        assert (logits - wanted).norm() / wanted.norm() < 0.01, level  # 8 bits here too
        decoder.embed_into(embedded := torch.empty(2, config.width), 0, [3, 5])
        rounded = {name: w.bfloat16().float() for name, w in random_weights(config).items()}
        assert torch.equal(embedded, Decoder.load(config, rounded).embed_tokens(torch.tensor([3, 5])))


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
def test_a_row_is_the_same_to_the_bit_however_work_is_cut(
    name: str, cuts: Mapping[int, int], kernels: dict[str, Kernel]
) -> None:
    config = CONFIGS[name]
    for kernel in kernels.values():
        decoder = made(kernel, config)
        whole, parts = run(decoder, states(config)), run(decoder, states(config), cuts)
        for one, other in zip(whole, parts, strict=True):
            assert torch.equal(one, other), kernel.level
        logits = decoder.logits(whole[0])
        assert all(torch.equal(logits[i], decoder.logits(whole[0][i])) for i in (0, 63, 64, 149))


@pytest.mark.parametrize("name", CONFIGS)
def test_what_lies_where_nobody_looks_is_nothing(name: str, kernels: dict[str, Kernel]) -> None:
    """After a truncation there may be anything: numbers, or scales that are none."""
    for kernel in kernels.values():
        decoder = made(kernel, CONFIGS[name])
        clean, littered = buffers(decoder), buffers(decoder)
        for buffer in littered:
            buffer.fill_(0xFF)  # the greatest bytes, and NaN
        found = []
        for keys, values in (clean, littered):
            x = states(CONFIGS[name])
            for start, stop in ((0, 1), (1, 34), (34, 36), (36, ROWS)):
                decoder.run_layers(1, decoder.config.layers, x, start, stop, keys, values)
            found.append(x)
        assert torch.equal(*found), kernel.level


def test_propagated_keys_and_values_are_what_a_layer_makes_of_the_states(kernels: dict[str, Kernel]) -> None:
    for config, (level, kernel) in itertools.product(CONFIGS.values(), kernels.items()):
        decoder, x = made(kernel, config), states(config)
        keys, values = buffers(decoder)
        given = x.clone()
        decoder.project_kv(2, config.layers, given, 5, ROWS, keys, values, propagated=False)
        assert torch.equal(given, x), level
        assert not keys[0].any() and not values[0].any()
        for layer in range(2, config.layers + 1):
            through, (own_keys, own_values) = x.clone(), buffers(decoder)
            decoder.run_layers(layer, layer, through, 5, ROWS, own_keys, own_values)
            assert torch.equal(keys[layer - 1], own_keys[layer - 1]), level
            assert torch.equal(values[layer - 1], own_values[layer - 1]), level


def test_entries_are_made_by_what_was_learned_for_them(kernels: dict[str, Kernel]) -> None:
    """As by a decoder whose own projections of keys and values are these; a layer that has no entry, by its own."""
    torch.manual_seed(13)
    weights, x = random_weights(GEMMA), states(GEMMA)
    both, queries = 2 * GEMMA.kv_heads * GEMMA.head_width, GEMMA.heads * GEMMA.head_width
    entry = LinearAdapter(torch.randn(both, GEMMA.width) / GEMMA.width**0.5, 0.5 + torch.rand(GEMMA.width))
    qkv = weights["layers.1.qkv.weight"].clone()
    qkv[queries:] += entry.matrix * entry.gain
    same = {**weights, "layers.1.qkv.weight": qkv}
    for level, kernel in kernels.items():
        learned = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, Adapters(entries={2: entry})))
        reference = KernelDecoder(kernel, GEMMA, *pack(GEMMA, same, Adapters()))
        found, wanted = buffers(learned), buffers(reference)
        for decoder, cache in ((learned, found), (reference, wanted)):
            decoder.project_kv(2, 3, x.clone(), 5, ROWS, *cache, propagated=True)
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one, other), level
        plain = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, Adapters()))
        found, wanted = buffers(learned), buffers(plain)
        for decoder, cache in ((learned, found), (plain, wanted)):
            decoder.project_kv(2, 3, x.clone(), 5, ROWS, *cache, propagated=False)
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one, other), "nor are those that rise and go for keys and values alone"
        through = x.clone(), x.clone()
        for decoder, of in zip((learned, plain), through, strict=True):
            decoder.run_layers(1, GEMMA.layers, of, 0, ROWS, *buffers(decoder))
        assert torch.equal(*through), "positions that rise are none of its business"
        assert learned.weight_bytes == plain.weight_bytes, "no token reads them"


def test_a_prompt_whose_last_layer_is_not_run_over_all_is_the_same_to_the_bit(
    kernels: dict[str, Kernel],
) -> None:
    """Keys, values and states of who is asked at once or later, with learned entries in the bundle or without."""
    weights = random_weights(GEMMA)
    shape = 2 * GEMMA.kv_heads * GEMMA.head_width, GEMMA.width
    learned = Adapters(entries={GEMMA.layers: LinearAdapter(torch.randn(shape), torch.ones(GEMMA.width))})
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, learned))
        whole, cache = KVCache(decoder), KVCache(decoder)
        for each in (whole, cache):
            each.append([i % GEMMA.vocabulary for i in range(ROWS)])
        whole.advance(ROWS - 1, GEMMA.layers)
        cache.advance(ROWS - 1, GEMMA.layers, ROWS - 3)
        cache.advance(ROWS - 1, GEMMA.layers, 70)
        assert torch.equal(cache._keys, whole._keys), level
        assert torch.equal(cache._values, whole._values), level
        assert torch.equal(cache.states(70, ROWS), whole.states(70, ROWS)), level
        assert cache.entries == ROWS - 3


def test_models_it_does_not_serve_are_told_apart() -> None:
    assert why_not(GEMMA) is None and why_not(LLAMA) is None
    assert "family opt" in str(why_not(replace(GEMMA, family="opt")))
    assert "multiples" in str(why_not(replace(GEMMA, width=100)))
    assert "multiples" in str(why_not(replace(LLAMA, head_width=80)))  # though four of them are
