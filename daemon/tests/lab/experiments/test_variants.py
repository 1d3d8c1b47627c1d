"""Each variant differs from the default in one thing, on the same budget; the paper's rule against its own weights."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from green_code.models.families import ModelConfig
from green_code.models.tiny import TinySource
from green_code.problems import Problem
from green_code_lab.experiments.variants import (
    Weights,
    around_global_layers,
    equal_budget,
    grouped,
    paper_weighting,
    starting_point,
    variants,
)
from green_code_lab.lite.recipe import default_recipe, paper_recipe, paper_weights

TINY = TinySource().config
GEMMA: ModelConfig = replace(
    TINY,
    layers=18,
    windows=tuple(None if layer % 6 == 0 else 8 for layer in range(1, 19)),
    ropes=TINY.ropes * 3,
)
"""Its global layers are those of Gemma 3 270M."""
DEFAULT = replace(default_recipe(18, 98_304), seed=5, guard_tokens=98_304)
LEARNED: Weights = tuple((depth, weight * 1.1) for depth, weight in DEFAULT.weights)
DIFFERS = {
    "cross-entropy": {"distillation"},
    "half-distillation": {"distillation"},
    "distillation": {"distillation"},
    "teacher-last": {"teacher"},
    "teacher-untouched": {"teacher"},
    "one-a-step": {"exit_groups"},
    "two-a-step": {"exit_groups"},
    "all-a-step": {"exit_groups"},
    "last-layer-3": {"weights"},
    "paper-weights": {"weights"},
    "learned-weights": {"weights"},
    "global-exits": {"exit_groups", "weights"},  # weights are by exit
    "paper-exits": {"exit_groups", "weights"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"distillation": 1.0, "teacher": "untouched"},
        {"exit_groups": tuple((exit,) for exit in DEFAULT.exits)},
    ],
    ids=str,
)
def test_each_differs_in_one_thing_from_the_default_whatever_it_is(changes: dict[str, object]) -> None:
    default = replace(DEFAULT, **changes)
    found, left_out = variants(GEMMA, default, LEARNED)
    assert (found[0].name, found[0].recipe) == ("default", default)
    assert not left_out
    assert len({variant.recipe for variant in found}) == len(found)
    for variant in found[1:]:
        assert (variant.recipe.tokens, variant.recipe.seed, variant.recipe.guard_tokens) == (
            98_304,
            5,
            98_304,
        )
        if variant.name != "paper-recipe":
            changed = {
                f.name for f in fields(default) if getattr(variant.recipe, f.name) != getattr(default, f.name)
            }
            assert changed == DIFFERS[variant.name], variant.name
    alone = {"half-distillation", "cross-entropy", "distillation", "teacher-last", "teacher-untouched"}
    names = {variant.name for variant in found}
    assert len(names & alone) == 3, "the default's own share and teacher are left out"
    assert len(names & {"one-a-step", "two-a-step", "all-a-step"}) == 2


def test_the_papers_recipe_is_the_papers() -> None:
    named = {variant.name: variant.recipe for variant in variants(GEMMA, DEFAULT, LEARNED)[0]}
    paper = paper_recipe(18, 98_304)
    assert named["paper-recipe"] == replace(paper, seed=5, guard_tokens=98_304)
    assert (named["paper-exits"].exit_groups, named["paper-exits"].weights) == (
        paper.exit_groups,
        paper.weights,
    )


def test_learned_weights_that_are_the_defaults_are_no_variant() -> None:
    names = [variant.name for variant in variants(GEMMA, DEFAULT, DEFAULT.weights)[0]]
    assert "learned-weights" not in names


def test_exits_around_layers_that_see_everything() -> None:
    assert around_global_layers(GEMMA) == (6, 7, 12, 13)
    assert around_global_layers(replace(GEMMA, windows=(None,) * 18)) == ()
    named = {variant.name: variant.recipe for variant in variants(GEMMA, DEFAULT, LEARNED)[0]}
    assert named["global-exits"].exit_groups == ((6, 7), (12, 13))


def test_what_a_model_has_no_place_for_is_said() -> None:
    flat = replace(TINY, windows=(None,) * 6)
    found, left_out = variants(
        flat, starting_point(6, 2048, 0), ((2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0), (6, 1.0))
    )
    assert not {"paper-recipe", "paper-exits", "global-exits"} & {variant.name for variant in found}
    assert ["global layers" in left_out[0], "none in a model of 6 layers" in left_out[1]] == [True, True]


def test_the_papers_rule_at_the_papers_exits_gives_the_papers_weights() -> None:
    found = paper_weighting(paper_recipe(28, 1), 28)
    assert [depth for depth, _ in found] == [depth for depth, _ in paper_weights(28)]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in paper_weights(28)])


def test_the_papers_shares_hold_however_exits_are_drawn() -> None:
    size = {exit: len(group) for group in DEFAULT.exit_groups for exit in group}
    weights = paper_weighting(DEFAULT, 18)
    assert sum(weight for _, weight in weights) == pytest.approx(sum(weight for _, weight in DEFAULT.weights))
    expected = {depth: weight / size.get(depth, 1) for depth, weight in weights}
    total = sum(expected.values())
    assert expected[18] / total == pytest.approx(0.1)
    assert sum(w for d, w in expected.items() if d <= 9) / total == pytest.approx(0.7)


def test_groups_keep_the_order_and_are_nearly_equal() -> None:
    assert grouped((1, 2, 3, 4, 5), 2) == ((1, 2), (3, 4, 5))
    assert grouped((1, 2), 5) == ((1,), (2,))


def test_a_budget_is_whole_steps_of_every_recipe() -> None:
    assert equal_budget(18, 100_000) == 98_304
    assert equal_budget(6, 5_000) == 4_096  # the paper's recipe has no exits there
    with pytest.raises(Problem, match="give 32768"):
        equal_budget(18, 30_000)
