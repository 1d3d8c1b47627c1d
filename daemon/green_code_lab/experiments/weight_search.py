"""Do weights of the exits and of the last layer in LITE's loss that are searched for (the paper's open question 3) beat the
default's, and those of the paper's rule?

Hundreds of trials need a small model: a decoder of Llama's kind that is first trained at its last layer alone, on the same corpus
in a smaller vocabulary. Each trial starts from that model, trains on the same few tokens with one seed, and is scored on held-out
projects. Optuna's tree-structured Parzen estimator proposes weights (Bergstra et al., "Algorithms for hyper-parameter
optimization", 2011), log-uniform and then scaled to one sum; the first two trials have the default's and the paper's.

The default's, the paper's and the best proposed weights are then trained with further seeds, and scored at more positions: a best of
hundreds is partly luck. Where there is time, the same weights are carried to the whole model by relative depth, and trained and
scored there, from its untouched weights.
"""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
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
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.interim import Interim
from green_code_lab.experiments.plots import Bars
from green_code_lab.experiments.small_model import SmallModel, learned_weights, with_frequent_tokens
from green_code_lab.experiments.weight_trials import (
    Job,
    Outcome,
    SmallTrialsInProcesses,
    Trials,
    given,
    outcome_of,
    with_untouched_scores,
)
from green_code_lab.lite.recipe import PAPER_BUDGETS, Recipe, decayed, lite_recipe, recipe_named
from green_code_lab.lite.scores import WINDOW
from green_code_lab.lite.trainer import TrainingInputs, train

PENALTY = 10.0
"""What the last layer's relative rise in loss costs, in shares of agreement: 1 % of it as much as ten points."""
_SPAN = 10.0  # before scaling, weights lie from 1/_SPAN to _SPAN
_RANDOM_TRIALS = 24  # before the estimator has something to estimate from
_AT_ONCE = 4  # trials between two estimates; the same on every machine, so that the search is
_BEST = 3  # proposed weights that are trained again; one less in the whole model
_SEEDS = 10
_POSITIONS = 2_048  # per language that score the whole model
_TOP_SHARE = 0.1  # of the trials: the best ones
DEFAULT, PAPER = "the default's", "the paper's, by its rule"
Weights = tuple[tuple[int, float], ...]
"""(depth, w) of each exit and of the last layer, as in a recipe."""


@dataclass(frozen=True)
class Scale:
    """How the small model is trained and scored in a trial; `positions` per language, in the search and with further seeds."""

    model: SmallModel
    tokens: int = 2_048
    sequence: int = 128  # one a step: more steps for the same tokens
    rate: float = 2e-3
    positions: int = 256
    more_positions: int = 512

    def recipe(self, seed: int) -> Recipe:
        own = lite_recipe(self.model.layers, self.tokens)
        own = replace(own, sequence=self.sequence, batch=1, micro_batch=1, learning_rate=self.rate)
        return shortened(own, self.tokens, seed)


@dataclass(frozen=True)
class Trial:
    """Proposed or known weights, and how they did. Score: see `objective`."""

    name: str
    weights: Weights
    outcome: Outcome
    score: float


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    """No further trials are begun after `args.minutes`. What is finished is kept in weight-search.jsonl beside the page.

    Raises:
        Problem: there was no time to finish the small model's trials.
    """
    scale = Scale(SmallModel(seed=args.seed))
    end = time.monotonic() + 60 * args.minutes
    kept, folder = Interim(args.out / "weight-search.jsonl"), args.work / "experiments"
    corpus = open_corpus(args.work / "corpus", runtime.vocabulary, 1, WINDOW)
    small_corpus, share = with_frequent_tokens(corpus, scale.model.vocabulary)
    first = scale.model.inputs(small_corpus, corpus_digest(args.work / "corpus"))

    def begin() -> TrainingInputs:
        weights = learned_weights(scale.model, first, folder / "weight-search-small", report)
        return replace(first, base=functools.partial(given, weights))

    recipe, layers = scale.recipe(args.seed), scale.model.layers
    with SmallTrialsInProcesses(begin, usable_cores()) as attempt:
        trials = Trials(kept, {**first.subject, "scale": repr(scale)}, attempt)
        found = search(recipe, layers, args.trials, scale.positions, trials, end, report)
        if len(found) < args.trials:
            raise Problem(
                "bad_request",
                f"{len(found)} of {args.trials} trials were finished in {args.minutes:g} minutes; run the same command again: it goes on.",
            )
        chosen = [*found[:2], *sorted(found[2:], key=lambda trial: -trial.score)[:_BEST]]
        arms = repeated(f"small, {layers} layers", chosen, recipe, scale.more_positions, trials, end, report)
    whole_arms = at_full_scale(runtime, args, chosen[: 1 + _BEST], layers, kept, end, report)
    exits = ", ".join(map(str, recipe.exits))
    whole = recipe_named("lite", runtime.layers_total, args.tokens)
    return {
        "settings": {
            "data": f"the corpus of {len(corpus.languages)} languages, scored on its held-out projects",
            "small model": f"{layers} layers, width {scale.model.width}, exits {exits}; {scale.model.vocabulary - 1:,} tokens, which are {100 * share:.0f} % of the corpus, and one for all others; first trained on {scale.model.learned:,} tokens",
            "search": f"{len(found)} trials of {recipe.tokens:,} tokens, {recipe.tokens_per_step} a step, rate {recipe.learning_rate:g}, seed {args.seed}; {scale.positions:,} positions per language",
            "further seeds": f"at most {_SEEDS}; {scale.more_positions:,} positions per language",
            **({"whole model": f"exits {', '.join(map(str, whole.exits))} of {runtime.layers_total} layers; {args.tokens:,} tokens a trial, seed {args.seed}; {_POSITIONS:,} positions per language"} if whole_arms else {}),
        },
        "arms": arms + whole_arms, "depths": by_depth(found, layers),
    }  # fmt: skip


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


def objective(outcome: Outcome, default: Outcome) -> float:
    """Mean agreement of the exits, less PENALTY times what the last layer's loss rises beyond the default's own rise.

    Without the second part the search would find weights that make the last layer as poor as the exits. Where the default
    loses nothing, the untouched model's loss is the bound.
    """
    return outcome[0] - PENALTY * max(0.0, outcome[1] - max(0.0, default[1]))


def search(
    recipe: Recipe, layers: int, trials: int, positions: int, attempt: Trials, end: float, report: Report
) -> list[Trial]:
    """The recipe's own weights, those of the paper's rule, and proposed ones, which sum as the recipe's; fewer than `trials`
    where time.monotonic() passes `end`. An equal search that goes on proposes the same ones."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=recipe.seed)
    study, found = optuna.create_study(direction="maximize", sampler=sampler), list[Trial]()
    for known in (recipe.weights, paper_weights(recipe, layers)):
        study.enqueue_trial({str(depth): weight for depth, weight in known})
    names = {0: DEFAULT, 1: PAPER}
    while len(found) < trials:
        asked = [study.ask() for _ in range(min(_AT_ONCE, trials - len(found)))]
        proposed = [
            summing_as(recipe.weights, [(d, one.suggest_float(str(d), 1 / _SPAN, _SPAN, log=True)) for d, _ in recipe.weights])
            for one in asked
        ]  # fmt: skip
        jobs = [(replace(recipe, weights=weights), positions) for weights in proposed]
        if time.monotonic() > end and not all(job in attempt for job in jobs):
            break
        outcomes = attempt(jobs)
        default = found[0].outcome if found else outcomes[0]
        for one, weights, outcome in zip(asked, proposed, outcomes, strict=True):
            name = names.get(one.number, f"proposed, {one.number}")
            found.append(Trial(name, weights, outcome, objective(outcome, default)))
            study.tell(one, found[-1].score)
        best = max(found, key=lambda trial: trial.score)
        report(f"{len(found)} of {trials} trials; best score {best.score:.3f} ({best.name})")
    return found


def repeated(
    model: str, chosen: Sequence[Trial], recipe: Recipe, positions: int, attempt: Trials, end: float, report: Report
) -> list[Found]:
    """Arms of the small model, the default's first, with the further seeds that there was time for; without any, as searched."""
    jobs: list[list[Job]] = [
        [(replace(recipe, weights=trial.weights, seed=recipe.seed + 1 + i), positions) for trial in chosen]
        for i in range(_SEEDS)
    ]
    for i, by_trial in enumerate(jobs):
        if time.monotonic() > end:
            break
        attempt(by_trial)
        report(f"{i + 1} of {_SEEDS} further seeds")
    arms = list[Found]()
    for at, trial in enumerate(chosen):
        finished = [by_trial for by_trial in jobs if by_trial[0] in attempt and by_trial[at] in attempt]
        own, defaults = (attempt([by_trial[k] for by_trial in finished]) for k in (at, 0))
        scores = [100 * objective(*pair) for pair in zip(own, defaults, strict=True)]
        more = [score - 100 * objective(other, other) for score, other in zip(scores, defaults, strict=True)]
        figures: Found = {"agreement": trial.outcome[0], "rise": trial.outcome[1], "score": 100 * trial.score}
        if finished:
            agreement, rise = zip(*own, strict=True)
            figures = {name: _mean(of) for name, of in zip(figures, (agreement, rise, scores), strict=True)}
            figures["more"] = _mean(more) if at else None
        arms.append({**_named(model, trial), "seeds": len(finished), **figures, "found": 100 * trial.score})
    return arms


def _mean(values: Sequence[float]) -> float | list[float]:
    """With its interval, where there are several."""
    return mean_figure(values) if len(values) > 1 else values[0]


def at_full_scale(
    runtime: Runtime, args: Args, chosen: Sequence[Trial], small_layers: int, kept: Interim, end: float, report: Report
) -> list[Found]:
    """Arms of the whole model that are finished, the default's first. A run that was ended goes on from its checkpoint."""
    layers = runtime.layers_total
    recipe = shortened(recipe_named("lite", layers, args.tokens), args.tokens, args.seed)
    corpus = open_corpus(args.work / "corpus", runtime.vocabulary, recipe.tokens_per_step, WINDOW)
    subject = {"corpus": corpus_digest(args.work / "corpus"), "model": runtime.weights}

    @functools.cache
    def inputs() -> TrainingInputs:
        config, base = adapted_weights(find_model(args.model), bare_bundle(args.model))
        torch.set_num_threads(usable_cores())  # serving takes one
        whole = TrainingInputs(config, lambda _: as_tensors(base), corpus, runtime.vocabulary.bos, subject)
        return with_untouched_scores(whole, recipe.exits, _POSITIONS)

    def attempt(jobs: Sequence[Job]) -> list[Outcome]:
        ((tried, _),) = jobs
        run = args.work / "experiments" / f"weight-search-{trials.name(jobs[0])}"
        torch.compiler.reset()  # compiled as in a process of its own; after several models torch would stop compiling
        train(inputs(), tried, run, report)
        outcome = outcome_of(run, tried)
        shutil.rmtree(run)
        return [outcome]

    trials, arms, default = Trials(kept, subject, attempt), list[Found](), None
    own = {DEFAULT: recipe.weights, PAPER: paper_weights(recipe, layers)}
    for trial in chosen:
        weights = own.get(trial.name) or carried(trial.weights, small_layers, recipe.weights, layers)
        job = (replace(recipe, weights=weights), _POSITIONS)
        if time.monotonic() > end and job not in trials:
            break
        (outcome,) = trials([job])
        default = default or outcome
        named = _named(f"{Path(args.model).name}, {layers} layers", replace(trial, weights=weights))
        arms.append({**named, "agreement": outcome[0], "rise": outcome[1], "score": 100 * objective(outcome, default)})
        report(f"{named['model']}, {trial.name}: agreement {outcome[0]:.3f}, last layer's loss {outcome[1]:+.1%}")
    return arms


def _named(model: str, trial: Trial) -> Found:
    by_layer = ", ".join(f"{depth}: {weight:.2f}" for depth, weight in trial.weights)
    return {"model": model, "weights": trial.name, "by_layer": by_layer}


def by_depth(found: Sequence[Trial], layers: int) -> list[Found]:
    """Of each trained depth: its weight in all proposed trials and in the best tenth of them, and how its weight's rank goes
    with the score's (Spearman). Empty where there are fewer than ten."""
    proposed = sorted(found[2:], key=lambda trial: -trial.score)
    best = proposed[: math.floor(_TOP_SHARE * len(proposed))]
    scores = [trial.score for trial in proposed]
    if not best:
        return []
    return [
        {
            "depth": depth, "relative": depth / layers, "default": weight, "paper": dict(found[1].weights)[depth],
            "all": fmean(dict(trial.weights)[depth] for trial in proposed),
            "best": mean_figure([dict(trial.weights)[depth] for trial in best]),
            "rank": rank_correlation([dict(trial.weights)[depth] for trial in proposed], scores),
        }
        for depth, weight in found[0].weights
    ]  # fmt: skip


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's, without ties."""
    first, second = (np.argsort(np.argsort(values)) for values in (left, right))
    return float(np.corrcoef(first, second)[0, 1])


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


def carried(weights: Weights, layers: int, like: Weights, like_layers: int) -> Weights:
    """Weights of a model of `layers` for one of `like_layers`, at the depths of `like` and summing as those.

    An exit's is read at its relative depth, between the logarithms of the exits' weights; the last layer's is the last layer's.
    """
    *exits, (_, last) = weights
    depths, logs = [depth / layers for depth, _ in exits], [math.log(weight) for _, weight in exits]
    at = [(depth, math.exp(np.interp(depth / like_layers, depths, logs))) for depth, _ in like[:-1]]
    return summing_as(like, [*at, (like_layers, last)])


def summing_as(like: Weights, weights: Sequence[tuple[int, float]]) -> Weights:
    """`weights` times one factor: with an equal sum, gradients are clipped alike, and only the shares differ."""
    factor = sum(weight for _, weight in like) / sum(weight for _, weight in weights)
    return tuple((depth, weight * factor) for depth, weight in weights)


EXPERIMENT = Experiment(
    "weight-search", "Searched weights of the LITE loss", __doc__, measure, {"tokens": 100_000, "trials": 200, "minutes": 600.0},
    (
        Table(
            "arms", "Weights",
            "*Agreement*: positions at which an exit's top token is the last layer's, mean over exits and languages. *Last layer's loss*: its relative "
            f"change from the untouched model's, in the language where it rose most. *Score*: mean agreement in points, less {PENALTY:g} points for each "
            "per cent that the loss rises beyond the default's with the same seed. *Seeds*: further ones, over which figures are means; with none, they are the search's. *In the search*: the score there.",
            (
                ("weights", "weights", ""), ("by layer", "by_layer", ""), ("seeds", "seeds", "0"), ("agreement", "agreement", "%"), ("last layer's loss", "rise", "+%"),
                ("score", "score", "1"), ("more than the default's", "more", "+1"), ("in the search", "found", "1"),
            ),
            ("model",),
        ),
        Table(
            "depths", "Proposed weights of the small model, by depth",
            "All weights of a trial sum to the default's sum. *Best*: mean of the tenth of the trials with the highest scores. *Rank correlation*: "
            "of a weight and the score, over all proposed trials (Spearman); a positive one says that more weight there went with a higher score.",
            (
                ("layer", "depth", "0"), ("relative depth", "relative", "2"), ("the default's", "default", "2"), ("the paper's", "paper", "2"),
                ("all", "all", "2"), ("best", "best", "2"), ("rank correlation", "rank", "+2"),
            ),
        ),
    ),
    Bars("Score", "arms", "model", "weights", (("score", "score"),), "points"),
)  # fmt: skip
