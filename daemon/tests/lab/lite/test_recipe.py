"""Recipes against the paper's published numbers (arXiv 2501.11006, its repository's distribute_weight.py)."""

from __future__ import annotations

import pytest

from green_code_lab.lite.recipe import lite_recipe, paper_exits, paper_recipe, paper_weights

PUBLISHED = {
    28: [
        *(.14939, .13445, .12101, .10891, .09802, .08822),
        *(.07380, .06642, .05978),
        .1,
    ],
    32: [
        *(.13418, .12076, .10868, .09781, .08803, .07923, .07131),
        *(.07380, .06642, .05978),
        .1,
    ],
}  # fmt: skip
BLOCKS = {28: [3, 5, 7, 9, 11, 13, 17, 21, 25, 27], 32: [3, 5, 7, 9, 11, 13, 15, 19, 23, 27, 31]}


@pytest.mark.parametrize("layers", [28, 32])
def test_the_papers_weights(layers: int) -> None:
    depths, weights = zip(*paper_weights(layers), strict=True)
    assert [depth - 1 for depth in depths] == BLOCKS[layers]
    assert weights == pytest.approx(PUBLISHED[layers], abs=6e-6)
    assert sum(weights) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("layers", range(2, 81))
def test_every_depth_of_model_has_recipes(layers: int) -> None:
    assert sum(weight for _, weight in paper_weights(layers)) == pytest.approx(1, abs=1e-9)
    for recipe in (lite_recipe(layers, 10**6), paper_recipe(layers, 10**6)):
        assert all(recipe.exit_groups)
        assert all(0 < exit < layers for exit in recipe.exits)
        assert {depth for depth, _ in recipe.weights} == {*recipe.exits, layers}


def test_the_paper_trains_all_exits_in_every_step() -> None:
    recipe = paper_recipe(28, 10**7)
    assert all(len(group) == 1 for group in recipe.exit_groups)
    assert recipe.exits == tuple(exit for half in paper_exits(28) for exit in half)
    assert {recipe.rate(step) for step in range(recipe.steps)} == {1e-5}
    assert (recipe.batch, recipe.sequence, recipe.weight_decay, recipe.distillation) == (128, 256, 0.01, 0)


def test_the_rate_warms_up_and_falls() -> None:
    recipe = lite_recipe(18, 1_000_000)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    peak = rates.index(max(rates))
    assert recipe.warm_up_steps - 1 <= peak <= recipe.warm_up_steps
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(recipe.learning_rate * recipe.final_rate_share, rel=0.01)
