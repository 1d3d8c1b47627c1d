"""Weights of the exits and of the last layer, learned rather than set by a rule (the paper's open question 3).

Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter optimization", 2011)
proposes weights, log-uniform and then scaled to one sum; each proposal is a short training. The first trials are of
weights that are known: the default's and the heuristic's.

The study is an SQLite file. A trial's sampler is seeded by the trial's number, so that a cut search goes on as one
that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from green_code.problems import Problem
from green_code_lab.experiments.variants import Weights, summing_as
from green_code_lab.lite.recipe import Recipe

PENALTY = 10.0
"""What the last layer's relative rise in loss costs, in shares of agreement: 1 % of it as much as ten points."""
_SPAN = 10.0  # before scaling, weights lie from 1/_SPAN to _SPAN
_RANDOM_TRIALS = 5  # before the estimator has something to estimate from

Attempt = Callable[[Recipe, str], tuple[float, float]]
"""Trains a recipe in a folder of that name; mean agreement of its exits, and the last layer's relative rise in loss."""


@dataclass(frozen=True)
class Trial:
    """`score` is what is searched for; see `objective`."""

    number: int
    weights: Weights
    agreement: float
    rise: float
    score: float


def objective(agreement: float, rise: float, default_rise: float) -> float:
    """Mean agreement of the exits, less PENALTY times what the last layer's loss rises beyond the default's own rise.

    Without the second part the search would find weights that make the last layer as poor as the exits. What the
    default's own last layer loses is allowed, as the question is what other weights are worth beside those; where it
    loses nothing, a last layer that is as it was has no penalty either.
    """
    return agreement - PENALTY * max(0.0, rise - max(0.0, default_rise))


def shortened(recipe: Recipe, tokens: int) -> Recipe:
    """The same run in small: warm-up takes the same share of it.

    Raises:
        Problem: `tokens` is less than a step.
    """
    if tokens < recipe.tokens_per_step:
        raise Problem(
            "bad_request",
            f"--trial-tokens {tokens} is less than one step; give at least {recipe.tokens_per_step}.",
        )
    whole = tokens - tokens % recipe.tokens_per_step
    warm_up = round(recipe.warm_up_steps * whole / recipe.tokens)
    return replace(recipe, tokens=whole, guard_tokens=whole, warm_up_steps=warm_up)


def search(
    recipe: Recipe,
    heuristic: Weights,
    trials: int,
    folder: Path,
    attempt: Attempt,
    report: Callable[[str], None],
) -> list[Trial]:
    """All trials by number: 0 has the recipe's own weights, 1 the heuristic's. Weights sum as the recipe's.

    Args:
        recipe: what each trial trains, but for its weights; its seed is the search's. folder: of the study, and of no
            other recipe's.
    Raises:
        Problem: optuna is not installed.
    """
    optuna = _optuna()
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name="weights",
        direction="maximize",
        load_if_exists=True,
    )
    complete = (optuna.trial.TrialState.COMPLETE,)
    depths = [depth for depth, _ in recipe.weights]
    known = (recipe.weights, heuristic)
    space = {str(d): optuna.distributions.FloatDistribution(1 / _SPAN, _SPAN, log=True) for d in depths}
    found: list[Trial] = []
    for number in range(trials):
        done = study.get_trials(deepcopy=False, states=complete)
        if number < len(done):
            found.append(_trial(number, done[number], known, recipe))
            continue
        if number < len(known):
            study.enqueue_trial({str(depth): weight for depth, weight in known[number]})
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM_TRIALS,
            constant_liar=False,  # a trial that was cut stays "running" in the study, and must not count
            seed=_seed(recipe.seed, number),
        )
        asked = study.ask(space)
        weights = _weights(number, asked.params, known, recipe)
        agreement, rise = attempt(replace(recipe, weights=weights), f"trial-{number:02}")
        score = objective(agreement, rise, found[0].rise if found else rise)
        asked.set_user_attr("agreement", agreement)
        asked.set_user_attr("rise", rise)
        study.tell(asked, score)
        found.append(Trial(number, weights, agreement, rise, score))
        report(
            f"trial {number + 1} of {trials}: score {score:.3f}, agreement {agreement:.3f}, last layer's loss {rise:+.1%}"
        )
    return found


def best(trials: Sequence[Trial]) -> Trial:
    """The first of the highest score."""
    return max(trials, key=lambda trial: trial.score)


def _trial(number: int, kept: Any, known: Sequence[Weights], recipe: Recipe) -> Trial:
    attributes = kept.user_attrs
    weights = _weights(number, kept.params, known, recipe)
    return Trial(number, weights, attributes["agreement"], attributes["rise"], kept.value)


def _weights(number: int, params: dict[str, float], known: Sequence[Weights], recipe: Recipe) -> Weights:
    if number < len(known):
        return known[number]  # as they are, without the rounding of another scaling
    return summing_as(recipe.weights, tuple((depth, params[str(depth)]) for depth, _ in recipe.weights))


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise Problem(
            "bad_request",
            "the search for weights needs the package optuna; run: pip install 'green-code[train]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
