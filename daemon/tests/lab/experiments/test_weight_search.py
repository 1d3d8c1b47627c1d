"""The search finds weights whose worth is known, keeps their sum, and goes on after a cut as if there had been none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.experiments.weight_search import Trial, best, objective, search, shortened
from green_code_lab.lite.recipe import Recipe

RECIPE = Recipe(
    exit_groups=((2, 3), (4,)),
    weights=((2, 1.0), (3, 1.0), (4, 1.0), (6, 1.0)),
    tokens=4096,
    learning_rate=1e-3,
    warm_up_steps=1,
)
HEURISTIC = ((2, 2.0), (3, 1.0), (4, 0.5), (6, 0.5))


def attempt(recipe: Recipe, _name: str) -> tuple[float, float]:
    """Best where exit 2 weighs most; a light last layer is damaged."""
    return recipe.weight(2) / 4, 0.01 / recipe.weight(6)


def run(folder: Path, trials: int = 7) -> list[Trial]:
    return search(RECIPE, HEURISTIC, trials, folder, attempt, lambda _: None)


def test_weights_sum_as_the_heuristics_and_the_known_ones_come_first(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert [trial.number for trial in found] == list(range(7))
    assert (found[0].weights, found[1].weights) == (RECIPE.weights, HEURISTIC)
    total = sum(weight for _, weight in HEURISTIC)
    for trial in found:
        assert sum(weight for _, weight in trial.weights) == pytest.approx(total)
        assert trial.score == pytest.approx(objective(trial.agreement, trial.rise, found[0].rise))
    assert best(found).score == max(trial.score for trial in found)
    assert len({trial.weights for trial in found}) == 7


def test_damage_beyond_the_defaults_own_is_paid_for() -> None:
    assert objective(0.5, 0.02, 0.03) == 0.5
    assert objective(0.5, 0.03, 0.02) == pytest.approx(0.4)
    assert objective(0.5, 0.0, -0.03) == 0.5, "as the untouched model's, where the default's got better"


def test_a_cut_search_goes_on_as_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    tried: list[str] = []

    def cut(recipe: Recipe, name: str) -> tuple[float, float]:
        tried.append(name)
        if len(tried) == 6:
            raise KeyboardInterrupt
        return attempt(recipe, name)

    for _ in range(2):
        try:
            found = search(RECIPE, HEURISTIC, 7, tmp_path / "cut", cut, lambda _: None)
        except KeyboardInterrupt:
            continue
    assert found == whole
    assert tried == [*(f"trial-0{i}" for i in range(6)), "trial-05", "trial-06"]


def test_a_trial_is_the_run_in_small() -> None:
    short = shortened(replace(RECIPE, tokens=40 * 2048, warm_up_steps=20), 10_000)
    assert (short.tokens, short.steps, short.warm_up_steps, short.guard_tokens) == (8192, 4, 2, 8192)
    with pytest.raises(Problem, match="give at least 2048"):
        shortened(RECIPE, 2000)


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Problem, match=r"green-code\[train\]"):
        run(tmp_path)
