"""Propagated KV: positions that stop at the prefill exit, and the keys and values that deeper layers get of their states."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from green_code.decoding.propagation import PropagatingKVCache
from green_code.models.adapters import LinearAdapter
from green_code.models.torch_decoder import Decoder
from tests.decoding.reference_forward import reference_forward
from tests.decoding.references import DECODERS, assert_close, operation, prompt_tokens, states_at_all_depths
from tests.examples import examples

PREFILL_EXIT = 3


def new_cache(decoder: Decoder, count: int, propagate_before: int) -> PropagatingKVCache:
    """A cache of `count` positions, the first `propagate_before` of them propagated, the others at full depth."""
    cache = PropagatingKVCache(decoder, PREFILL_EXIT)
    cache.append(prompt_tokens(count))
    cache.propagate_before(propagate_before)
    cache.advance(count - 1, decoder.config.layers)
    return cache


@pytest.mark.parametrize("name", DECODERS)
def test_propagated_and_computed_positions_equal_the_reference(name: str) -> None:
    decoder = DECODERS[name]
    layers = decoder.config.layers
    cache = new_cache(decoder, 14, 9)
    cache.append([5, 9, 11, 4])
    cache.propagate_before(17)  # three more, behind five at full depth
    cache.advance(17, layers)
    depths = [PREFILL_EXIT] * 9 + [layers] * 5 + [PREFILL_EXIT] * 3 + [layers]
    states, keys, values = reference_forward(decoder, cache.tokens, depths)
    assert [cache.depth(i) for i in range(18)] == depths
    assert_close(cache.states(0, 18), states)
    assert_close(cache.buffers.keys[:, :, :18].transpose(1, 2), keys)
    assert_close(cache.buffers.values[:, :, :18].transpose(1, 2), values)
    assert cache.work.kv_only == (layers - PREFILL_EXIT) * 12
    assert cache.work.layer_positions == sum(depths) == cache.layer_positions_before(18)


@pytest.mark.parametrize("name", DECODERS)
def test_learned_kv_projections_apply_to_propagated_positions(name: str) -> None:
    """A layer without one uses its own; so do positions that are computed."""
    decoder = copy.deepcopy(DECODERS[name])
    c, layers = decoder.config, decoder.config.layers
    generator = torch.Generator().manual_seed(4)
    shape = 2 * c.kv_heads * c.head_width, c.width
    learned = {
        layer: LinearAdapter(
            (torch.randn(shape, generator=generator) / 8).numpy(), torch.rand(c.width, generator=generator).numpy()
        )
        for layer in range(PREFILL_EXIT + 2, layers + 1)
    }
    decoder.set_kv_projections(learned)
    cache = new_cache(decoder, 14, 9)
    depths = [PREFILL_EXIT] * 9 + [layers] * 5
    first = c.heads * c.head_width
    projections = {
        layer: decoder.layers[layer - 1].qkv.weight[first:] + torch.from_numpy(adapter.matrix * adapter.gain)
        for layer, adapter in learned.items()
    }
    states, keys, values = reference_forward(decoder, cache.tokens, depths, projections)
    assert_close(cache.states(0, 14), states)
    assert_close(cache.buffers.keys[:, :, :14].transpose(1, 2), keys)
    assert_close(cache.buffers.values[:, :, :14].transpose(1, 2), values)
    assert not set(decoder.state_dict()) - set(DECODERS[name].state_dict()), "KV projections are no weights"
    decoder.set_kv_projections({})
    states = reference_forward(decoder, cache.tokens, depths)[0]
    assert_close(new_cache(decoder, 14, 9).states(0, 14), states)


@examples(40)
@given(
    operations=st.lists(st.one_of(operation, st.tuples(st.just("propagate"), st.floats(0, 1))), min_size=1, max_size=14)
)
def test_work_is_counted_and_dropping_propagated_kv_makes_the_cache_exact(operations: list[tuple[str, object]]) -> None:
    """`pending` is what `advance` then runs; after `drop_propagated` every state is that of a full forward pass."""
    decoder = DECODERS["tiny"]
    cache = PropagatingKVCache(decoder, PREFILL_EXIT)
    for kind, argument in operations:
        if kind == "append":
            cache.append(argument)  # type: ignore[arg-type]
        elif kind == "truncate":
            cache.truncate(int(argument * len(cache)))  # type: ignore[operator]
        elif kind == "propagate":
            cache.propagate_before(int(argument * len(cache)))  # type: ignore[operator]
        elif len(cache):
            depth = min(argument[1], 6)  # type: ignore[index]
            position = len(cache) - 1
            if cache.depth(position) <= depth and not (
                depth > PREFILL_EXIT and any(first <= position < end for first, end in cache._propagated)
            ):
                pending, before = cache.pending(position, depth), cache.work.layer_positions
                cache.advance(position, depth, position)
                assert cache.work.layer_positions - before == pending
        assert cache._lengths == sorted(cache._lengths, reverse=True)
        assert len(cache._kv_only) == cache._lengths[-1]
    depths = sum(cache.depth(position) for position in range(len(cache)))
    assert cache.layer_positions_before(len(cache)) == depths
    cache.drop_propagated()
    if not len(cache):
        return
    cache.advance(len(cache) - 1, 6)
    expected = states_at_all_depths(decoder, cache.tokens)
    for position in range(len(cache)):
        depth = cache.depth(position)
        assert_close(cache.state(position), expected[depth][position])


@pytest.mark.parametrize("removed", [2, 7, 9, 11, 14])
def test_after_a_truncation_the_last_positions_are_exact_again(removed: int) -> None:
    """As in a new cache, unless positions at full depth remain: these stay, and so do the propagated ones before them."""
    decoder = DECODERS["tiny"]
    cache = new_cache(decoder, 18, 12)
    cache.truncate(18 - removed)
    cache.append([5])
    cache.propagate_before(len(cache) - 4)
    cache.advance(len(cache) - 1, 6)
    first = 12 if removed < 6 else len(cache) - 4
    depths = [PREFILL_EXIT] * first + [6] * (len(cache) - first)
    assert [cache.depth(i) for i in range(len(cache))] == depths
    assert_close(cache.state(len(cache) - 1), reference_forward(decoder, cache.tokens, depths)[0][-1])


def test_dropped_positions_advance_from_the_prefill_exit() -> None:
    """Positions behind propagated ones are removed, as their states depend on propagated KV."""
    cache = new_cache(DECODERS["tiny"], 14, 9)
    cache.drop_propagated()
    assert len(cache) == 9
    before = cache.work.layer_positions
    cache.advance(8, 6)
    assert cache.work.layer_positions - before == 9 * (6 - PREFILL_EXIT)


def test_an_interruption_between_propagated_and_computed_positions_loses_nothing() -> None:
    decoder = DECODERS["tiny"]
    for calls_allowed in range(12):
        cache = PropagatingKVCache(decoder, PREFILL_EXIT)
        cache.append(prompt_tokens(14))
        cache.propagate_before(9)
        calls = iter(range(calls_allowed))

        def interrupt() -> None:
            if next(calls, None) is None:  # noqa: B023
                raise KeyboardInterrupt

        cache.interrupt = interrupt
        try:
            cache.advance(13, 6)
        except KeyboardInterrupt:
            cache.interrupt = lambda: None
        cache.propagate_before(10)
        cache.advance(13, 6)
        count = sum(end - start for start, end in cache._propagated)
        depths = [PREFILL_EXIT] * count + [6] * (14 - count)
        expected = reference_forward(decoder, cache.tokens, depths)[0]
        assert_close(cache.state(13), expected[-1])


def test_a_propagated_position_cannot_advance() -> None:
    cache = new_cache(DECODERS["tiny"], 8, 5)
    with pytest.raises(ValueError, match="position 4 is propagated from depth 3, below 4"):
        cache.advance(4, 4)


def test_a_prefill_exit_that_is_no_layer_is_refused() -> None:
    for prefill_exit in (0, 7):
        with pytest.raises(ValueError, match="layers 1 to 6"):
            PropagatingKVCache(DECODERS["tiny"], prefill_exit)


def test_without_a_prefill_exit_nothing_is_propagated() -> None:
    cache = PropagatingKVCache(DECODERS["tiny"], None)
    cache.append(list(range(9)))
    cache.propagate_before(8)
    cache.advance(8, 6)
    assert cache.work.kv_only == 0
    assert_close(cache.state(8), states_at_all_depths(DECODERS["tiny"], cache.tokens)[6][8])
