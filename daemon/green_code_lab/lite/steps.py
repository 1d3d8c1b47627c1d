"""The steps of `green-code adapt` that give a bundle its weights: n-grams, LITE, and the delta that is shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from green_code.decoding.exit_policies import parse_exits
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    DELTA,
    KV_PROJECTIONS,
    LENSES,
    MANIFEST,
    NGRAMS,
    SVD_HEAD,
    refresh_manifest,
    write_manifest,
)
from green_code.models.catalog import DEFAULT
from green_code.models.decoder import Decoder
from green_code.models.delta import read_delta, same_delta
from green_code.problems import Problem
from green_code_lab.corpus import ABOUT, open_corpus
from green_code_lab.corpus.ngrams import MOST_TOKENS, write_ngrams
from green_code_lab.lite import checkpoint
from green_code_lab.lite.export import export_delta
from green_code_lab.lite.job import Job, check_prefill_exit, say
from green_code_lab.lite.lineage import beginning, training_record
from green_code_lab.lite.monitors import BEYOND_REPAIR, worst_rise
from green_code_lab.lite.recipe import Recipe, focused, recipe_named
from green_code_lab.lite.scores import MANIFEST_POSITIONS, WINDOW, Scores, losses_at, rounded, score
from green_code_lab.lite.trainer import Lesson, Start, train


def make_ngrams(job: Job) -> None:
    """The bundle's table of n-grams; a bundle's manifest is brought up to date. Larger vocabularies than it holds have none."""
    if len(job.vocabulary) > MOST_TOKENS:
        say(
            f"no table of n-grams: it holds {MOST_TOKENS:,} tokens, and this vocabulary has {len(job.vocabulary):,}"
        )
        return
    corpus = open_corpus(job.args.work / "corpus", job.vocabulary, WINDOW, WINDOW)
    write_ngrams(corpus, job.vocabulary.digest, job.bundle / NGRAMS, say)
    if (job.bundle / MANIFEST).is_file():
        refresh_manifest(job.bundle)


def asked_recipe(job: Job) -> Recipe:
    """What is asked for.

    Raises:
        Problem: it has no step, its exits are no layers, or prompts would settle behind the last of them.
    """
    recipe = recipe_named(job.args.recipe, job.config.layers, job.args.tokens)
    recipe = replace(recipe, seed=job.args.seed, learning_rate=job.args.rate or recipe.learning_rate)
    if job.args.exits:
        recipe = focused(recipe, parse_exits(job.args.exits, job.config.layers), job.config.layers)
    if not recipe.steps:
        raise Problem(
            "bad_request",
            f"--tokens {recipe.tokens} is less than one step; give at least {recipe.tokens_per_step}.",
        )
    if job.args.prefill_exit is not None:
        check_prefill_exit(job.args.prefill_exit, recipe.exits)
    return recipe


def train_lite(job: Job) -> None:
    recipe = asked_recipe(job)
    corpus, start = job.corpus(recipe), Start(None)
    if not (job.lite_folder / checkpoint.STATE).is_file():
        start, sentence = beginning(job.found, job.bundle, job.served, recipe)
        say(sentence)
    lesson = Lesson(job.config, job.base(), corpus, job.vocabulary.bos, job.subject, start)
    train(lesson, recipe, job.lite_folder, say)


def export(job: Job) -> None:
    """Delta, manifest and scores: untouched, as trained, as shipped. A bundle that has these weights is left alone.

    Raises:
        Problem: there is no run, it is of another base model or corpus, or its weights are not finite.
    """
    state = checkpoint.load(job.lite_folder)
    if state is None:
        raise Problem("bad_request", f"{job.lite_folder} holds no run; run `green-code adapt lite` first.")
    recipe, base = checkpoint.recipe_of(state["recipe"]), job.base()
    corpus = job.corpus(recipe)
    checkpoint.check(job.lite_folder, state, recipe, job.subject)
    trained = {**base, **state["weights"]}
    new = job.bundle / f"{DELTA}.new"
    export_delta(base, trained, job.config.layers, new)
    if (job.bundle / DELTA).is_file() and same_delta(new, job.bundle / DELTA):
        new.unlink()
        say(f"{job.bundle} has these weights already")
        return
    shipped = {**base, **{name: base[name] + delta for name, delta in read_delta(new)}}
    about = json.loads((job.args.work / "corpus" / ABOUT).read_text("utf-8"))
    training = training_record(state, recipe, about["shards"])
    training["held_out"] = {}
    for name, weights in (("untouched", base), ("trained", trained), ("shipped", shipped)):
        decoder = Decoder.load(job.config, weights)
        scores = score(decoder, corpus, recipe.exits, MANIFEST_POSITIONS, job.vocabulary.bos)
        training["held_out"][name] = scores
        for language, by in scores.items():
            say(f"{name} {language} {rounded(by)}")
    _refuse_damage(job, training["held_out"], new)
    gemma = "Gemma Terms of Use" if job.base_name == DEFAULT else "that of the base model"
    prefill_exit = job.served_prefill_exit()
    # From here on one after the other.
    new.replace(job.bundle / DELTA)
    job.forget(LENSES, KV_PROJECTIONS, SVD_HEAD, AGENT, CALIBRATION)
    write_manifest(job.bundle, {
        "base": {"model": job.base_name, "sha256": job.fingerprint},
        "exits": list(recipe.exits),
        **({"prefill_exit": prefill_exit} if prefill_exit is not None and prefill_exit <= recipe.exits[-1] else {}),
        "training": training,
        "licences": {**dict.fromkeys(("base", "delta", "lenses", "kv_projections"), gemma), "agent": "Apache-2.0"},
    })  # fmt: skip


def _refuse_damage(job: Job, held_out: Mapping[str, Scores], new: Path) -> None:
    """Raises Problem when the last layer has lost more than exits can be worth."""
    losses = [losses_at(held_out[name], job.config.layers) for name in ("untouched", "shipped")]
    language, rise = worst_rise(*losses)
    if rise > BEYOND_REPAIR:
        new.unlink()
        raise Problem(
            "bad_request",
            f"the last layer's held-out loss on {language} is {rise:.1%} over the untouched model's: this run is not shipped. Train more tokens, or begin again in another --work folder with a lower --rate.",
        )
