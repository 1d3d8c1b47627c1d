"""The exact KV cache: after any sequence of operations, states are those of a full forward pass."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from green_code.decoding.kv_cache import KVCache
from green_code.models.adapters import LinearAdapter
from tests.decoding.references import DECODERS, assert_close, operation, prompt_tokens, states_at_all_depths
from tests.examples import examples


@pytest.mark.parametrize("name", DECODERS)
@examples(40)
@given(operations=st.lists(operation, min_size=1, max_size=14))
def test_any_order_of_operations_equals_a_full_forward(name: str, operations: list[tuple[str, object]]) -> None:
    decoder = DECODERS[name]
    cache = KVCache(decoder)
    for kind, argument in operations:
        if kind == "append":
            cache.append(argument)  # type: ignore[arg-type]
        elif kind == "truncate":
            cache.truncate(int(argument * len(cache)))  # type: ignore[operator]
        elif len(cache):
            place, depth, share = argument  # type: ignore[misc]
            position, depth = int(place * (len(cache) - 1)), min(depth, decoder.config.layers)
            first_output = int(share * position)
            if cache.depth(position) <= depth:
                cache.advance(position, depth, first_output)
                assert {cache.depth(i) >= depth for i in range(first_output, position + 1)} == {True}
        assert cache._lengths == sorted(cache._lengths, reverse=True)
        assert len(cache._kv_only) == cache._lengths[-1]
    if not len(cache):
        return
    expected = states_at_all_depths(decoder, cache.tokens)
    for position in range(len(cache)):
        depth = cache.depth(position)
        state = cache.states(position, position + 1)[0]
        assert_close(state, expected[depth][position])
        assert_close(decoder.logits(torch.from_numpy(state)), decoder.logits(expected[depth][position]))


@examples(30)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), depth=st.integers(1, 6))
def test_work_is_counted_and_never_done_twice(lengths: list[int], depth: int) -> None:
    decoder = DECODERS["tiny"]
    cache = KVCache(decoder)
    for length in lengths:
        cache.append([3] * length)
        pending, before = cache.pending(len(cache) - 1, depth), cache.work.layer_positions
        cache.advance(len(cache) - 1, depth, len(cache) - 1)
        assert cache.work.layer_positions - before == pending
    kv_only = sum(length - 1 for length in lengths) if depth == decoder.config.layers else 0
    assert cache.work.kv_only == kv_only
    assert cache.work.layer_positions == len(cache) * depth - kv_only == cache.layer_positions_before(len(cache))


@pytest.mark.parametrize("prompt", [1, 251, 256, 700])
def test_a_completion_behind_a_prompt_does_not_reallocate_the_cache(prompt: int) -> None:
    cache = KVCache(DECODERS["tiny"])
    cache.append([3] * prompt)
    cache_bytes = cache.cache_bytes
    for _ in range(128):
        cache.append([4])
    assert cache.cache_bytes == cache_bytes


@pytest.mark.parametrize("name", DECODERS)
def test_top_tokens_are_those_of_the_given_positions(name: str) -> None:
    decoder = copy.deepcopy(DECODERS[name])
    width = decoder.config.width
    decoder.set_lenses({3: LinearAdapter(torch.randn(width, width).numpy(), np.ones(width, np.float32))})
    cache = KVCache(decoder)
    cache.append(prompt_tokens(12))
    cache.advance(11, 3)
    logits = decoder.logits(decoder.apply_lens(states_at_all_depths(decoder, cache.tokens)[3], 3))
    expected, some = logits.argmax(-1).tolist(), np.arange(5, 70, 8, dtype=np.int32)
    for positions in (range(12), (5,), (2, 3, 9)):
        assert [top.token for top in cache.top_tokens(positions, 3)] == [expected[i] for i in positions]
    for position in range(12):
        assert cache.top_token_among(position, 3, some).token == some[int(logits[position, some].argmax())]


@pytest.mark.parametrize("name", DECODERS)
def test_the_last_layer_runs_over_output_positions_only(name: str) -> None:
    """It computes keys and values of all positions, and runs the others only when their output is needed later.

    Learned KV projections are for propagated positions; an exact cache does not use them.
    """
    decoder = copy.deepcopy(DECODERS[name])
    c = decoder.config
    learned = LinearAdapter(torch.randn(2 * c.kv_heads * c.head_width, c.width).numpy(), np.ones(c.width, np.float32))
    decoder.set_kv_projections({c.layers: learned})
    layers, tokens = c.layers, prompt_tokens(12)
    full, cache = KVCache(decoder), KVCache(decoder)
    for each in (full, cache):
        each.append(tokens)
    full.advance(11, layers)
    cache.advance(11, layers, 9)
    assert [cache.depth(i) for i in range(12)] == [layers - 1] * 9 + [layers] * 3
    assert (cache.work.kv_only, cache.work.layer_positions) == (9, 12 * layers - 9)
    for got, expected in ((cache.buffers.keys, full.buffers.keys), (cache.buffers.values, full.buffers.values)):
        assert_close(got, expected)
    cache.truncate(7)
    cache.advance(6, layers, 6)
    assert_close(cache.state(6), full.state(6))
    assert cache.work.layer_positions == 12 * layers - 8
    cache.advance(4, layers)
    assert_close(cache.states(0, 5), full.states(0, 5))
    assert [cache.depth(i) for i in range(7)] == [layers] * 5 + [layers - 1, layers]


def test_an_interruption_around_the_last_layer_loses_nothing() -> None:
    """Before its keys and values, between these and its outputs, and when more outputs are needed later."""
    decoder = DECODERS["tiny"]
    tokens = list(range(20))
    expected = states_at_all_depths(decoder, tokens)[6]
    for calls_allowed in range(10):
        cache = KVCache(decoder)
        cache.append(tokens)
        for first_output in (15, 3):
            calls = iter(range(calls_allowed))

            def interrupt() -> None:
                if next(calls, None) is None:  # noqa: B023
                    raise KeyboardInterrupt

            cache.interrupt = interrupt
            with contextlib.suppress(KeyboardInterrupt):
                cache.advance(19, 6, first_output)
            assert len(cache._kv_only) == cache._lengths[-1]
            cache.interrupt = lambda: None
            cache.advance(19, 6, first_output)
            assert_close(cache.states(first_output, 20), expected[first_output:])
        assert [cache.depth(i) for i in range(20)] == [5] * 3 + [6] * 17


def test_an_interruption_leaves_a_valid_cache() -> None:
    decoder = DECODERS["tiny"]
    cache = KVCache(decoder)
    cache.append(list(range(20)))
    calls = iter(range(3))

    def interrupt() -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    cache.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        cache.advance(19, 6)
    assert cache.depth(19) == 3
    cache.interrupt = lambda: None
    cache.advance(19, 6)
    assert_close(cache.state(19), states_at_all_depths(decoder, cache.tokens)[6][19])


def test_long_prompts_run_in_parts() -> None:
    decoder = DECODERS["tiny"]
    cache = KVCache(decoder)
    tokens = [i % 80 for i in range(1100)]
    cache.append(tokens)
    cache.advance(1099, 6)
    assert_close(cache.state(1099), states_at_all_depths(decoder, tokens)[6][1099])


def test_misuse_is_refused() -> None:
    cache = KVCache(DECODERS["tiny"])
    cache.append([1, 2, 3])
    cache.advance(1, 4)
    with pytest.raises(ValueError, match="depth 4"):
        cache.advance(1, 2)
    with pytest.raises(ValueError, match="position 3 of 3"):
        cache.advance(3, 1)
    with pytest.raises(ValueError, match="outputs from position 2 on, but none up to 1"):
        cache.advance(1, 6, 2)
    with pytest.raises(ValueError, match="positions, but the model has"):
        cache.append([1] * 5000)
