"""The heart: whatever the order of operations, states are those of a plain full forward."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from green_code.decoding.kv_cache import KVCache
from green_code.models.adapters import LinearAdapter
from tests.decoding.references import DECODERS, TOLERANCE, operation, plain_states


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, deadline=None)
@given(operations=st.lists(operation, min_size=1, max_size=14))
def test_any_order_of_operations_equals_a_full_forward(
    name: str, operations: list[tuple[str, object]]
) -> None:
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
            wanted = int(share * position)
            if cache.depth(position) <= depth:
                cache.advance(position, depth, wanted)
                assert {cache.depth(i) >= depth for i in range(wanted, position + 1)} == {True}
        assert cache._lengths == sorted(cache._lengths, reverse=True)
        assert len(cache._kv_only) == cache._lengths[-1]
    if not len(cache):
        return
    expected = plain_states(decoder, cache.tokens)
    for position in range(len(cache)):
        depth = cache.depth(position)
        state = cache.states(position, position + 1)[0]
        torch.testing.assert_close(state, expected[depth][position], **TOLERANCE)
        torch.testing.assert_close(
            decoder.logits(state), decoder.logits(expected[depth][position]), **TOLERANCE
        )


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), depth=st.integers(1, 6))
def test_work_is_counted_and_never_done_twice(lengths: list[int], depth: int) -> None:
    decoder = DECODERS["tiny"]
    cache = KVCache(decoder)
    for length in lengths:
        cache.append([3] * length)
        owed, before = cache.pending(len(cache) - 1, depth), cache.work.layer_positions
        cache.advance(len(cache) - 1, depth, len(cache) - 1)
        assert cache.work.layer_positions - before == owed
    kv_only = sum(length - 1 for length in lengths) if depth == decoder.config.layers else 0
    assert cache.work.kv_only == kv_only
    assert (
        cache.work.layer_positions == len(cache) * depth - kv_only == cache.layer_positions_before(len(cache))
    )


@pytest.mark.parametrize("prompt", [1, 251, 256, 700])
def test_behind_a_prompt_a_completion_need_not_wait_while_the_cache_moves(prompt: int) -> None:
    cache = KVCache(DECODERS["tiny"])
    cache.append([3] * prompt)
    held = cache.cache_bytes
    for _ in range(128):
        cache.append([4])
    assert cache.cache_bytes == held


@pytest.mark.parametrize("name", DECODERS)
def test_what_the_head_says_is_of_the_positions_that_are_asked(name: str) -> None:
    decoder = copy.deepcopy(DECODERS[name])
    decoder.set_lenses(
        {
            3: LinearAdapter(
                torch.randn(decoder.config.width, decoder.config.width), torch.ones(decoder.config.width)
            )
        }
    )
    cache = KVCache(decoder)
    cache.append([3 + (7 * i) % 70 for i in range(12)])
    cache.advance(11, 3)
    logits = decoder.logits(decoder.apply_lens(plain_states(decoder, cache.tokens)[3], 3))
    said, some = logits.argmax(-1).tolist(), torch.arange(5, 70, 8).int()
    for positions in (range(12), (5,), (2, 3, 9)):
        assert [top.token for top in cache.top_tokens(positions, 3)] == [said[i] for i in positions]
    for position in range(12):
        assert cache.top_token_among(position, 3, some) == some[int(logits[position, some].argmax())]


@pytest.mark.parametrize("name", DECODERS)
def test_the_last_layer_is_run_over_wanted_positions_alone(name: str) -> None:
    """Its keys and values are those of full depth for all; who is asked after all is run through it then.

    Projections that were learned for settled positions are none of theirs.
    """
    decoder = copy.deepcopy(DECODERS[name])
    c = decoder.config
    learned = LinearAdapter(torch.randn(2 * c.kv_heads * c.head_width, c.width), torch.ones(c.width))
    decoder.set_kv_projections({c.layers: learned})
    layers, tokens = c.layers, [3 + (7 * i) % 70 for i in range(12)]
    whole, cache = KVCache(decoder), KVCache(decoder)
    for each in (whole, cache):
        each.append(tokens)
    whole.advance(11, layers)
    cache.advance(11, layers, 9)
    assert [cache.depth(i) for i in range(12)] == [layers - 1] * 9 + [layers] * 3
    assert (cache.work.kv_only, cache.work.layer_positions) == (9, 12 * layers - 9)
    for kept, expected in ((cache._keys, whole._keys), (cache._values, whole._values)):
        torch.testing.assert_close(kept, expected, **TOLERANCE)
    cache.truncate(7)
    state = cache.advance(6, layers, 6)
    torch.testing.assert_close(state, whole.state(6), **TOLERANCE)
    assert cache.work.layer_positions == 12 * layers - 8
    cache.advance(4, layers)
    torch.testing.assert_close(cache.states(0, 5), whole.states(0, 5), **TOLERANCE)
    assert [cache.depth(i) for i in range(7)] == [layers] * 5 + [layers - 1, layers]


def test_an_interruption_where_the_last_layer_is_not_for_all_loses_nothing() -> None:
    """Wherever it comes: before keys and values alone, between these and what is run, and when some are asked after all."""
    decoder = DECODERS["tiny"]
    tokens = list(range(20))
    expected = plain_states(decoder, tokens)[6]
    for pieces in range(10):
        cache = KVCache(decoder)
        cache.append(tokens)
        for asked in (15, 3):
            calls = iter(range(pieces))

            def interrupt() -> None:
                if next(calls, None) is None:  # noqa: B023
                    raise KeyboardInterrupt

            cache.interrupt = interrupt
            with contextlib.suppress(KeyboardInterrupt):
                cache.advance(19, 6, asked)
            assert len(cache._kv_only) == cache._lengths[-1]
            cache.interrupt = lambda: None
            cache.advance(19, 6, asked)
            torch.testing.assert_close(cache.states(asked, 20), expected[asked:], **TOLERANCE)
        assert [cache.depth(i) for i in range(20)] == [5] * 3 + [6] * 17


def test_interruption_leaves_a_valid_staircase() -> None:
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
    torch.testing.assert_close(cache.advance(19, 6), plain_states(decoder, cache.tokens)[6][19], **TOLERANCE)


def test_long_prompts_go_through_in_parts() -> None:
    decoder = DECODERS["tiny"]
    cache = KVCache(decoder)
    tokens = [i % 80 for i in range(1100)]
    cache.append(tokens)
    torch.testing.assert_close(cache.advance(1099, 6), plain_states(decoder, tokens)[6][1099], **TOLERANCE)


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
