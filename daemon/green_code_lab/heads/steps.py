"""The steps of `green-code adapt` that teach how states of the adapted weights are read: lenses, entries, the head's screen."""

from __future__ import annotations

import json
from dataclasses import replace

from green_code.kernels.weight_format import weight_formats
from green_code.models.adapters import Adapters, read_adapters, read_lenses, save_lenses
from green_code.models.backend import first_supporting
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    KV_PROJECTIONS,
    LENSES,
    SVD_HEAD,
    write_manifest,
)
from green_code.models.decoder import Decoder
from green_code.models.device import compute_device
from green_code.models.sources import sha256_of
from green_code.models.weights import adapted_weights
from green_code_lab.heads.kv_projections import WINDOWS, compare, learn_kv_projections
from green_code_lab.heads.lenses import POSITIONS, learn_lens, record_states
from green_code_lab.heads.svd_head import MOMENT_POSITIONS, depths_that_count, second_moment, write_svd_head
from green_code_lab.lite import checkpoint
from green_code_lab.lite.job import Job, check_prefill_exit, say
from green_code_lab.lite.scores import MANIFEST_POSITIONS, Scores, rounded, score


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
    decoder = first_supporting(weight_formats(), config).build(config, weights, Adapters())
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
        scored.set_lenses(worn)
        held_out[name] = score(scored, corpus, bundle.exits, MANIFEST_POSITIONS, bos)
        for language, by in held_out[name].items():
            say(f"{name} {language} {rounded(by)}")
    record = {"positions": len(states[config.layers]), "seed": job.args.seed, "held_out": held_out}
    manifest = {k: v for k, v in bundle.manifest.items() if k not in ("agent", "kv_projections")}
    job.forget(KV_PROJECTIONS, SVD_HEAD, AGENT, CALIBRATION)
    part.replace(job.bundle / LENSES)
    write_manifest(job.bundle, {**manifest, "lenses": record})
    say(
        "lenses written; `green-code adapt kv-projections`, `adapt svd-head` and `train` make entries, screen, agent and calibration anew"
    )


def make_kv_projections(job: Job) -> None:
    """The prefill exit, and what layers above it make of settled positions. The calibration was of the entries before.

    Raises:
        Problem: there is no adapted bundle, or the prefill exit is no layer up to its last exit.
    """
    bundle = job.adapted()
    prefill_exit: int | None = bundle.prefill_exit if job.args.prefill_exit is None else job.args.prefill_exit
    if prefill_exit is None:
        say(
            "no prefill exit is given: prompts rise as far as their tokens do, and there are no entries to learn"
        )
        return
    check_prefill_exit(prefill_exit, bundle.exits)
    corpus = job.corpus(checkpoint.recipe_of(bundle.manifest["training"]["recipe"]))
    config, weights = adapted_weights(job.found, bundle)
    # Entries before these may not fit any more, and are made anew.
    adapters = read_adapters(bundle.without(KV_PROJECTIONS), config)
    served = first_supporting(weight_formats(), config).build(config, weights, adapters)
    decoder, bos = Decoder.load(config, weights).to(compute_device()), job.vocabulary.bos
    decoder.set_lenses(adapters.lenses)
    entries = learn_kv_projections(
        decoder, served, corpus, prefill_exit, bundle.exits, bos, WINDOWS, job.args.seed, say
    )
    part = job.bundle / f"{KV_PROJECTIONS}.part"
    save_lenses(part, entries)
    learned = first_supporting(weight_formats(), config).build(
        config, weights, replace(adapters, entries=read_lenses(part))
    )
    held_out = compare({"plain": served, "learned": learned}, corpus, prefill_exit, bundle.exits, bos)
    for name, by in held_out.items():
        say(f"{name} {json.dumps(by)}")
    record = {
        "windows": WINDOWS,
        "exits": list(bundle.exits),
        "seed": job.args.seed,
        "held_out": held_out,
    }
    job.forget(CALIBRATION)
    part.replace(job.bundle / KV_PROJECTIONS)
    write_manifest(job.bundle, {**bundle.manifest, "prefill_exit": prefill_exit, "kv_projections": record})
    say("entries written; `green-code train calibrate` makes the calibration anew")


def make_svd_head(job: Job) -> None:
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
        first_supporting(weight_formats(), config).build(config, weights, read_adapters(bundle, config)),
        weights["norm.weight"],
        job.corpus(recipe),
        depths_that_count(recipe.exits, config.layers),
        MOMENT_POSITIONS,
        job.vocabulary.bos,
    )
    part = job.bundle / f"{SVD_HEAD}.part"
    write_svd_head(weights["embed.weight"], moment, part)
    if bundle.part(SVD_HEAD) is not None and sha256_of(part) == sha256_of(job.bundle / SVD_HEAD):
        part.unlink()
        say("the screen is what it was")
        return
    job.forget(AGENT, CALIBRATION)
    part.replace(job.bundle / SVD_HEAD)
    write_manifest(job.bundle, {k: v for k, v in bundle.manifest.items() if k != "agent"})
    say(
        "screen written; rollouts and the agent are of the head behind it: `green-code train` makes them anew"
    )
