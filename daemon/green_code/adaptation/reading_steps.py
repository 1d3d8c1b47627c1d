"""The steps of `green-code adapt` that teach how states of the adapted weights are read: lenses, entries, the head's screen."""

from __future__ import annotations

import json
from dataclasses import replace

from green_code.adaptation import checkpoint
from green_code.adaptation.entries import WINDOWS, compare, learn_entries
from green_code.adaptation.job import Job, check_plateau, say
from green_code.adaptation.lenses import POSITIONS, learn_lens, record_states
from green_code.adaptation.scores import MANIFEST_POSITIONS, Scores, rounded, score
from green_code.adaptation.screen import MOMENT_POSITIONS, depths_that_count, second_moment, write_screen
from green_code.kernels.form import forms
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    ENTRIES,
    LENSES,
    SCREEN,
    write_manifest,
)
from green_code.models.decoder import Decoder
from green_code.models.device import compute_device
from green_code.models.reading import Reading, bundled_reading, read_lenses, save_lenses
from green_code.models.serving import first_that_serves
from green_code.models.sources import sha256_of
from green_code.models.weights import adapted_weights


def make_lenses(job: Job) -> None:
    """A lens for each exit that is decided at, and what it says behind it. Screen, agent and calibration were of what was said
    before.

    Raises:
        Problem: there is no adapted bundle.
    """
    bundle = job.adapted()
    if job.config.row.norm != "rms":
        say(f"a lens is for norms by the root mean square: {job.config.family} gets none")
        return
    recipe = checkpoint.recipe_of(bundle.manifest["training"]["recipe"])
    config, weights = adapted_weights(job.found, bundle)
    corpus, bos, depths = job.corpus(recipe), job.vocabulary.bos, (*bundle.exits, config.layers)
    decoder = first_that_serves(forms(), config).build(config, weights, Reading())
    states, counts = record_states(decoder, corpus, depths, POSITIONS, bos, say)
    head = weights["embed.weight" if config.tied_head else "head.weight"] * weights["norm.weight"]
    lenses = {}
    for depth in bundle.exits:
        say(f"lens of exit {depth}")
        lenses[depth] = learn_lens(
            states[depth], states[config.layers], head, counts, config.norm_eps, job.args.seed,
            decoder.device, say,
        )  # fmt: skip
    part = job.bundle / f"{LENSES}.part"
    save_lenses(part, lenses)
    scored, held_out = Decoder.load(config, weights), dict[str, Scores]()
    for name, worn in (("plain", {}), ("seen", read_lenses(part))):
        scored.wear(worn)
        held_out[name] = score(scored, corpus, bundle.exits, MANIFEST_POSITIONS, bos)
        for language, by in held_out[name].items():
            say(f"{name} {language} {rounded(by)}")
    record = {"positions": len(states[config.layers]), "seed": job.args.seed, "held_out": held_out}
    manifest = {k: v for k, v in bundle.manifest.items() if k not in ("agent", "entries")}
    job.forget(ENTRIES, SCREEN, AGENT, CALIBRATION)
    part.replace(job.bundle / LENSES)
    write_manifest(job.bundle, {**manifest, "lenses": record})
    say(
        "lenses written; `green-code adapt entries`, `adapt screen` and `train` make entries, screen, agent and calibration anew"
    )


def make_entries(job: Job) -> None:
    """The plateau, and what layers above it make of settled positions. The calibration was of the entries before.

    Raises:
        Problem: there is no adapted bundle, or the plateau is no layer up to its last exit.
    """
    bundle = job.adapted()
    plateau: int | None = bundle.plateau if job.args.plateau is None else job.args.plateau
    if plateau is None:
        say("no plateau is given: prompts rise as far as their tokens do, and there are no entries to learn")
        return
    check_plateau(plateau, bundle.exits)
    corpus = job.corpus(checkpoint.recipe_of(bundle.manifest["training"]["recipe"]))
    config, weights = adapted_weights(job.found, bundle)
    # Entries before these may not fit any more, and are made anew.
    reading = bundled_reading(bundle.without(ENTRIES), config)
    served = first_that_serves(forms(), config).build(config, weights, reading)
    decoder, bos = Decoder.load(config, weights).to(compute_device()), job.vocabulary.bos
    decoder.wear(reading.lenses)
    entries = learn_entries(decoder, served, corpus, plateau, bundle.exits, bos, WINDOWS, job.args.seed, say)
    part = job.bundle / f"{ENTRIES}.part"
    save_lenses(part, entries)
    learned = first_that_serves(forms(), config).build(
        config, weights, replace(reading, entries=read_lenses(part))
    )
    held_out = compare({"plain": served, "learned": learned}, corpus, plateau, bundle.exits, bos)
    for name, by in held_out.items():
        say(f"{name} {json.dumps(by)}")
    record = {
        "windows": WINDOWS,
        "exits": list(bundle.exits),
        "seed": job.args.seed,
        "held_out": held_out,
    }
    job.forget(CALIBRATION)
    part.replace(job.bundle / ENTRIES)
    write_manifest(job.bundle, {**bundle.manifest, "plateau": plateau, "entries": record})
    say("entries written; `green-code train calibrate` makes the calibration anew")


def make_screen(job: Job) -> None:
    """The screen of the head that the bundle is served with.

    Raises:
        Problem: there is no adapted bundle.
    """
    bundle = job.adapted()
    if not job.config.tied_head or job.config.row.norm != "rms":
        say(f"the head of {job.config.family} is run whole: it gets no screen")
        return
    recipe = checkpoint.recipe_of(bundle.manifest["training"]["recipe"])
    config, weights = adapted_weights(job.found, bundle)
    moment = second_moment(
        first_that_serves(forms(), config).build(config, weights, bundled_reading(bundle, config)),
        weights["norm.weight"],
        job.corpus(recipe),
        depths_that_count(recipe.exits, config.layers),
        MOMENT_POSITIONS,
        job.vocabulary.bos,
    )
    part = job.bundle / f"{SCREEN}.part"
    write_screen(weights["embed.weight"], moment, part)
    if bundle.part(SCREEN) is not None and sha256_of(part) == sha256_of(job.bundle / SCREEN):
        part.unlink()
        say("the screen is what it was")
        return
    job.forget(AGENT, CALIBRATION)
    part.replace(job.bundle / SCREEN)
    write_manifest(job.bundle, {k: v for k, v in bundle.manifest.items() if k != "agent"})
    say(
        "screen written; rollouts and the agent are of the head behind it: `green-code train` makes them anew"
    )
