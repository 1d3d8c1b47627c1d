"""What settles stays on the prefill exit, and layers above it get keys and values that are made of its states there."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from green_code.decoding.propagation import PropagatingKVCache
from green_code.models.adapters import LinearAdapter
from green_code.models.decoder import Decoder
from tests.decoding.by_hand import by_hand
from tests.decoding.references import DECODERS, TOLERANCE, operation, plain_states

PREFILL_EXIT = 3


def propagated(decoder: Decoder, count: int, propagate_before: int) -> PropagatingKVCache:
    """`count` positions, of which `propagate_before` have settled, the last at full depth."""
    cache = PropagatingKVCache(decoder, PREFILL_EXIT)
    cache.append([3 + (7 * i) % 70 for i in range(count)])
    cache.propagate_before(propagate_before)
    cache.advance(count - 1, decoder.config.layers)
    return cache


@pytest.mark.parametrize("name", DECODERS)
def test_what_settles_is_propagated_and_what_does_not_is_computed(name: str) -> None:
    decoder = DECODERS[name]
    layers = decoder.config.layers
    cache = propagated(decoder, 14, 9)
    cache.append([5, 9, 11, 4])
    cache.propagate_before(17)  # three more, after five that are above the prefill exit
    cache.advance(17, layers)
    depths = [PREFILL_EXIT] * 9 + [layers] * 5 + [PREFILL_EXIT] * 3 + [layers]
    states, keys, values = by_hand(decoder, cache.tokens, depths)
    assert [cache.depth(i) for i in range(18)] == depths
    torch.testing.assert_close(cache.states(0, 18), states, **TOLERANCE)
    torch.testing.assert_close(cache._keys[:, :, :18].transpose(1, 2), keys, **TOLERANCE)
    torch.testing.assert_close(cache._values[:, :, :18].transpose(1, 2), values, **TOLERANCE)
    assert cache.work.kv_only == (layers - PREFILL_EXIT) * 12
    assert cache.work.layer_positions == sum(depths) == cache.layer_positions_before(18)


@pytest.mark.parametrize("name", DECODERS)
def test_learned_entries_stand_for_those_that_settled(name: str) -> None:
    """A layer that has none makes its own; positions that rise make theirs as ever."""
    decoder = copy.deepcopy(DECODERS[name])
    c, layers = decoder.config, decoder.config.layers
    generator = torch.Generator().manual_seed(4)
    shape = 2 * c.kv_heads * c.head_width, c.width
    learned = {
        layer: LinearAdapter(
            torch.randn(shape, generator=generator) / 8, torch.rand(c.width, generator=generator)
        )
        for layer in range(PREFILL_EXIT + 2, layers + 1)
    }
    decoder.set_kv_projections(learned)
    cache = propagated(decoder, 14, 9)
    depths = [PREFILL_EXIT] * 9 + [layers] * 5
    first = c.heads * c.head_width
    projections = {
        layer: decoder.layers[layer - 1].qkv.weight[first:] + entry.matrix * entry.gain
        for layer, entry in learned.items()
    }
    states, keys, values = by_hand(decoder, cache.tokens, depths, projections)
    torch.testing.assert_close(cache.states(0, 14), states, **TOLERANCE)
    torch.testing.assert_close(cache._keys[:, :, :14].transpose(1, 2), keys, **TOLERANCE)
    torch.testing.assert_close(cache._values[:, :, :14].transpose(1, 2), values, **TOLERANCE)
    assert not set(decoder.state_dict()) - set(DECODERS[name].state_dict()), "they are no weights"
    decoder.set_kv_projections({})
    states = by_hand(decoder, cache.tokens, depths)[0]
    torch.testing.assert_close(propagated(decoder, 14, 9).states(0, 14), states, **TOLERANCE)


@settings(max_examples=40, deadline=None)
@given(
    operations=st.lists(
        st.one_of(operation, st.tuples(st.just("settle"), st.floats(0, 1))), min_size=1, max_size=14
    )
)
def test_settling_counts_its_work_and_leaves_no_trace(operations: list[tuple[str, object]]) -> None:
    """Debts are what is then run, and behind `drop_propagated` everything is exact again."""
    decoder = DECODERS["tiny"]
    cache = PropagatingKVCache(decoder, PREFILL_EXIT)
    for kind, argument in operations:
        if kind == "append":
            cache.append(argument)  # type: ignore[arg-type]
        elif kind == "truncate":
            cache.truncate(int(argument * len(cache)))  # type: ignore[operator]
        elif kind == "settle":
            cache.propagate_before(int(argument * len(cache)))  # type: ignore[operator]
        elif len(cache):
            depth = min(argument[1], 6)  # type: ignore[index]
            position = len(cache) - 1
            if cache.depth(position) <= depth and not (
                depth > PREFILL_EXIT and any(first <= position < end for first, end in cache._propagated)
            ):
                owed, before = cache.pending(position, depth), cache.work.layer_positions
                cache.advance(position, depth, position)
                assert cache.work.layer_positions - before == owed
        assert cache._lengths == sorted(cache._lengths, reverse=True)
        assert len(cache._kv_only) == cache._lengths[-1]
    standing = sum(cache.depth(position) for position in range(len(cache)))
    assert cache.layer_positions_before(len(cache)) == standing
    cache.drop_propagated()
    if not len(cache):
        return
    cache.advance(len(cache) - 1, 6)
    expected = plain_states(decoder, cache.tokens)
    for position in range(len(cache)):
        depth = cache.depth(position)
        torch.testing.assert_close(cache.state(position), expected[depth][position], **TOLERANCE)


@pytest.mark.parametrize("back", [2, 7, 9, 11, 14])
def test_where_the_text_is_cut_what_is_before_the_cursor_rises_again(back: int) -> None:
    """As of new: unless some of what remains has been above the prefill exit, which keeps its states."""
    decoder = DECODERS["tiny"]
    cache = propagated(decoder, 18, 12)
    cache.truncate(18 - back)
    cache.append([5])
    cache.propagate_before(len(cache) - 4)
    state = cache.advance(len(cache) - 1, 6)
    first = 12 if back < 6 else len(cache) - 4
    depths = [PREFILL_EXIT] * first + [6] * (len(cache) - first)
    assert [cache.depth(i) for i in range(len(cache))] == depths
    torch.testing.assert_close(state, by_hand(decoder, cache.tokens, depths)[0][-1], **TOLERANCE)


def test_unsettled_positions_rise_from_where_they_stand() -> None:
    """Only those are run anew that have been above the prefill exit, behind others that had settled."""
    cache = propagated(DECODERS["tiny"], 14, 9)
    cache.drop_propagated()
    assert len(cache) == 9
    before = cache.work.layer_positions
    cache.advance(8, 6)
    assert cache.work.layer_positions - before == 9 * (6 - PREFILL_EXIT)


def test_an_interruption_between_settled_and_rising_positions_loses_nothing() -> None:
    decoder = DECODERS["tiny"]
    for layers in range(12):
        cache = PropagatingKVCache(decoder, PREFILL_EXIT)
        cache.append([3 + (7 * i) % 70 for i in range(14)])
        cache.propagate_before(9)
        calls = iter(range(layers))

        def interrupt() -> None:
            if next(calls, None) is None:  # noqa: B023
                raise KeyboardInterrupt

        cache.interrupt = interrupt
        try:
            cache.advance(13, 6)
        except KeyboardInterrupt:
            cache.interrupt = lambda: None
        cache.propagate_before(10)
        state = cache.advance(13, 6)
        settled_now = sum(end - start for start, end in cache._propagated)
        expected = by_hand(decoder, cache.tokens, [PREFILL_EXIT] * settled_now + [6] * (14 - settled_now))[0]
        torch.testing.assert_close(state, expected[-1], **TOLERANCE)


def test_what_has_settled_does_not_rise() -> None:
    cache = propagated(DECODERS["tiny"], 8, 5)
    with pytest.raises(ValueError, match="position 4 is propagated from depth 3, below 4"):
        cache.advance(4, 4)


def test_a_plateau_is_a_layer() -> None:
    for prefill_exit in (0, 7):
        with pytest.raises(ValueError, match="layers 1 to 6"):
            PropagatingKVCache(DECODERS["tiny"], prefill_exit)


def test_without_a_plateau_nothing_settles() -> None:
    cache = PropagatingKVCache(DECODERS["tiny"], None)
    cache.append(list(range(9)))
    cache.propagate_before(8)
    state = cache.advance(8, 6)
    assert cache.work.kv_only == 0
    torch.testing.assert_close(state, plain_states(DECODERS["tiny"], cache.tokens)[6][8], **TOLERANCE)
