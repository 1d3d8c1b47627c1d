"""The heart: whatever the order of operations, states are those of a plain full forward."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from green_code.decoding.staircase import Staircase
from green_code.models.decoder import Decoder
from green_code.models.families import ModelConfig
from green_code.models.reading import Lens
from green_code.models.tiny import TinySource
from tests.decoding.by_hand import by_hand
from tests.models.references import ours, small_models


def tiny() -> Decoder:
    config: ModelConfig = TinySource().config
    return Decoder.load(config, dict(TinySource().tensors(None)))


DECODERS = {"tiny": tiny(), "llama": ours(small_models()["llama"]), "opt": ours(small_models()["opt"])}
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}

operation = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 79), min_size=1, max_size=12)),
    st.tuples(st.just("advance"), st.tuples(st.floats(0, 1), st.integers(1, 7), st.floats(0, 1))),
    st.tuples(st.just("truncate"), st.floats(0, 1)),
)


@torch.no_grad()
def plain_states(decoder: Decoder, tokens: list[int]) -> list[Tensor]:
    """Hidden states (N, C) at depth 0 … L by a full forward without any cache."""
    x = decoder.embed_tokens(torch.tensor([tokens]))
    states = [x[0]]
    for layer in range(1, decoder.config.layers + 1):
        x = decoder.run_layer(layer, x)
        states.append(x[0])
    return states


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, deadline=None)
@given(operations=st.lists(operation, min_size=1, max_size=14))
def test_any_order_of_operations_equals_a_full_forward(
    name: str, operations: list[tuple[str, object]]
) -> None:
    decoder = DECODERS[name]
    stairs = Staircase(decoder)
    for kind, argument in operations:
        if kind == "append":
            stairs.append(argument)  # type: ignore[arg-type]
        elif kind == "truncate":
            stairs.truncate(int(argument * len(stairs)))  # type: ignore[operator]
        elif len(stairs):
            place, depth, share = argument  # type: ignore[misc]
            position, depth = int(place * (len(stairs) - 1)), min(depth, decoder.config.layers)
            wanted = int(share * position)
            if stairs.depth(position) <= depth:
                stairs.advance(position, depth, wanted)
                assert {stairs.depth(i) >= depth for i in range(wanted, position + 1)} == {True}
        assert stairs._lengths == sorted(stairs._lengths, reverse=True)
        assert len(stairs._silent) == stairs._lengths[-1]
    if not len(stairs):
        return
    expected = plain_states(decoder, stairs.tokens)
    for position in range(len(stairs)):
        depth = stairs.depth(position)
        state = stairs.states(position, position + 1)[0]
        torch.testing.assert_close(state, expected[depth][position], **TOLERANCE)
        torch.testing.assert_close(
            decoder.logits(state), decoder.logits(expected[depth][position]), **TOLERANCE
        )


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), depth=st.integers(1, 6))
def test_work_is_counted_and_never_done_twice(lengths: list[int], depth: int) -> None:
    decoder = DECODERS["tiny"]
    stairs = Staircase(decoder)
    for length in lengths:
        stairs.append([3] * length)
        owed, before = stairs.debt(len(stairs) - 1, depth), stairs.evaluations
        stairs.advance(len(stairs) - 1, depth, len(stairs) - 1)
        assert stairs.evaluations - before == owed
    silent = sum(length - 1 for length in lengths) if depth == decoder.config.layers else 0
    assert stairs.entries == silent
    assert stairs.evaluations == len(stairs) * depth - silent == stairs.evaluations_below(len(stairs))


@pytest.mark.parametrize("prompt", [1, 251, 256, 700])
def test_behind_a_prompt_a_completion_need_not_wait_while_the_cache_moves(prompt: int) -> None:
    stairs = Staircase(DECODERS["tiny"])
    stairs.append([3] * prompt)
    held = stairs.cache_bytes
    for _ in range(128):
        stairs.append([4])
    assert stairs.cache_bytes == held


@pytest.mark.parametrize("name", DECODERS)
def test_what_the_head_says_is_of_the_positions_that_are_asked(name: str) -> None:
    decoder = copy.deepcopy(DECODERS[name])
    decoder.wear(
        {3: Lens(torch.randn(decoder.config.width, decoder.config.width), torch.ones(decoder.config.width))}
    )
    stairs = Staircase(decoder)
    stairs.append([3 + (7 * i) % 70 for i in range(12)])
    stairs.advance(11, 3)
    logits = decoder.logits(decoder.seen(plain_states(decoder, stairs.tokens)[3], 3))
    said, some = logits.argmax(-1).tolist(), torch.arange(5, 70, 8).int()
    for positions in (range(12), (5,), (2, 3, 9)):
        assert [top.token for top in stairs.look(positions, 3)] == [said[i] for i in positions]
    for position in range(12):
        assert stairs.best(position, 3, some) == some[int(logits[position, some].argmax())]


@pytest.mark.parametrize("name", DECODERS)
def test_the_last_layer_is_run_over_wanted_positions_alone(name: str) -> None:
    """Its keys and values are those of full depth for all; who is asked after all is run through it then.

    Projections that were learned for settled positions are none of theirs.
    """
    decoder = copy.deepcopy(DECODERS[name])
    c = decoder.config
    learned = Lens(torch.randn(2 * c.kv_heads * c.head_width, c.width), torch.ones(c.width))
    decoder.enter_by({c.layers: learned})
    layers, tokens = c.layers, [3 + (7 * i) % 70 for i in range(12)]
    whole, stairs = Staircase(decoder), Staircase(decoder)
    for each in (whole, stairs):
        each.append(tokens)
    whole.advance(11, layers)
    stairs.advance(11, layers, 9)
    assert [stairs.depth(i) for i in range(12)] == [layers - 1] * 9 + [layers] * 3
    assert (stairs.entries, stairs.evaluations) == (9, 12 * layers - 9)
    for kept, expected in ((stairs._keys, whole._keys), (stairs._values, whole._values)):
        torch.testing.assert_close(kept, expected, **TOLERANCE)
    stairs.truncate(7)
    state = stairs.advance(6, layers, 6)
    torch.testing.assert_close(state, whole.state(6), **TOLERANCE)
    assert stairs.evaluations == 12 * layers - 8
    stairs.advance(4, layers)
    torch.testing.assert_close(stairs.states(0, 5), whole.states(0, 5), **TOLERANCE)
    assert [stairs.depth(i) for i in range(7)] == [layers] * 5 + [layers - 1, layers]


def test_an_interruption_where_the_last_layer_is_not_for_all_loses_nothing() -> None:
    """Wherever it comes: before keys and values alone, between these and what is run, and when some are asked after all."""
    decoder = DECODERS["tiny"]
    tokens = list(range(20))
    expected = plain_states(decoder, tokens)[6]
    for pieces in range(10):
        stairs = Staircase(decoder)
        stairs.append(tokens)
        for asked in (15, 3):
            calls = iter(range(pieces))

            def interrupt() -> None:
                if next(calls, None) is None:  # noqa: B023
                    raise KeyboardInterrupt

            stairs.interrupt = interrupt
            with contextlib.suppress(KeyboardInterrupt):
                stairs.advance(19, 6, asked)
            assert len(stairs._silent) == stairs._lengths[-1]
            stairs.interrupt = lambda: None
            stairs.advance(19, 6, asked)
            torch.testing.assert_close(stairs.states(asked, 20), expected[asked:], **TOLERANCE)
        assert [stairs.depth(i) for i in range(20)] == [5] * 3 + [6] * 17


def test_interruption_leaves_a_valid_staircase() -> None:
    decoder = DECODERS["tiny"]
    stairs = Staircase(decoder)
    stairs.append(list(range(20)))
    calls = iter(range(3))

    def interrupt() -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    stairs.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        stairs.advance(19, 6)
    assert stairs.depth(19) == 3
    stairs.interrupt = lambda: None
    torch.testing.assert_close(
        stairs.advance(19, 6), plain_states(decoder, stairs.tokens)[6][19], **TOLERANCE
    )


def test_long_prompts_go_through_in_parts() -> None:
    decoder = DECODERS["tiny"]
    stairs = Staircase(decoder)
    tokens = [i % 80 for i in range(1100)]
    stairs.append(tokens)
    torch.testing.assert_close(stairs.advance(1099, 6), plain_states(decoder, tokens)[6][1099], **TOLERANCE)


def test_misuse_is_refused() -> None:
    stairs = Staircase(DECODERS["tiny"])
    stairs.append([1, 2, 3])
    stairs.advance(1, 4)
    with pytest.raises(ValueError, match="depth 4"):
        stairs.advance(1, 2)
    with pytest.raises(ValueError, match="position 3 of 3"):
        stairs.advance(3, 1)
    with pytest.raises(ValueError, match="from 2 on are wanted, and none up to 1"):
        stairs.advance(1, 6, 2)
    with pytest.raises(ValueError, match="positions, but the model has"):
        stairs.append([1] * 5000)


# --- the plateau ------------------------------------------------------------------------------------------

PLATEAU = 3


def settled(decoder: Decoder, count: int, settle: int) -> Staircase:
    """`count` positions, of which `settle` have settled, the last at full depth."""
    stairs = Staircase(decoder, plateau=PLATEAU)
    stairs.append([3 + (7 * i) % 70 for i in range(count)])
    stairs.settle(settle)
    stairs.advance(count - 1, decoder.config.layers)
    return stairs


@pytest.mark.parametrize("name", DECODERS)
def test_what_settles_is_propagated_and_what_does_not_is_computed(name: str) -> None:
    decoder = DECODERS[name]
    layers = decoder.config.layers
    stairs = settled(decoder, 14, 9)
    stairs.append([5, 9, 11, 4])
    stairs.settle(17)  # three more, after five that are above the plateau
    stairs.advance(17, layers)
    depths = [PLATEAU] * 9 + [layers] * 5 + [PLATEAU] * 3 + [layers]
    states, keys, values = by_hand(decoder, stairs.tokens, depths)
    assert [stairs.depth(i) for i in range(18)] == depths
    torch.testing.assert_close(stairs.states(0, 18), states, **TOLERANCE)
    torch.testing.assert_close(stairs._keys[:, :, :18].transpose(1, 2), keys, **TOLERANCE)
    torch.testing.assert_close(stairs._values[:, :, :18].transpose(1, 2), values, **TOLERANCE)
    assert stairs.entries == (layers - PLATEAU) * 12
    assert stairs.evaluations == sum(depths) == stairs.evaluations_below(18)


@pytest.mark.parametrize("name", DECODERS)
def test_learned_entries_stand_for_those_that_settled(name: str) -> None:
    """A layer that has none makes its own; positions that rise make theirs as ever."""
    decoder = copy.deepcopy(DECODERS[name])
    c, layers = decoder.config, decoder.config.layers
    generator = torch.Generator().manual_seed(4)
    shape = 2 * c.kv_heads * c.head_width, c.width
    learned = {
        layer: Lens(torch.randn(shape, generator=generator) / 8, torch.rand(c.width, generator=generator))
        for layer in range(PLATEAU + 2, layers + 1)
    }
    decoder.enter_by(learned)
    stairs = settled(decoder, 14, 9)
    depths = [PLATEAU] * 9 + [layers] * 5
    first = c.heads * c.head_width
    projections = {
        layer: decoder.layers[layer - 1].qkv.weight[first:] + entry.matrix * entry.gain
        for layer, entry in learned.items()
    }
    states, keys, values = by_hand(decoder, stairs.tokens, depths, projections)
    torch.testing.assert_close(stairs.states(0, 14), states, **TOLERANCE)
    torch.testing.assert_close(stairs._keys[:, :, :14].transpose(1, 2), keys, **TOLERANCE)
    torch.testing.assert_close(stairs._values[:, :, :14].transpose(1, 2), values, **TOLERANCE)
    assert not set(decoder.state_dict()) - set(DECODERS[name].state_dict()), "they are no weights"
    decoder.enter_by({})
    states = by_hand(decoder, stairs.tokens, depths)[0]
    torch.testing.assert_close(settled(decoder, 14, 9).states(0, 14), states, **TOLERANCE)


@settings(max_examples=40, deadline=None)
@given(
    operations=st.lists(
        st.one_of(operation, st.tuples(st.just("settle"), st.floats(0, 1))), min_size=1, max_size=14
    )
)
def test_settling_counts_its_work_and_leaves_no_trace(operations: list[tuple[str, object]]) -> None:
    """Debts are what is then run, and behind `unsettle` everything is exact again."""
    decoder = DECODERS["tiny"]
    stairs = Staircase(decoder, plateau=PLATEAU)
    for kind, argument in operations:
        if kind == "append":
            stairs.append(argument)  # type: ignore[arg-type]
        elif kind == "truncate":
            stairs.truncate(int(argument * len(stairs)))  # type: ignore[operator]
        elif kind == "settle":
            stairs.settle(int(argument * len(stairs)))  # type: ignore[operator]
        elif len(stairs):
            depth = min(argument[1], 6)  # type: ignore[index]
            position = len(stairs) - 1
            if stairs.depth(position) <= depth and not (
                depth > PLATEAU and any(first <= position < end for first, end in stairs._settled)
            ):
                owed, before = stairs.debt(position, depth), stairs.evaluations
                stairs.advance(position, depth, position)
                assert stairs.evaluations - before == owed
        assert stairs._lengths == sorted(stairs._lengths, reverse=True)
        assert len(stairs._silent) == stairs._lengths[-1]
    standing = sum(stairs.depth(position) for position in range(len(stairs)))
    assert stairs.evaluations_below(len(stairs)) == standing
    stairs.unsettle()
    if not len(stairs):
        return
    stairs.advance(len(stairs) - 1, 6)
    expected = plain_states(decoder, stairs.tokens)
    for position in range(len(stairs)):
        depth = stairs.depth(position)
        torch.testing.assert_close(stairs.state(position), expected[depth][position], **TOLERANCE)


@pytest.mark.parametrize("back", [2, 7, 9, 11, 14])
def test_where_the_text_is_cut_what_is_before_the_cursor_rises_again(back: int) -> None:
    """As of new: unless some of what remains has been above the plateau, which keeps its states."""
    decoder = DECODERS["tiny"]
    stairs = settled(decoder, 18, 12)
    stairs.truncate(18 - back)
    stairs.append([5])
    stairs.settle(len(stairs) - 4)
    state = stairs.advance(len(stairs) - 1, 6)
    first = 12 if back < 6 else len(stairs) - 4
    depths = [PLATEAU] * first + [6] * (len(stairs) - first)
    assert [stairs.depth(i) for i in range(len(stairs))] == depths
    torch.testing.assert_close(state, by_hand(decoder, stairs.tokens, depths)[0][-1], **TOLERANCE)


def test_unsettled_positions_rise_from_where_they_stand() -> None:
    """Only those are run anew that have been above the plateau, behind others that had settled."""
    stairs = settled(DECODERS["tiny"], 14, 9)
    stairs.unsettle()
    assert len(stairs) == 9
    before = stairs.evaluations
    stairs.advance(8, 6)
    assert stairs.evaluations - before == 9 * (6 - PLATEAU)


def test_an_interruption_between_settled_and_rising_positions_loses_nothing() -> None:
    decoder = DECODERS["tiny"]
    for layers in range(12):
        stairs = Staircase(decoder, plateau=PLATEAU)
        stairs.append([3 + (7 * i) % 70 for i in range(14)])
        stairs.settle(9)
        calls = iter(range(layers))

        def interrupt() -> None:
            if next(calls, None) is None:  # noqa: B023
                raise KeyboardInterrupt

        stairs.interrupt = interrupt
        try:
            stairs.advance(13, 6)
        except KeyboardInterrupt:
            stairs.interrupt = lambda: None
        stairs.settle(10)
        state = stairs.advance(13, 6)
        settled_now = sum(end - start for start, end in stairs._settled)
        expected = by_hand(decoder, stairs.tokens, [PLATEAU] * settled_now + [6] * (14 - settled_now))[0]
        torch.testing.assert_close(state, expected[-1], **TOLERANCE)


def test_what_has_settled_does_not_rise() -> None:
    stairs = settled(DECODERS["tiny"], 8, 5)
    with pytest.raises(ValueError, match="position 4 has settled at depth 3, below 4"):
        stairs.advance(4, 4)


def test_a_plateau_is_a_layer() -> None:
    for plateau in (0, 7):
        with pytest.raises(ValueError, match="layers 1 to 6"):
            Staircase(DECODERS["tiny"], plateau=plateau)


def test_without_a_plateau_nothing_settles() -> None:
    stairs = Staircase(DECODERS["tiny"])
    stairs.append(list(range(9)))
    stairs.settle(8)
    state = stairs.advance(8, 6)
    assert stairs.entries == 0
    torch.testing.assert_close(state, plain_states(DECODERS["tiny"], stairs.tokens)[6][8], **TOLERANCE)
