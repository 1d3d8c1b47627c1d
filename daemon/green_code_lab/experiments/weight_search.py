"""Weights of the exits and of the last layer in LITE's loss, searched rather than set by a rule (the paper's open question 3).

Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter optimization", 2011) proposes
weights, log-uniform and then scaled to one sum; each proposal is a short training. The first two trials have the default's
weights and the paper's. The study is an SQLite file in WORK/experiments: a search that was cut goes on with the next trial.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from green_code.engine.loading import Runtime

from green_code.models.catalog import find_model
from green_code.models.weights import adapted_weights
from green_code.problems import Problem
from green_code_lab.corpus import corpus_digest, open_corpus
from green_code_lab.experiments.experiment import Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Bars
from green_code_lab.experiments.runtimes import bare_bundle
from green_code_lab.lite import progress
from green_code_lab.lite.monitors import worst_rise
from green_code_lab.lite.recipe import PAPER_BUDGETS, Recipe, decayed, recipe_named
from green_code_lab.lite.scores import WINDOW
from green_code_lab.lite.trainer import Lesson, train

PENALTY = 10.0
"""What the last layer's relative rise in loss costs, in shares of agreement: 1 % of it as much as ten points."""
_SPAN = 10.0  # before scaling, weights lie from 1/_SPAN to _SPAN
_RANDOM_TRIALS = 5  # before the estimator has something to estimate from
_DEFAULT = "the default's"
Weights = tuple[tuple[int, float], ...]
"""(depth, w) of each exit and of the last layer, as in a recipe."""
Attempt = Callable[[Recipe], tuple[float, float]]
"""Trains a recipe; mean agreement of its exits, and the last layer's relative rise in loss."""


def measure(runtime: Runtime, args: argparse.Namespace, report: Report) -> Found:
    """See `Measure`."""
    config, bare = runtime.decoder.config, bare_bundle(args.model)
    recipe = shortened(recipe_named("default", config.layers, args.tokens), args.tokens, args.seed)
    corpus = open_corpus(args.work / "corpus", runtime.vocabulary, recipe.tokens_per_step, WINDOW)
    digest = corpus_digest(args.work / "corpus")
    _, base = adapted_weights(find_model(args.model), bare)
    lesson = Lesson(config, base, corpus, runtime.vocabulary.bos, {"corpus": digest})
    folder = args.work / "experiments" / f"weight-search-{recipe.tokens}-{args.seed}-{digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)

    def attempt(tried: Recipe) -> tuple[float, float]:
        shutil.rmtree(folder / "trial", ignore_errors=True)
        train(lesson, tried, folder / "trial", report)
        scores = [row["scores"] for row in progress.rows(folder / "trial", progress.SCORES)]
        return held_out(scores[0], scores[-1], tried)

    trials = search(recipe, config.layers, args.trials, folder, attempt, report)
    return {
        "settings": {
            "data": f"the corpus; {recipe.tokens} tokens a trial, seed {args.seed}, scored on its held-out projects",
            "exits": f"{', '.join(map(str, recipe.exits))} of {config.layers} layers",
        },
        "trials": trials,
    }


def shortened(recipe: Recipe, tokens: int, seed: int) -> Recipe:
    """A run of so many tokens in whole steps, scored at its end alone; warm-up is a tenth at most.

    Raises:
        Problem: `tokens` is less than a step.
    """
    step = recipe.tokens_per_step
    if tokens < step:
        raise Problem("bad_request", f"--tokens {tokens} is less than one step; give at least {step}.")
    whole = tokens - tokens % step
    warm_up = min(recipe.warm_up_steps, whole // step // 10)
    return replace(recipe, tokens=whole, guard_tokens=whole, warm_up_steps=warm_up, seed=seed)


def held_out(before: Mapping[str, Any], after: Mapping[str, Any], recipe: Recipe) -> tuple[float, float]:
    """See `Attempt`. Scores are rows of a run's scores.jsonl; the rise is that of the language whose loss rose most."""
    last = str(recipe.weights[-1][0])
    agreement = fmean(by["agreement"][str(exit)] for by in after.values() for exit in recipe.exits)
    losses = [{language: by["loss"][last] for language, by in scores.items()} for scores in (before, after)]
    return agreement, worst_rise(*losses)[1]


def objective(agreement: float, rise: float, default_rise: float) -> float:
    """Mean agreement of the exits, less PENALTY times what the last layer's loss rises beyond the default's own rise.

    Without the second part the search would find weights that make the last layer as poor as the exits. Where the default
    loses nothing, the untouched model's loss is the bound.
    """
    return agreement - PENALTY * max(0.0, rise - max(0.0, default_rise))


def search(
    recipe: Recipe, layers: int, trials: int, folder: Path, attempt: Attempt, report: Report
) -> list[Found]:
    """All trials, those of an earlier run in `folder` included. Weights sum as the recipe's."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name="weights",
        direction="maximize",
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=_RANDOM_TRIALS, seed=recipe.seed + len(_finished(study))
    )
    known = {_DEFAULT: recipe.weights, "the paper's, by its rule": paper_weights(recipe, layers)}
    there = {t.user_attrs.get("name") for t in _finished(study, optuna.trial.TrialState.WAITING)}
    for name, weights in known.items():
        if name not in there:
            study.enqueue_trial({str(depth): w for depth, w in weights}, user_attrs={"name": name})

    def tried(trial: optuna.Trial) -> float:
        proposed = [(d, trial.suggest_float(str(d), 1 / _SPAN, _SPAN, log=True)) for d, _ in recipe.weights]
        weights = summing_as(recipe.weights, tuple(proposed))
        agreement, rise = attempt(replace(recipe, weights=weights))
        rises = {t.user_attrs.get("name"): t.user_attrs["rise"] for t in _finished(study)}
        score = objective(agreement, rise, rises.get(_DEFAULT, rise))
        for key, value in {"agreement": agreement, "rise": rise, "weights": weights}.items():
            trial.set_user_attr(key, value)
        report(
            f"trial {trial.number}: score {score:.3f}, agreement {agreement:.3f}, last layer's loss {rise:+.1%}"
        )
        return score

    study.optimize(tried, n_trials=max(0, trials - len(_finished(study))))
    return [
        {
            "weights": t.user_attrs.get("name", f"proposed, {t.number}"), "score": 100 * t.value,
            "agreement": t.user_attrs["agreement"], "rise": t.user_attrs["rise"],
            "by_layer": ", ".join(f"{depth}: {weight:.2f}" for depth, weight in t.user_attrs["weights"]),
        }
        for t in _finished(study)
    ]  # fmt: skip


def _finished(study: optuna.Study, *more: optuna.trial.TrialState) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE, *more))


def paper_weights(recipe: Recipe, layers: int) -> Weights:
    """The paper's rule at the recipe's exits, summing as its weights.

    An exit's expected weight is the paper's: the first half's exits share 0.7 and the second half's 0.2, decaying from exit
    to exit, and the last layer has 0.1. As one exit of a group is drawn a step, it weighs that times the group's size then.
    """
    halves = ([e for e in recipe.exits if e <= layers // 2], [e for e in recipe.exits if e > layers // 2])
    size = {exit: len(group) for group in recipe.exit_groups for exit in group}
    weights = [
        (exit, size[exit] * weight)
        for exits, budget in zip(halves, PAPER_BUDGETS, strict=False)
        for exit, weight in decayed(exits, budget)
    ]
    return summing_as(recipe.weights, (*weights, (layers, PAPER_BUDGETS[-1])))


def summing_as(like: Weights, weights: Weights) -> Weights:
    """`weights` times one factor: with an equal sum, gradients are clipped alike, and only the shares differ."""
    factor = sum(weight for _, weight in like) / sum(weight for _, weight in weights)
    return tuple((depth, weight * factor) for depth, weight in weights)


EXPERIMENT = Experiment(
    name="weight-search",
    title="Searched weights of the LITE loss",
    question="Do weights of the exits and of the last layer that are searched for beat the default's, and those of the paper's rule?",
    method="Each trial trains from the untouched weights for the same few tokens, with the same seed, and is scored on held-out files, which "
    "training never saw. Optuna's tree-structured Parzen estimator proposes weights; the first two trials have the default's and the paper's.",
    measure=measure,
    arguments={"work": Path("work"), "tokens": 20_000, "trials": 12},
    tables=(
        Table(
            "trials",
            (
                ("weights", "weights", ""), ("by layer", "by_layer", ""), ("agreement", "agreement", "%"),
                ("last layer's loss", "rise", "+%"), ("score", "score", "1"),
            ),
            "Trials",
            f"*Agreement*: positions at which an exit's top token is the last layer's, mean over exits and languages. *Last layer's loss*: its "
            f"relative change from the untouched model's, in the language where it rose most. *Score*: mean agreement, less {PENALTY:g} points for "
            "each per cent that the loss rises beyond the default's.",
        ),
    ),
    plot=Bars(
        "Agreement and the last layer's loss", "trials", None, "weights", (("agreement", "agreement"), ("rise", "rise of the last layer's loss")),
        "share",
    ),
)  # fmt: skip
