"""The step of `green-code adapt` that lets layers above the plateau learn what settles: from the bundle that is there, into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from green_code.adaptation.checkpoint import STATE, as_stored
from green_code.adaptation.entries import compare, deciding
from green_code.adaptation.export import export_delta
from green_code.adaptation.job import Job, say
from green_code.adaptation.recipe import SettledRecipe
from green_code.adaptation.scores import Scores, score_as_seen
from green_code.adaptation.settled_layers import Taught, Teaching
from green_code.adaptation.settling import Settling
from green_code.adaptation.trainer import Lesson, Start
from green_code.adaptation.weights_steps import refuse_damage
from green_code.kernels.form import forms
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    DELTA,
    ENTRIES,
    LENSES,
    SCREEN,
    SETTLED,
    VOCABULARY,
    Bundle,
    write_manifest,
)
from green_code.models.decoder import Decoder
from green_code.models.delta import read_delta
from green_code.models.reading import bundled_reading, read_lenses, save_lenses
from green_code.models.serving import first_that_serves
from green_code.models.weights import adapted_weights
from green_code.problems import Problem


def settle_prompts(job: Job) -> None:
    """Weights above the plateau, and entries, that have learned what settles. Screen, agent and calibration were of those before.

    Raises:
        Problem: there is no adapted bundle, prompts cannot settle where they are asked to, there is no step in the tokens that are
            asked for, see `Teaching`, or the last layer was damaged.
    """
    bundle, settling = job.adapted(), job.asked_settling()
    settling.check(bundle.exits, job.config.layers)
    if settling.plateau is None:
        raise Problem(
            "bad_request",
            "this bundle's prompts rise whole; give the layer on which they are to settle, with --plateau.",
        )
    recipe = SettledRecipe(
        tuple(deciding(bundle.exits, settling.plateau, job.config.layers)), job.args.tokens, job.args.seed
    )
    recipe = replace(recipe, learning_rate=job.args.rate or recipe.learning_rate)
    recipe.check()
    corpus, base, bos = job.corpus(recipe), job.base(), job.vocabulary.bos
    config, weights = adapted_weights(job.found, bundle)
    kept = bundle if Settling.of(bundle) == settling else bundle.without(ENTRIES)
    reading = replace(bundled_reading(kept, config), sublayers=settling.sublayers)
    form = first_that_serves(forms(), config)
    begun = {part: bundle.manifest["files"].get(part, "") for part in (VOCABULARY, DELTA, LENSES, ENTRIES)}
    lesson = Lesson(
        config, base, corpus, bos, {**job.subject, **begun, "settling": str(settling)}, Start(weights)
    )
    run = job.args.work / "settle"
    served = form.build(config, weights, reading)
    taught = Teaching(lesson, recipe, reading, served, settling.plateau, run, say).go()

    delta, entries = job.bundle / f"{DELTA}.new", job.bundle / f"{ENTRIES}.part"
    export_delta(base, taught.matrices, config.layers, delta, others=bundle.part(DELTA))
    save_lenses(entries, taught.entries)
    shipped = {**base, **{name: base[name] + change for name, change in read_delta(delta)}}
    scores = score_as_seen(Decoder.load(config, shipped), reading.lenses, corpus, bundle.exits, bos, say)
    try:
        refuse_damage(job, {"untouched": _untouched(bundle), "shipped": scores["plain"]}, delta)
    except Problem:
        entries.unlink()
        raise
    learned = form.build(config, shipped, replace(reading, entries=read_lenses(entries)))
    behind = compare({"learned": learned}, corpus, settling.plateau, bundle.exits, bos)
    say(f"behind what settled: {json.dumps(behind)}")
    manifest = _manifest(bundle, settling, recipe, taught, scores, behind)
    # From here on one after the other.
    job.forget(SCREEN, AGENT, CALIBRATION)
    delta.replace(job.bundle / DELTA)
    entries.replace(job.bundle / ENTRIES)
    write_manifest(job.bundle, manifest)
    (run / STATE).unlink()  # asked for again, it is another run
    say(
        "weights and entries written; `green-code adapt screen` and `train` make screen, agent and calibration anew"
    )


def _untouched(bundle: Bundle) -> Scores:
    """Of the base model, as the bundle's manifest has them; JSON has turned depths into words."""
    found: Scores = {
        language: {name: {int(depth): value for depth, value in of.items()} for name, of in by.items()}
        for language, by in bundle.manifest["training"]["held_out"]["untouched"].items()
    }
    return found


def _manifest(
    bundle: Bundle,
    settling: Settling,
    recipe: SettledRecipe,
    taught: Taught,
    scores: Mapping[str, Scores],
    behind: Mapping[str, Any],
) -> dict[str, Any]:
    """The bundle's, with one run more."""
    old = bundle.manifest
    run = {
        "recipe": as_stored(recipe),
        "tokens": taught.step * recipe.tokens_per_step,
        "joules": round(taught.joules),
        "energy_source": taught.energy_source,
    }
    training = old["training"]
    found = {
        **{name: value for name, value in old.items() if name != "agent"},
        **settling.to_manifest(),
        "training": {**training, "held_out": {**training["held_out"], "shipped": scores["plain"]}},
        SETTLED: [*old.get(SETTLED, []), run],
        "entries": {"exits": list(bundle.exits), "seed": recipe.seed, "held_out": behind["learned"]},
    }
    if "lenses" in old:
        found["lenses"] = {**old["lenses"], "held_out": dict(scores)}
    return found
