"""The recipes that the experiment `recipes` compares: each differs from the default in the one thing that it is named for.

Nothing of the default's settings is known here; what it already does is left out of the list.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from green_code.models.families import ModelConfig
from green_code.problems import Problem
from green_code_lab.lite.recipe import (
    PAPER_BUDGETS,
    Recipe,
    Teacher,
    decayed,
    default_recipe,
    paper_recipe,
    recipe_named,
)

Weights = tuple[tuple[int, float], ...]
"""(depth, w) of each exit and of the last layer, as in a recipe."""
DEFAULT, PAPER, LEARNED = "default", "paper-weights", "learned-weights"
_HEAVIER = 3.0
_TEACHERS: Mapping[Teacher, str] = {
    "last": "the last layer teaches",
    "untouched": "the untouched model teaches",
}


@dataclass(frozen=True)
class Variant:
    """`name` is that of its folder; `label` says in the table and the plot what differs from the default."""

    name: str
    label: str
    recipe: Recipe


def starting_point(layers: int, tokens: int, seed: int) -> Recipe:
    """The default recipe over the whole steps in `tokens`, checked on held-out projects at its end alone.

    Raises:
        Problem: a model of so few layers has no place for an exit.
    """
    recipe = recipe_named("default", layers, tokens)
    whole = tokens - tokens % recipe.tokens_per_step
    return replace(recipe, tokens=whole, guard_tokens=whole, seed=seed)


def equal_budget(layers: int, tokens: int) -> int:
    """The most tokens, up to `tokens`, that are whole steps of every recipe.

    Raises:
        Problem: that is none.
    """
    recipes = [recipe(layers, tokens) for recipe in (default_recipe, paper_recipe)]
    unit = math.lcm(*(recipe.tokens_per_step for recipe in recipes if recipe.exits))
    if tokens < unit:
        raise Problem(
            "bad_request",
            f"--tokens {tokens} is less than a step of every recipe; give {unit} or a multiple of it.",
        )
    return tokens - tokens % unit


def variants(config: ModelConfig, default: Recipe, learned: Weights) -> tuple[list[Variant], list[str]]:
    """The default first, and then what differs from it; and for what is left out, why.

    Args:
        default: of `starting_point`; its tokens, of `equal_budget`, are those of all. learned: of weight_search.py.
    """
    layers, paper = config.layers, paper_recipe(config.layers, default.tokens)
    asked: list[tuple[str, str, dict[str, Any]]] = [(DEFAULT, "the default", {})]
    for share, name, label in (
        (0.0, "cross-entropy", "cross-entropy only"),
        (0.5, "half-distillation", "half distillation"),
        (1.0, "distillation", "distillation only"),
    ):
        asked.append((name, f"{label} (d = {share:g})", {"distillation": share}))
    for teacher, label in _TEACHERS.items():
        asked.append((f"teacher-{teacher}", label, {"teacher": teacher}))
    for count, name, label in ((1, "one", "one exit"), (2, "two", "two exits"), (0, "all", "all exits")):
        groups = grouped(default.exits, count or len(default.exits))
        if len(groups) != len(default.exit_groups):
            asked.append((f"{name}-a-step", f"{label} a step", {"exit_groups": groups}))
    asked += [
        ("last-layer-3", "last layer three times as heavy", {"weights": _last_times(default, layers)}),
        (PAPER, "the paper's weights", {"weights": paper_weighting(default, layers)}),
        (LEARNED, "learned weights", {"weights": learned}),
    ]
    left_out = []
    if around := around_global_layers(config):
        groups = grouped(around, len(default.exit_groups))
        weights = _evenly(default, around, layers)
        asked.append(
            ("global-exits", "exits around global layers", {"exit_groups": groups, "weights": weights})
        )
    else:
        left_out.append("exits around global layers (all of this model's layers attend alike)")
    found = [Variant(name, label, replace(default, **changes)) for name, label, changes in asked]
    if paper.exits:
        exits = replace(default, exit_groups=paper.exit_groups, weights=paper.weights)
        found.append(Variant("paper-exits", "the paper's exits and weights", exits))
        found.append(
            Variant(
                "paper-recipe",
                "the paper's recipe",
                replace(paper, guard_tokens=default.guard_tokens, seed=default.seed),
            )
        )
    else:
        left_out.append(f"the paper's recipe and its exits (it has none in a model of {layers} layers)")
    return _distinct(found), left_out


def grouped(exits: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """`exits` in order in `count` groups of nearly equal size (fewer where there are fewer exits)."""
    count = min(count, len(exits))
    ends = [len(exits) * i // count for i in range(count + 1)]
    return tuple(tuple(exits[a:b]) for a, b in itertools.pairwise(ends))


def around_global_layers(config: ModelConfig) -> tuple[int, ...]:
    """Depths right after each layer that sees every position, and one layer on, the last layer not included.

    Empty where all layers are of one kind.
    """
    whole = [layer for layer, window in enumerate(config.windows, 1) if window is None]
    if len(whole) in (0, config.layers):
        return ()
    return tuple(sorted({depth for layer in whole for depth in (layer, layer + 1) if depth < config.layers}))


def paper_weighting(default: Recipe, layers: int) -> Weights:
    """The paper's heuristic at the default's exits, summing as the default's weights.

    An exit's expected weight is the paper's: the first half's exits share 0.7 and the second half's 0.2, decaying by
    0.9 from exit to exit, and the last layer has 0.1. As one exit of a group is drawn a step, what an exit weighs
    there is that times the size of its group.
    """
    halves = ([e for e in default.exits if e <= layers // 2], [e for e in default.exits if e > layers // 2])
    size = {exit: len(group) for group in default.exit_groups for exit in group}
    weights = [
        (exit, size[exit] * weight)
        for exits, budget in zip(halves, PAPER_BUDGETS, strict=False)
        for exit, weight in decayed(exits, budget)
    ]
    return summing_as(default.weights, (*weights, (layers, PAPER_BUDGETS[-1])))


def summing_as(like: Weights, weights: Weights) -> Weights:
    """`weights` times one factor: with an equal sum, gradients are clipped alike, and only the shares differ."""
    factor = sum(weight for _, weight in like) / sum(weight for _, weight in weights)
    return tuple((depth, weight * factor) for depth, weight in weights)


def _last_times(default: Recipe, layers: int) -> Weights:
    return tuple((d, w * _HEAVIER if d == layers else w) for d, w in default.weights)


def _evenly(default: Recipe, exits: Sequence[int], layers: int) -> Weights:
    """Other exits, each with the mean weight of the default's, and the last layer with its own."""
    mean = sum(default.weight(exit) for exit in default.exits) / len(default.exits)
    return (*((exit, mean) for exit in exits), (layers, default.weight(layers)))


def _distinct(found: Sequence[Variant]) -> list[Variant]:
    """Without those that an earlier one is already."""
    return [v for i, v in enumerate(found) if v.recipe not in [other.recipe for other in found[:i]]]
