"""The simulation of batching against closed forms, and the cost model against figures by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.models.rows import ROWS
from green_code_lab.experiments import scaling
from green_code_lab.experiments.continuous_batching import Schedule, Served, StepCosts, simulate
from green_code_lab.experiments.cost_model import CARDS, OnCard, fitted
from green_code_lab.lite.plan import PLANNED

LAYERS, EXITS = 6, (2, 4)
SCHEDULES: tuple[Schedule, ...] = ("together", "grouped")
traces = st.lists(st.lists(st.sampled_from((2, 4, 6)), min_size=1, max_size=8), min_size=1, max_size=6)


@given(traces, st.sampled_from(SCHEDULES))
def test_one_slot_reads_each_tokens_layers(found: Sequence[Sequence[int]], schedule: Schedule) -> None:
    """Alone in the batch: a token reads the layers up to its exit, and runs the positions that wait there."""
    served = simulate(found, LAYERS, EXITS, 1, schedule)
    positions = 0
    for trace in found:
        reached = [0] * (LAYERS + 1)  # by layer, the tokens that have run there
        for token, depth in enumerate(trace, 1):
            for layer in range(1, depth + 1):
                positions += token - reached[layer]
                reached[layer] = token
    assert served.reads == sum(map(sum, found))
    assert served.positions == positions
    assert served.tokens == sum(map(len, found))
    heads = {2: 1, 4: 2, 6: 3}
    assert served.heads == served.head_positions == sum(heads[depth] for trace in found for depth in trace)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("depth", "exits", "heads"), [(6, (), 1), (2, EXITS, 1), (4, EXITS, 2)])
def test_where_all_tokens_leave_alike_all_slots_share_each_layer(
    schedule: Schedule, depth: int, exits: Sequence[int], heads: int
) -> None:
    """No exits, or all at one: B slots, T tokens each, in T steps of `depth` layers."""
    slots, tokens = 3, 5
    served = simulate([[depth] * tokens] * slots, LAYERS, exits, slots, schedule)
    passes = tokens * depth
    assert served == Served(
        slots * tokens, served.steps, passes, slots * passes, tokens * heads, slots * tokens * heads
    )
    assert served.cost(StepCosts(2.0, 0.5, 3.0, 0.25)) == passes * (2 + 0.5 * slots) + tokens * heads * (
        3 + 0.25 * slots
    )


@given(traces, st.integers(1, 4))
def test_grouped_reads_no_more_than_one_slot_and_together_no_more_than_full_depth(
    found: Sequence[Sequence[int]], slots: int
) -> None:
    alone, full = (
        simulate(each, LAYERS, EXITS, count, "together")
        for each, count in ((found, 1), ([[LAYERS] * len(t) for t in found], slots))
    )
    for schedule in SCHEDULES:
        served = simulate(found, LAYERS, EXITS, slots, schedule)
        assert served.tokens == alone.tokens and served.positions == alone.positions
        assert served.reads <= alone.reads
    assert simulate(found, LAYERS, EXITS, slots, "together").reads <= full.reads


def test_two_slots_of_different_depths_by_hand() -> None:
    """Together: the deep slot's layers are read each step. Grouped: it waits until the other has ended."""
    found = [[2, 2], [6, 6]]
    together, grouped = (simulate(found, LAYERS, EXITS, 2, schedule) for schedule in SCHEDULES)
    assert (together.steps, together.reads, together.positions) == (2, 12, 16)
    # Spans run: 1 for both, then the deepest of equally many: 3 and 5 of the second, and so on.
    assert (grouped.reads, grouped.positions) == (12, 16)


def test_rates_are_those_of_two_models_by_hand() -> None:
    one, other = ({"layers": 10, "bytes": 100.0, "token": 1.2}, {"layers": 20, "bytes": 400.0, "token": 4.4})
    shape = ROWS["smollm2-135m"].shape
    prompt = {"format": "int8", "prompt": 6.0, "shape": shape, "positions": 8}
    rates = fitted(one, other, [prompt])
    assert (rates.byte, rates.layer) == (pytest.approx(0.01), pytest.approx(0.02))
    assert rates.token(10, 100.0) == pytest.approx(1.2)
    assert rates.prompt(shape, 16, "int8") == pytest.approx(12.0)


def test_a_3b_model_on_a_card_by_hand() -> None:
    """28 layers of 100.7 million weights in two bytes, over 80 % of 3.35 TB/s."""
    on = OnCard(PLANNED["llama-3.2-3b"], CARDS[0], 16, 0.8)
    layer = 3072 * 128 * 2 * (24 + 8) + 3 * 3072 * 8192
    assert on.token(heads=0.0) == pytest.approx(28 * 2 * layer / (0.8 * 3.35e12))
    assert on.split(2, 1e-5) == pytest.approx(on.token() / 2 + 56 * (1e-5 + 3072 * 2 / 450e9))
    assert not OnCard(PLANNED["llama-3.1-70b"], CARDS[0], 16, 0.8).fits


def test_predictions_of_measured_models_are_near() -> None:
    """Of the models that nothing was fitted to: each token and prompt of the committed page within two fifths."""
    found = scaling._tokens(json.loads((scaling.MEASURED / "models.json").read_text("utf-8")), 10.0)
    free = [row for row in found if row["basis"] == "no"]
    assert len(free) >= 10
    assert all(abs(row["error"]) < 0.4 and abs(row["prompt_error"]) < 0.4 for row in free)
