"""What settles stays on the plateau, and layers above it get keys and values that are made of its states there."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from green_code.decoding.staircase import Staircase
from green_code.models.decoder import Decoder
from green_code.models.reading import Lens
from tests.decoding.by_hand import by_hand
from tests.decoding.references import DECODERS, TOLERANCE, operation, plain_states

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
