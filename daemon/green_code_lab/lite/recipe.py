"""Recipes: everything that shapes a LITE run.

`lite_recipe` is for small budgets; `paper_recipe` is GREEN-CODE's (arXiv 2501.11006, section III-D, and its
repository's distribute_weight.py). Both depend on the model's number of layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from green_code.problems import Problem

FROZEN = "frozen"
"""Trains no layer."""
RECIPES = (FROZEN, "lite", "paper")
Optimiser = Literal["adamw", "adamw8bit"]
_LARGE_BUDGET = 20_000_000


@dataclass(frozen=True)
class Recipe:
    """Two runs of equal recipe, corpus, start and device give equal weights.

    The loss of a step is Σ wᵢ·Lᵢ over the exits drawn for it and the last layer, where an exit's
    L = (1−d)·CE(next token) + d·KL(teacher ‖ exit); see head_loss.py.
    """

    exit_groups: tuple[tuple[int, ...], ...]  # depths (layers run, from 1); one of each group is drawn a step
    weights: tuple[tuple[int, float], ...]  # wᵢ of each exit, the last layer included
    tokens: int
    learning_rate: float
    sequence: int = 256
    batch: int = 8  # sequences a step, over all devices
    micro_batch: int = 8  # sequences that one device holds at a time; fewer where memory is short (memory.py)
    warm_up_steps: int = 0
    final_rate_share: float = 1.0  # where the cosine ends, as a share of the peak; 1: a constant rate
    weight_decay: float = 0.0
    distillation: float = 0.0  # d: the divergence's share of an exit's loss
    # This model's last layer, or the untouched model, which is then the last layer's teacher too.
    teacher: Literal["last", "untouched"] = "last"
    document_starts: float = 0.0  # share of windows that begin where a file does, as a short file's prompt does
    guard_tokens: int = 250_000  # between two checks on held-out projects (monitors.py)
    gradient_clip: float = 1.0
    rank: int | None = None  # of the differences that are trained (low_rank.py); None: the weights themselves
    optimiser: Optimiser = "adamw"  # "adamw8bit": moments in 8 bits (Dettmers et al., arXiv 2110.02861)
    seed: int = 1

    @property
    def tokens_per_step(self) -> int:
        return self.sequence * self.batch

    @property
    def steps(self) -> int:
        return self.tokens // self.tokens_per_step

    @property
    def exits(self) -> tuple[int, ...]:
        """All depths that are trained, without the last layer."""
        return tuple(sorted({exit for group in self.exit_groups for exit in group}))

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then a cosine to `final_rate_share` of the peak."""
        if step < self.warm_up_steps:
            return self.learning_rate * (step + 1) / self.warm_up_steps
        done = (step - self.warm_up_steps) / max(1, self.steps - self.warm_up_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
        return self.learning_rate * (self.final_rate_share + (1 - self.final_rate_share) * cosine)


def lite_recipe(layers: int, tokens: int) -> Recipe:
    """Early and late exits, those of Gemma 3 270M (5, 7, 11 and 13, 15 of 18) to scale; large budgets get large batches."""
    early = {max(1, round(layers * depth / 18)) for depth in (5, 7, 11)} - {layers}
    late = {round(layers * depth / 18) for depth in (13, 15)} - early - {layers}
    groups = tuple(tuple(sorted(group)) for group in (early, late) if group)
    large = tokens >= _LARGE_BUDGET
    return Recipe(
        exit_groups=groups,
        weights=tuple((depth, 1.0) for depth in (*(exit for group in groups for exit in group), layers)),
        tokens=tokens,
        batch=64 if large else 8,
        micro_batch=32 if large else 8,
        learning_rate=2e-4,
        warm_up_steps=20,
        final_rate_share=0.1,
        distillation=0.5,
        teacher="untouched",
        document_starts=0.25,
    )


PAPER_BUDGETS = (0.7, 0.2, 0.1)
"""Share of the loss of the first half's exits, of the second half's, and of the last layer."""
PAPER_DECAY = 0.9


def paper_exits(layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depths of the paper's exits in the first and in the second half, without the last layer.

    The paper counts blocks from 0: every second one from 3 in the first half, then every fourth. With 28 blocks
    that is 3, 5, … 13 and 17, 21, 25, with 32 it is 3, 5, … 15 and 19, 23, 27; a depth is one more.
    """
    first = range(3, layers // 2, 2)
    second = range((first[-1] if first else layers // 2 - 1) + 4, layers - 1, 4)
    return tuple(i + 1 for i in first), tuple(i + 1 for i in second)


def paper_weights(layers: int) -> tuple[tuple[int, float], ...]:
    """(depth, w) of each exit and of the last layer; they sum to 1. A group without exits leaves its budget to the last layer."""
    weights = [
        part
        for exits, budget in zip(paper_exits(layers), PAPER_BUDGETS, strict=False)
        for part in decayed(exits, budget)
    ]
    return (*weights, (layers, 1.0 - sum(weight for _, weight in weights)))


def decayed(exits: Sequence[int], budget: float) -> list[tuple[int, float]]:
    """(depth, w) of a group's exits, the paper's way: the i-th has budget·0.9ⁱ / Σⱼ 0.9ʲ."""
    total = sum(PAPER_DECAY**i for i in range(len(exits)))
    return [(exit, budget * PAPER_DECAY**i / total) for i, exit in enumerate(exits)]


def paper_recipe(layers: int, tokens: int) -> Recipe:
    """The paper's loss and schedule: cross-entropy at every exit in every step, fixed weights, AdamW at 1e-5.

    One thing differs: embeddings and head are frozen here, so that a bundle carries layers only.
    """
    return Recipe(
        exit_groups=tuple((exit,) for half in paper_exits(layers) for exit in half),
        weights=paper_weights(layers),
        tokens=tokens,
        learning_rate=1e-5,
        weight_decay=0.01,
        batch=128,
    )


def focused(recipe: Recipe, exits: Sequence[int], layers: int) -> Recipe:
    """The recipe with these exits instead of its own, one of them drawn a step. Other depths lose accuracy."""
    weights = tuple((depth, 1.0) for depth in (*exits, layers))
    return replace(recipe, exit_groups=(tuple(exits),), weights=weights)


def recipe_named(name: str, layers: int, tokens: int) -> Recipe:
    """Raises Problem where a model has too few layers for an exit."""
    recipe = {"lite": lite_recipe, "paper": paper_recipe}[name](layers, tokens)
    if not recipe.exits:
        raise Problem("bad_request", f"recipe {name!r} has no exit for a model of {layers} layers; use a deeper model.")
    return recipe


def parse_exits(text: str, layers: int) -> tuple[int, ...]:
    """Depths below L, ascending, as the command line writes them: `7,9,13`.

    Raises:
        Problem: they are not that.
    """
    try:
        exits = tuple(int(each) for each in text.split(","))
    except ValueError:
        exits = ()
    if not exits or exits != tuple(sorted(set(exits))) or not 0 < exits[0] <= exits[-1] < layers:
        raise Problem("bad_request", f"--exits {text}: give layers from 1 to {layers - 1}, ascending, such as 5,7,13.")
    return exits
