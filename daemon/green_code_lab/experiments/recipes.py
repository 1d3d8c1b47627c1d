"""Which recipe learns most from a small budget: each variant trained alike, scored alike, and compared with the default.

All have the same tokens, seed, corpus and start. Weights to compare with are first searched for; then each variant is
trained, scored and its weights forgotten; the default's are kept until the forms in which they could be shipped are
scored too. A result that is there is not made again.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from green_code.models.catalog import find_model
from green_code_lab.experiments.bench import (
    POSITIONS,
    Bench,
    forget_checkpoint,
    last_rise,
    line_point,
    open_bench,
    points,
    training_figures,
)
from green_code_lab.experiments.delta_forms import weight_formats
from green_code_lab.experiments.held_out import positions
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.variants import (
    DEFAULT,
    Variant,
    equal_budget,
    paper_weighting,
    starting_point,
    variants,
)
from green_code_lab.experiments.weight_search import Trial, best, objective, search, shortened
from green_code_lab.lite.checkpoint import as_stored
from green_code_lab.lite.recipe import Recipe, paper_recipe

RESULT, FORMS = "result.json", "forms.json"


def run(
    model: str,
    work: Path,
    tokens: int,
    trials: int,
    trial_tokens: int,
    limit: int,
    seed: int,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Measure; returns what goes into recipes.json.

    Raises:
        Problem: the model or the corpus is missing or damaged, a budget is less than a step, optuna is missing, the
            disk is full, a monitor stops a run, or what is kept in WORK/experiments is of something else.
    """
    layers = find_model(model).open().config.layers
    default = starting_point(layers, equal_budget(layers, tokens), seed)
    trial = shortened(default, trial_tokens)
    per_step = max(default.tokens_per_step, paper_recipe(layers, tokens).tokens_per_step)
    report(f"loading {model} and its corpus")
    bench = open_bench(model, work, limit, min(per_step, default.tokens), seed, report)
    folder = work / "experiments" / f"recipes-{tokens}-{seed}"
    searched = find_weights(bench, trial, trials, folder / f"search-{bench.digest(trial)}")
    compared, left_out = variants(bench.config, default, best(searched).weights)
    start = score_untouched(bench, default, folder)
    measured = [measure(bench, variant, default, start, folder) for variant in compared]
    for result in measured:
        result["score"] = _score(result, measured[0], default)
    options: dict[str, object] = {
        "model": Path(model), "tokens": tokens, "trials": trials, "trial-tokens": trial_tokens, "rows": limit, "seed": seed,
    }  # fmt: skip
    languages = list(dict.fromkeys(row.language for row in bench.rows))
    return {
        **provenance(bench.untouched, "recipes", options),
        "tokens": default.tokens,
        "seed": seed,
        "layers": layers,
        "exits": list(default.exits),
        "rows": {language: sum(row.language == language for row in bench.rows) for language in languages},
        "positions": dict(positions(bench.corpus.comparison, POSITIONS)),
        "untouched": start,
        "variants": measured,
        "left_out": left_out,
        "search": {
            "tokens": trial.tokens,
            "trials": [asdict(one) for one in searched],
            "best": best(searched).number,
        },
        "forms": score_forms(bench, default, start, folder / DEFAULT),
    }


def find_weights(bench: Bench, trial: Recipe, trials: int, folder: Path) -> list[Trial]:
    """The search's trials, scored on the half of the held-out files that the comparison does not see."""
    corpus = bench.corpus.search

    @functools.cache
    def before() -> list[dict[str, Any]]:
        return points(bench.scores(bench.base, corpus, trial.exits), ())

    def attempt(recipe: Recipe, name: str) -> tuple[float, float]:
        weights = bench.train(recipe, folder / name)
        now = points(bench.scores(weights, corpus, recipe.exits), recipe.exits)
        shutil.rmtree(folder / name)
        return mean_agreement(now, recipe.exits), last_rise(before(), now)

    heuristic = paper_weighting(trial, bench.config.layers)
    return search(trial, heuristic, trials, folder, attempt, bench.report)


def score_untouched(bench: Bench, default: Recipe, folder: Path) -> dict[str, Any]:
    """Scores of the untouched model at every layer, and its lines from the default's late exit and the last layer."""
    layers = bench.config.layers
    depths = (reading_exit(default, default), layers)

    def make() -> dict[str, Any]:
        scores = bench.scores(bench.base, bench.corpus.comparison, range(1, layers))
        lines = {depth: bench.lines(bench.untouched, depth, folder / "untouched") for depth in depths}
        return {
            "points": points(scores, ()),
            "lines": [line_point(depth, lines[depth], lines[layers]) for depth in depths],
        }

    return bench.once(folder / "untouched" / RESULT, {"depths": depths}, make)


def measure(
    bench: Bench, variant: Variant, default: Recipe, start: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Train a variant and score it at its own exits and the default's; see the page for the terms.

    Args:
        start: of `score_untouched`.
    """
    run, recipe, layers = folder / variant.name, variant.recipe, bench.config.layers
    stored = as_stored(recipe)

    def make() -> dict[str, Any]:
        weights = bench.train(recipe, run)
        scores = bench.scores(weights, bench.corpus.comparison, {*recipe.exits, *default.exits})
        runtime = bench.runtime(weights, repr(recipe))
        reference = bench.lines(bench.untouched, layers, folder / "untouched")
        found = points(scores, (*recipe.exits, layers))
        depths = (reading_exit(recipe, default), layers)
        return {
            "name": variant.name,
            "label": variant.label,
            "recipe": stored,
            "points": found,
            "last_rise": last_rise(start["points"], found),
            "lines": [line_point(depth, bench.lines(runtime, depth, run), reference) for depth in depths],
            **training_figures(run),
        }

    result = bench.once(run / RESULT, {"recipe": stored}, make)
    bench.report(f"{variant.label}: last layer's loss {result['last_rise']:+.1%}")
    if variant.name != DEFAULT:
        forget_checkpoint(run)
    return result


def score_forms(bench: Bench, default: Recipe, start: dict[str, Any], run: Path) -> list[dict[str, Any]]:
    """Size and scores of each form of the default's change; its checkpoint is no longer needed then."""

    def make() -> dict[str, Any]:
        found = []
        for weight_format in weight_formats(bench.base, bench.train(default, run), bench.config.layers, run):
            scores = bench.scores(weight_format.weights, bench.corpus.comparison, default.exits)
            own = points(scores, (*default.exits, bench.config.layers))
            found.append({
                "label": weight_format.label, "megabytes": weight_format.megabytes, "points": own, "last_rise": last_rise(start["points"], own),
            })  # fmt: skip
            bench.report(f"{weight_format.label}: {weight_format.megabytes:.1f} MB")
        return {"forms": found}

    result = bench.once(run / FORMS, {"recipe": as_stored(default)}, make)
    forget_checkpoint(run)
    forms_found: list[dict[str, Any]] = result["forms"]
    return forms_found


def reading_exit(recipe: Recipe, default: Recipe) -> int:
    """The exit that lines are completed from: the first of the default's last group, else the nearest before it."""
    late = default.exit_groups[-1][0]
    return max((exit for exit in recipe.exits if exit <= late), default=recipe.exits[0])


def mean_agreement(found: Sequence[dict[str, Any]], depths: Sequence[int]) -> float:
    """Over `depths`, of `points`."""
    return fmean(point["agreement"] for point in found if point["depth"] in depths)


def _score(result: dict[str, Any], default: dict[str, Any], recipe: Recipe) -> float | None:
    """The search's objective at the full budget; None where not all of the default's exits were trained."""
    trained = {point["depth"] for point in result["points"] if point["trained"]}
    if not trained.issuperset(recipe.exits):
        return None
    return objective(
        mean_agreement(result["points"], recipe.exits), result["last_rise"], default["last_rise"]
    )
