"""`green-code adapt plan`: what training a model needs of each card, before a card is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from green_code.models.config import ModelConfig
from green_code.models.rows import ROWS, Shape
from green_code.problems import Problem
from green_code_lab.lite.memory import USABLE, Layout, Memory, choose, layouts, least, predict
from green_code_lab.lite.recipe import Optimiser, Recipe

PLANNED = {
    "llama-3.2-3b": ROWS["llama-3.2-3b"].shape,
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14_336, 128_256, tied=False),
    "llama-3.1-70b": Shape(80, 8192, 64, 8, 128, 28_672, 128_256, tied=False),
}
"""Shapes that are planned where no model is given: 3, 8 and 70 thousand million weights (Llama 3, arXiv 2407.21783, table 3)."""
RANK = 32
"""Of the low-rank differences that are planned beside what was asked for."""
_GB = 1e9
_CARDS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Planned:
    """One way to train a model: what it needs in the layout that was chosen, or in the smallest, where none fits."""

    model: str
    recipe: Recipe
    layout: Layout | None
    memory: Memory

    @property
    def trained(self) -> str:
        return "all weights" if self.recipe.rank is None else f"rank {self.recipe.rank}"

    @property
    def cells(self) -> tuple[str, ...]:
        parts = [f"{getattr(self.memory, part.name) / _GB:.1f}" for part in fields(Memory)]
        how = "does not fit"
        if self.layout is not None:
            words = [f"{self.layout.micro_batch} at a time", *["recomputed"] * self.layout.recompute]
            how = ", ".join((*words, *["sharded"] * self.layout.shard))
        return (self.model, self.trained, self.recipe.optimiser, *parts, f"{self.memory.total / _GB:.1f}", how)


def variants(recipe: Recipe) -> tuple[Recipe, ...]:
    """What was asked for, then with an optimiser of 8 bits, then differences of low rank."""
    found = (
        recipe,
        replace(recipe, optimiser="adamw8bit"),
        replace(recipe, rank=recipe.rank or RANK, optimiser="adamw"),
    )
    return tuple(dict.fromkeys(found))


def plan(model: str, config: ModelConfig, recipe: Recipe, cards: int, memory: int) -> Planned:
    """Of a recipe on so many cards of `memory` bytes, which compute in bfloat16. Raises Problem where the batch cannot be divided."""
    chosen = choose(config, recipe, cards, memory, half=True)
    if chosen is None:
        return Planned(model, recipe, None, least(config, recipe, cards, half=True))
    return Planned(model, recipe, *chosen)


def table(rows: Sequence[Planned]) -> str:
    """Markdown; GB are 10⁹ bytes of one card."""
    headings = ("model", "trained", "optimiser", *(part.name for part in fields(Memory)), "GB a card", "layout")
    lines = [headings, tuple(":--" if i < 3 or i == len(headings) - 1 else "--:" for i in range(len(headings)))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (*lines, *(row.cells for row in rows)))


def check_fits(row: Planned, others: Sequence[Planned], config: ModelConfig, cards: int, memory: int) -> None:
    """Raises Problem where it does not fit: with what would."""
    if row.layout is not None:
        return
    instead = [_option(other.recipe) for other in others if other.layout is not None]
    if (enough := _cards_for(config, row.recipe, cards, memory)) is not None:
        instead.append(f"--gpus {enough}")
    advice = f"use {' or '.join(instead)}" if instead else "use cards with more memory"
    raise Problem(
        "no_memory",
        f"training {row.model} ({row.trained}, {row.recipe.optimiser}) needs {row.memory.total / _GB:.1f} GB on each of {cards} cards, and {USABLE * memory / _GB:.1f} of {memory / _GB:.0f} are usable; {advice}.",
    )


def _option(recipe: Recipe) -> str:
    parts = [
        *[f"--rank {recipe.rank}"] * (recipe.rank is not None),
        *[f"--optimiser {recipe.optimiser}"] * (recipe.optimiser != _DEFAULT),
    ]
    return " ".join(parts)


def _cards_for(config: ModelConfig, recipe: Recipe, cards: int, memory: int) -> int | None:
    """The least number of cards among which it fits, sharded; None: not among 64."""
    for more in _CARDS:
        if more > cards and recipe.batch % more == 0:
            smallest = list(layouts(recipe, more))[-1]
            if predict(config, recipe, smallest, more, True).total <= USABLE * memory:
                return more
    return None


_DEFAULT: Optimiser = "adamw"
