"""Do weights of the exits and of the last layer in LITE's loss that are searched for (the paper's open question 3) beat the
default's, and those of the paper's rule?

Each trial trains from the untouched weights for the same few tokens, with the same seed, and is scored on held-out files, which
training never saw. Optuna's tree-structured Parzen estimator proposes weights (Bergstra et al., "Algorithms for hyper-parameter
optimization", 2011), log-uniform and then scaled to one sum; the first two trials have the default's and the paper's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import optuna
import torch

from green_code.engine.loading import Runtime
from green_code.kernels.thread_pool import usable_cores
from green_code.models.catalog import find_model
from green_code.models.conversion import adapted_weights
from green_code.models.torch_format import as_tensors
from green_code.problems import Problem
from green_code_lab.corpus import corpus_digest, open_corpus
from green_code_lab.experiments.common import bare_bundle
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Bars
from green_code_lab.lite import checkpoint, progress
from green_code_lab.lite.monitors import worst_rise
from green_code_lab.lite.recipe import PAPER_BUDGETS, Recipe, decayed, recipe_named
from green_code_lab.lite.scores import WINDOW
from green_code_lab.lite.trainer import TrainingInputs, train

PENALTY = 10.0
"""What the last layer's relative rise in loss costs, in shares of agreement: 1 % of it as much as ten points."""
_SPAN = 10.0  # before scaling, weights lie from 1/_SPAN to _SPAN
_RANDOM_TRIALS = 5  # before the estimator has something to estimate from
Weights = tuple[tuple[int, float], ...]
"""(depth, w) of each exit and of the last layer, as in a recipe."""


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    layers = runtime.layers_total
    recipe = shortened(recipe_named("lite", layers, args.tokens), args.tokens, args.seed)
    corpus = open_corpus(args.work / "corpus", runtime.vocabulary, recipe.tokens_per_step, WINDOW)
    config, base = adapted_weights(find_model(args.model), bare_bundle(args.model))
    subject = {"corpus": corpus_digest(args.work / "corpus"), "model": runtime.weights}
    inputs = TrainingInputs(config, lambda _: as_tensors(base), corpus, runtime.vocabulary.bos, subject)
    torch.set_num_threads(usable_cores())  # serving takes one

    def attempt(tried: Recipe) -> tuple[float, float]:
        digest = hashlib.sha256(repr((tried, subject)).encode()).hexdigest()[:12]
        run = args.work / "experiments" / f"weight-search-{digest}"
        if not (run / "finished").is_file():
            torch.compiler.reset()  # compiled as in a process of its own; after several models torch would stop compiling
            train(inputs, tried, run, report)
            checkpoint.remove(run)
            (run / "finished").touch()
        rows = progress.rows(run, progress.SCORES)
        return held_out(rows[0]["scores"], rows[-1]["scores"], tried)

    data = f"the corpus; {recipe.tokens} tokens a trial, seed {args.seed}, scored on its held-out projects"
    exits = f"{', '.join(map(str, recipe.exits))} of {layers} layers"
    trials = search(recipe, layers, args.trials, attempt, report)
    return {"settings": {"data": data, "exits": exits}, "trials": trials}


def shortened(recipe: Recipe, tokens: int, seed: int) -> Recipe:
    """A run of so many tokens in whole steps, scored at its end alone; warm-up is a tenth of the steps at most.

    Raises:
        Problem: `tokens` is less than a step.
    """
    step = recipe.tokens_per_step
    if tokens < step:
        raise Problem("bad_request", f"--tokens {tokens} is less than one step; give at least {step}.")
    whole, warm_up = tokens - tokens % step, min(recipe.warm_up_steps, tokens // step // 10)
    return replace(recipe, tokens=whole, guard_tokens=whole, warm_up_steps=warm_up, seed=seed)


def held_out(before: Mapping[str, Any], after: Mapping[str, Any], recipe: Recipe) -> tuple[float, float]:
    """Of rows of a run's scores.jsonl: mean agreement of the exits, and the last layer's relative rise in loss where it is largest."""
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
    recipe: Recipe, layers: int, trials: int, attempt: Callable[[Recipe], tuple[float, float]], report: Report
) -> list[Found]:
    """All trials: the recipe's own weights, those of the paper's rule, and proposed ones, which sum as the recipe's.

    Args:
        attempt: trains a recipe; see `held_out`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=recipe.seed)
    study, found = optuna.create_study(direction="maximize", sampler=sampler), list[Found]()
    names = {0: "the default's", 1: "the paper's, by its rule"}
    for known in (recipe.weights, paper_weights(recipe, layers)):
        study.enqueue_trial({str(depth): weight for depth, weight in known})

    def tried(trial: optuna.Trial) -> float:
        proposed = [(d, trial.suggest_float(str(d), 1 / _SPAN, _SPAN, log=True)) for d, _ in recipe.weights]
        weights = summing_as(recipe.weights, tuple(proposed))
        agreement, rise = attempt(replace(recipe, weights=weights))
        score = objective(agreement, rise, found[0]["rise"] if found else rise)
        found.append({
            "weights": names.get(trial.number, f"proposed, {trial.number}"), "score": 100 * score, "agreement": agreement,
            "rise": rise, "by_layer": ", ".join(f"{depth}: {weight:.2f}" for depth, weight in weights),
        })  # fmt: skip
        report(f"trial {trial.number}: score {score:.3f}, agreement {agreement:.3f}, last layer's loss {rise:+.1%}")  # fmt: skip
        return score

    study.optimize(tried, n_trials=trials)
    return found


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
    "weight-search", "Searched weights of the LITE loss", __doc__, measure, {"tokens": 20_000, "trials": 12},
    (
        Table(
            "trials", "Trials",
            "*Agreement*: positions at which an exit's top token is the last layer's, mean over exits and languages. *Last layer's loss*: its relative "
            f"change from the untouched model's, in the language where it rose most. *Score*: mean agreement, less {PENALTY:g} points for each per cent "
            "that the loss rises beyond the default's.",
            (
                ("weights", "weights", ""), ("by layer", "by_layer", ""), ("agreement", "agreement", "%"), ("last layer's loss", "rise", "+%"),
                ("score", "score", "1"),
            ),
        ),
    ),
    Bars("Agreement and the last layer's loss", "trials", None, "weights", (("agreement", "agreement"), ("rise", "rise of the last layer's loss")), "share"),
)  # fmt: skip
