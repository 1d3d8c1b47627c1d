"""The search for weights of the LITE loss: what it proposes, resumes, repeats, and carries to another depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.experiments import weight_search
from green_code_lab.experiments.interim import Interim
from green_code_lab.experiments.small_model import SmallModel, learned_weights, with_frequent_tokens
from green_code_lab.experiments.weight_search import Trial
from green_code_lab.experiments.weight_trials import Job, Outcome, SmallTrials, Trials, outcome_of
from green_code_lab.lite.recipe import Recipe, lite_recipe
from green_code_lab.lite.trainer import train

RECIPE = Recipe(
    exit_groups=((2, 3), (4,)), weights=((2, 1.0), (3, 1.0), (4, 1.0), (6, 1.0)), tokens=4096, learning_rate=1e-3, warm_up_steps=1
)  # fmt: skip


class Fake:
    """More weight at layer 3 agrees more; the last layer's loss rises where it has little. `jobs`: those that were trained."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        for job in jobs:
            self.jobs.append(job)
            weights = dict(job[0].weights)
            yield weights[3] / 4, max(0.0, 0.03 - weights[6] / 10) + job[0].seed / 1000


def searched(kept: Path, fake: Fake, trials: int, end: float = math.inf) -> list[Trial]:
    attempt = Trials(Interim(kept), {"corpus": "a"}, fake)
    return weight_search.search(RECIPE, 6, trials, 1024, attempt, end, lambda _: None)


def test_damage_beyond_the_defaults_own_is_paid_for() -> None:
    assert weight_search.objective((0.5, 0.02), (0.4, 0.03)) == 0.5
    assert weight_search.objective((0.5, 0.03), (0.4, 0.02)) == pytest.approx(0.4)
    untouched = weight_search.objective((0.5, 0.0), (0.4, -0.03))
    assert untouched == 0.5, "as the untouched model's, where the default's got better"


def test_weights_sum_as_the_recipes_and_the_known_ones_come_first(tmp_path: Path) -> None:
    found = searched(tmp_path / "kept", Fake(), 40)
    assert found[0].weights == RECIPE.weights
    # The paper's: 0.7 for layers 2 and 3, of which one is drawn a step, 0.2 for layer 4, 0.1 for the last.
    first = 0.7 / 1.9
    assert [w / found[1].weights[-1][1] for _, w in found[1].weights] == pytest.approx([20 * first, 18 * first, 2, 1])
    assert [sum(w for _, w in trial.weights) for trial in found] == pytest.approx([4] * 40)
    assert [trial.name for trial in found[:3]] == [weight_search.DEFAULT, weight_search.PAPER, "proposed, 2"]
    late, early = (max(trial.score for trial in part) for part in (found[24:], found[2:24]))
    assert late >= early, "the estimator proposes better weights than chance did"


def test_a_search_that_was_ended_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", Fake(), 32)
    first, second = Fake(), Fake()
    searched(tmp_path / "parts", first, 12)
    assert searched(tmp_path / "parts", second, 32) == whole
    assert (len(first.jobs), len(second.jobs)) == (12, 20)
    out_of_time = Fake()
    assert searched(tmp_path / "parts", out_of_time, 40, end=-math.inf) == whole and out_of_time.jobs == []


def test_outcomes_of_another_corpus_are_not_taken(tmp_path: Path) -> None:
    Trials(Interim(tmp_path / "kept"), {"corpus": "a"}, Fake())([(RECIPE, 1024)])
    fake = Fake()
    for corpus, positions in (("b", 1024), ("b", 1024), ("b", 2048)):
        Trials(Interim(tmp_path / "kept"), {"corpus": corpus}, fake)([(RECIPE, positions)])
    assert [positions for _, positions in fake.jobs] == [1024, 2048]


def test_repeated_weights_are_compared_seed_by_seed(tmp_path: Path) -> None:
    better = ((2, 1.0), (3, 1.5), (4, 0.5), (6, 1.0))
    chosen = [
        Trial(weight_search.DEFAULT, RECIPE.weights, (0.25, 0.0), 0.25),
        Trial("proposed, 7", better, (0.9, 0.0), 0.9),
    ]
    fake = Fake()
    attempt = Trials(Interim(tmp_path / "kept"), {}, fake)
    default, other = weight_search.repeated("small", chosen, RECIPE, 4096, attempt, math.inf, lambda _: None)
    assert RECIPE.seed not in {recipe.seed for recipe, _ in fake.jobs}, "the seed that chose them"
    assert default["score"] == pytest.approx([25] * 3) and default["more"] is None
    assert other["more"] == pytest.approx([12.5] * 3) and other["found"] == 90
    default, other = weight_search.repeated("small", chosen, RECIPE, 8192, attempt, -math.inf, lambda _: None)
    assert (other["seeds"], other["score"], other.get("more")) == (0, 90, None), "out of time: the search's"


def test_weights_are_carried_by_relative_depth() -> None:
    small, whole = lite_recipe(10, 4096), lite_recipe(18, 4096)
    weights = ((3, 2.0), (4, 1.0), (6, 0.5), (7, 1.5), (8, 0.8), (10, 0.2))
    assert weight_search.carried(weights, 10, small.weights, 10) == pytest.approx(np.array(weights))
    carried = dict(weight_search.carried(weights, 10, whole.weights, 18))
    assert list(carried) == [5, 7, 11, 13, 15, 18] and sum(carried.values()) == pytest.approx(6)
    # 5/18 is above the first exit, 15/18 behind the last one; 7/18 lies at .389 between .3 and .4, so near the latter.
    scale = carried[18] / 0.2
    between = math.exp(math.log(2) * (0.4 - 7 / 18) / 0.1)
    assert [carried[depth] / scale for depth in (5, 7, 15)] == pytest.approx([2.0, between, 0.8])


def test_depths_whose_weight_pays_are_told_from_others(tmp_path: Path) -> None:
    found = searched(tmp_path / "kept", Fake(), 42)
    rows = {row["depth"]: row for row in weight_search.by_depth(found, 6)}
    assert list(rows) == [2, 3, 4, 6] and rows[3]["relative"] == 0.5
    assert rows[3]["rank"] > 0.5 > rows[2]["rank"] and rows[3]["best"][0] > rows[3]["all"]
    assert weight_search.rank_correlation([1, 5, 3, 9], [2, 30, 4, 99]) == pytest.approx(1)
    assert weight_search.by_depth(found[:11], 6) == [], "too few for a tenth"


def test_a_budget_is_whole_steps() -> None:
    short = weight_search.shortened(replace(RECIPE, warm_up_steps=20), 41 * 2048, 7)
    assert (short.tokens, short.guard_tokens, short.warm_up_steps, short.seed) == (41 * 2048, 41 * 2048, 4, 7)
    with pytest.raises(Problem, match="at least 2048"):
        weight_search.shortened(RECIPE, 2000, 0)


def small_corpus() -> Corpus:
    """Of a language of eight words, of which a word says which one comes next."""
    words = np.tile(np.array([7, 50, 3, 90, 12, 31, 44, 60], np.uint16), 200)
    return Corpus({("python", "train"): words, ("python", "heldout"): words[:600]}, 12)


def test_rare_tokens_become_one() -> None:
    train, heldout = (np.array(ids, np.uint16) for ids in ([9, 5, 5, 5, 7, 7, 300], [5, 2, 7, 400, 9]))
    corpus, share = with_frequent_tokens(Corpus({("c", "train"): train, ("c", "heldout"): heldout}, 9), 4)
    assert corpus.document_marker == 0 and share == pytest.approx(6 / 7)
    assert corpus.shards["c", "train"].tolist() == [0, 1, 1, 1, 2, 2, 3]
    assert corpus.shards["c", "heldout"].tolist() == [1, 3, 2, 3, 0]


def test_a_small_model_is_trained_once_and_trials_start_from_it(tmp_path: Path) -> None:
    corpus, share = with_frequent_tokens(small_corpus(), 16)
    model = SmallModel(layers=4, width=64, vocabulary=16, learned=2 * 1024)
    inputs, reports = model.inputs(corpus, "corpus"), list[str]()
    first = learned_weights(model, inputs, tmp_path / "small", reports.append)
    again = learned_weights(model, inputs, tmp_path / "small", reports.append)
    assert share == 1 and "resuming at step 2 of 2" in reports
    assert all(torch.equal(first[name], weight) for name, weight in again.items())
    assert not torch.equal(first["layers.3.qkv.weight"], model.drawn()["layers.3.qkv.weight"])
    inputs = replace(inputs, base=lambda _: first, scored_positions=512)
    recipe = replace(lite_recipe(4, 512), batch=2, micro_batch=2, warm_up_steps=0, seed=0)
    train(inputs, recipe, tmp_path / "trial", reports.append)
    trial = SmallTrials(inputs)
    expected = pytest.approx(outcome_of(tmp_path / "trial", recipe))
    assert [trial((recipe, 512)) for _ in range(2)] == [expected] * 2, "though untouched scores are computed once"
