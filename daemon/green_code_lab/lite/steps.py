"""The steps of `green-code adapt` that give a bundle its weights: n-grams, LITE, and the exported delta."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    DELTA,
    KV_PROJECTIONS,
    LENSES,
    MANIFEST,
    NGRAMS,
    SVD_HEAD,
    Bundle,
    changing,
    refresh_manifest,
)
from green_code.models.catalog import Found
from green_code.models.config import ModelConfig
from green_code.models.conversion import adapted_weights
from green_code.models.delta import Delta, same_delta, save_delta
from green_code.models.device import compute_device
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from green_code.models.torch_format import as_tensors
from green_code.problems import Problem
from green_code_lab.corpus import open_corpus
from green_code_lab.corpus.ngrams import write_ngrams
from green_code_lab.lite import checkpoint
from green_code_lab.lite.job import Job, check_prefill_exit, log, shards_of
from green_code_lab.lite.joules import total, whole
from green_code_lab.lite.low_rank import merged
from green_code_lab.lite.memory import USABLE, free_memory
from green_code_lab.lite.monitors import BEYOND_REPAIR, worst_rise
from green_code_lab.lite.recipe import FROZEN, Recipe, focused, recipe_named
from green_code_lab.lite.scores import MANIFEST_POSITIONS, WINDOW, Scores, losses_at, rounded, score
from green_code_lab.lite.trainer import Start, TrainingInputs, train

Watch = Callable[[Job, Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, dict[str, Any]]]
"""Compares weights at full depth, before and after training. Raises Problem where the latter lose too much; gives what it found."""


def make_ngrams(job: Job) -> None:
    """The bundle's n-gram table."""
    corpus = open_corpus(job.corpus_folder, job.vocabulary, WINDOW, WINDOW)
    with changing(job.bundle) as folder:
        write_ngrams(corpus, job.vocabulary.digest, folder / NGRAMS, log)
        if (folder / MANIFEST).is_file():
            refresh_manifest(folder)


def requested_recipe(job: Job) -> Recipe:
    """The recipe that the arguments ask for.

    Raises Problem where it trains no layer, it has no step, its exits are no layers, or the prefill exit is above the last of them.
    """
    if job.args.recipe == FROZEN:
        raise Problem("bad_request", f"the recipe {FROZEN} trains no layer; give --recipe lite or --recipe paper.")
    recipe = recipe_named(job.args.recipe, job.config.layers, job.args.tokens)
    recipe = replace(
        recipe,
        seed=job.args.seed,
        learning_rate=job.args.rate or recipe.learning_rate,
        rank=job.args.rank,
        optimiser=job.args.optimiser,
    )
    if job.requested_exits:
        recipe = focused(recipe, job.requested_exits, job.config.layers)
    if not recipe.steps:
        raise Problem(
            "bad_request", f"--tokens {recipe.tokens} is less than one step; give at least {recipe.tokens_per_step}."
        )
    if job.args.prefill_exit is not None:
        check_prefill_exit(job.args.prefill_exit, recipe.exits)
    return recipe


def train_lite(job: Job) -> None:
    recipe = requested_recipe(job)
    corpus, start = job.corpus(recipe.tokens_per_step), Start(None)
    if not (job.lite_folder / checkpoint.STATE).is_file():
        start, sentence = starting_point(job.found, job.own, job.served, recipe)
        log(sentence)
    inputs = TrainingInputs(job.config, job.base, corpus, job.vocabulary.bos, job.subject, start, job.infilling)
    train(inputs, recipe, job.lite_folder, log)


def starting_point(found: Found, own: Bundle | None, served: Bundle | None, recipe: Recipe) -> tuple[Start, str]:
    """Where a run of `recipe` for the bundle `own` starts, and a sentence for the log.

    A bundle of the same recipe that was exported part way resumes at its step. Otherwise a run starts from the bundle's
    own weights, else from those the model is served with, else from the untouched ones. Differences of low rank are those
    from the untouched weights.
    """
    for bundle in (own, served):
        if bundle is None or bundle.part(DELTA) is None or recipe.rank is not None:
            continue
        training = bundle.manifest["training"]
        weights, earlier = as_tensors(adapted_weights(found, bundle)[1]), training["earlier"]
        same = json.dumps(training["recipe"]) == json.dumps(asdict(recipe))
        if bundle is own and same and training["step"] < recipe.steps:
            return (
                Start(weights, training["step"], _own(training, "joules"), earlier),
                f"resuming from bundle {bundle.name} at step {training['step']} of {recipe.steps}",
            )
        record = {name: training[name] for name in ("recipe", "energy_source")}
        run = {**record, **{name: _own(training, name) for name in ("tokens", "joules")}}
        return (
            Start(weights, earlier=[*earlier, run]),
            f"starting from bundle {bundle.name}, trained on {training['tokens']:,} tokens",
        )
    return Start(None), "starting from the untouched weights"


def _own(training: Mapping[str, Any], name: str) -> Any:
    """A sum of a training record without the earlier runs; None where it is unknown."""
    earlier = total([run[name] for run in training["earlier"]])
    return None if None in (training[name], earlier) else training[name] - earlier


def training_record(state: Mapping[str, Any], recipe: Recipe, corpus: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's `training` for a checkpoint, tokens and joules summed over all runs. `corpus`: shards of corpus.json."""
    earlier = state["earlier"]
    return {
        "method": "LITE",
        "recipe": state["recipe"],
        "step": state["step"],
        "tokens": state["step"] * recipe.tokens_per_step + sum(run["tokens"] for run in earlier),
        "joules": whole(total([state["joules"], *(run["joules"] for run in earlier)])),
        "energy_source": state["energy_source"],
        "earlier": earlier,
        "corpus": corpus,
    }


def export(job: Job, watch: Watch) -> None:
    """Write delta, manifest and scores (untouched, trained, exported). A bundle that has these weights stays as it is.

    Raises Problem where there is no run, it is of another base model or corpus, its weights are not finite, or full depth lost too much.
    """
    state = checkpoint.load(job.lite_folder)
    if state is None:
        raise Problem("bad_request", f"{job.lite_folder} has no run; run `green-code adapt lite` first.")
    recipe, base = checkpoint.recipe_of(state["recipe"]), job.base()
    corpus = job.corpus(recipe.tokens_per_step)
    checkpoint.check(job.lite_folder, state, recipe, job.subject)
    changed = merged(base, checkpoint.weights(job.lite_folder, state))
    new = job.bundle / f"{DELTA}.new"
    write_delta(base, changed, job.config.layers, new)
    if (job.bundle / DELTA).is_file() and same_delta(new, job.bundle / DELTA):
        new.unlink()
        log(f"{job.bundle} has these weights already")
        return
    training, held_out = training_record(state, recipe, shards_of(job.corpus_folder)), dict[str, Scores]()

    def add_scores(name: str, weights: Mapping[str, Tensor]) -> None:
        decoder = Decoder.load(job.config, weights).to(_scoring_device(job.config))
        held_out[name] = score(decoder, corpus, recipe.exits, MANIFEST_POSITIONS, job.vocabulary.bos)
        for language, by in rounded(held_out[name], 3).items():
            log(f"{name} {language} {by}")

    add_scores("untouched", base)
    add_scores("trained", {**base, **changed})
    del changed  # a large model's layers would be held a third time
    delta = Delta(new)
    shipped = {**base, **{name: base[name] + torch.from_numpy(delta.read(name)) for name in delta.names}}
    add_scores("shipped", shipped)
    training["held_out"] = held_out
    try:
        _check_damage(job, held_out)
        training["watch"] = watch(job, base, shipped)
    except Problem:
        new.unlink()
        raise
    manifest = job.manifest(recipe.exits, training, ("delta", "lenses", "kv_projections"))
    job.replace_part(new, DELTA, (LENSES, KV_PROJECTIONS, SVD_HEAD, AGENT, CALIBRATION), manifest)


def _scoring_device(config: ModelConfig) -> torch.device:
    """The fastest that has room for the weights."""
    device, size = compute_device(), 4 * sum(map(prod, weight_shapes(config).values()))
    return device if size <= USABLE * free_memory(device, 1) else torch.device("cpu")


def write_delta(base: Mapping[str, Tensor], trained: Mapping[str, Tensor], layers: int, path: Path) -> None:
    """Write delta.safetensors: the layers' matrices quantised in groups, their norms as they are.

    3 bits a value, and 2 in the last quarter of the layers, which few exits depend on: 40 MB for the default model.
    """
    bits = {
        name: 3 if int(name.split(".")[1]) < layers * 3 // 4 else 2
        for name, weight in trained.items()
        if weight.dim() == 2
    }
    before, after = ({name: w.float().numpy() for name, w in weights.items()} for weights in (base, trained))
    save_delta(path, before, after, bits)


def _check_damage(job: Job, held_out: Mapping[str, Scores]) -> None:
    """Raises Problem where the last layer's loss rose by more than exits can be worth."""
    losses = [losses_at(held_out[name], job.config.layers) for name in ("untouched", "shipped")]
    language, rise = worst_rise(*losses)
    if rise > BEYOND_REPAIR:
        raise Problem(
            "bad_request",
            f"the last layer's held-out loss on {language} is {rise:.1%} above the untouched model's: this run is not exported. Train on more tokens, or restart in another --work folder with a lower --rate.",
        )
