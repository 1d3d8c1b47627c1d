"""The steps of `green-code adapt` after the weights: lenses, KV projections, SVD head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from green_code.kernels.weight_format import weight_formats
from green_code.models.adapters import Adapters, check_adapters, read_adapter_file, read_adapters, save_adapters
from green_code.models.backend import Backend
from green_code.models.bundle import AGENT, CALIBRATION, KV_PROJECTIONS, LENSES, SVD_HEAD, Bundle
from green_code.models.config import ModelConfig
from green_code.models.conversion import adapted_weights
from green_code.models.device import compute_device
from green_code.models.hashes import sha256_of
from green_code.models.torch_decoder import Decoder
from green_code_lab.heads.kv_projections import WINDOWS, compare, train_kv_projections
from green_code_lab.heads.lenses import POSITIONS, record_states, train_lens
from green_code_lab.heads.svd_head import MOMENT_POSITIONS, depths_that_count, second_moment, write_svd_head
from green_code_lab.lite.job import Job, check_prefill_exit, log
from green_code_lab.lite.scores import MANIFEST_POSITIONS, Scores, rounded, score


def make_lenses(job: Job) -> None:
    """A lens for each exit, and scores with and without. Everything made behind the old lenses is removed.

    Raises Problem where there is no adapted bundle.
    """
    bundle = job.adapted()
    if job.config.row.norm != "rms":
        log(f"lenses need RMS norms: {job.config.family} gets none")
        return
    config, weights = adapted_weights(job.found, bundle)
    corpus, bos, depths = job.corpus_of(bundle), job.vocabulary.bos, (*bundle.exits, config.layers)
    decoder = _backend(config, weights, Adapters())
    states, counts = record_states(decoder, corpus, depths, POSITIONS, bos, log)
    head = torch.from_numpy(weights["embed.weight" if config.tied_head else "head.weight"] * weights["norm.weight"])
    last, eps, lenses = states[config.layers], config.norm_eps, {}
    for depth in bundle.exits:
        log(f"lens of exit {depth}")
        lenses[depth] = train_lens(states[depth], last, head, counts, eps, job.args.seed, compute_device(), log)
    part = job.bundle / f"{LENSES}.part"
    save_adapters(part, lenses)
    scored, held_out = Decoder.load(config, weights), dict[str, Scores]()
    for name, applied in (("plain", {}), ("lens", read_adapter_file(part))):
        scored.set_lenses(applied)
        held_out[name] = score(scored, corpus, bundle.exits, MANIFEST_POSITIONS, bos)
        for language, by in rounded(held_out[name], 3).items():
            log(f"{name} {language} {by}")
    record = {"positions": len(last), "seed": job.args.seed, "held_out": held_out}
    manifest = {k: v for k, v in bundle.manifest.items() if k not in ("agent", "kv_projections")}
    stale = (KV_PROJECTIONS, SVD_HEAD, AGENT, CALIBRATION)
    job.replace_part(part, LENSES, stale, {**manifest, "lenses": record})
    log("lenses written; next: `green-code adapt kv-projections`, `adapt svd-head` and `green-code train`")


def make_kv_projections(job: Job) -> None:
    """The prefill exit, and the KV projections of the layers above it. The calibration is removed.

    Raises Problem where there is no adapted bundle, or the prefill exit is no layer up to its last exit.
    """
    bundle = job.adapted()
    prefill_exit: int | None = bundle.prefill_exit if job.args.prefill_exit is None else job.args.prefill_exit
    if prefill_exit is None:
        log("no --prefill-exit: prompts run as deep as their tokens do, and need no KV projections")
        return
    check_prefill_exit(prefill_exit, bundle.exits)
    corpus = job.corpus_of(bundle)
    config, weights = adapted_weights(job.found, bundle)
    adapters = _adapters(bundle.without(KV_PROJECTIONS), config)  # old ones may not fit any more
    served = _backend(config, weights, adapters)
    decoder, bos = Decoder.load(config, weights).to(compute_device()), job.vocabulary.bos
    decoder.set_lenses(adapters.lenses)
    trained = train_kv_projections(
        decoder, served, corpus, prefill_exit, bundle.exits, bos, WINDOWS, job.args.seed, log
    )
    part = job.bundle / f"{KV_PROJECTIONS}.part"
    save_adapters(part, trained)
    learned = _backend(config, weights, replace(adapters, kv_projections=read_adapter_file(part)))
    held_out = compare({"plain": served, "learned": learned}, corpus, prefill_exit, bundle.exits, bos)
    for name, by in held_out.items():
        log(f"{name} {json.dumps(by)}")
    record = {"windows": WINDOWS, "exits": list(bundle.exits), "seed": job.args.seed, "held_out": held_out}
    manifest = {**bundle.manifest, "prefill_exit": prefill_exit, "kv_projections": record}
    job.replace_part(part, KV_PROJECTIONS, (CALIBRATION,), manifest)
    log("KV projections written; next: `green-code train calibrate`")


def make_svd_head(job: Job) -> None:
    """The SVD head of the bundle's head and lenses. Agent and calibration are removed where it changes.

    Raises Problem where there is no adapted bundle.
    """
    bundle = job.adapted()
    if not job.config.tied_head or job.config.row.norm != "rms":
        log(f"the head of {job.config.family} always runs whole: it gets no SVD head")
        return
    config, weights = adapted_weights(job.found, bundle)
    moment = second_moment(
        _backend(config, weights, _adapters(bundle, config)),
        torch.from_numpy(weights["norm.weight"]),
        job.corpus_of(bundle),
        depths_that_count(job.recipe_of(bundle).exits, config.layers),
        MOMENT_POSITIONS,
        job.vocabulary.bos,
    )
    part = job.bundle / f"{SVD_HEAD}.part"
    write_svd_head(weights["embed.weight"], moment.numpy(), part)
    if bundle.part(SVD_HEAD) is not None and sha256_of(part) == sha256_of(job.bundle / SVD_HEAD):
        part.unlink()
        log("the SVD head is unchanged")
        return
    manifest = {k: v for k, v in bundle.manifest.items() if k != "agent"}
    job.replace_part(part, SVD_HEAD, (AGENT, CALIBRATION), manifest)
    log("SVD head written; next: `green-code train`, as rollouts and agent were made with the old head")


def _backend(config: ModelConfig, weights: Mapping[str, np.ndarray], adapters: Adapters) -> Backend:
    return next(iter(weight_formats(compute_device().type))).build(config, weights, adapters)


def _adapters(bundle: Bundle, config: ModelConfig) -> Adapters:
    """Raises Problem where they do not fit the model."""
    adapters = read_adapters(bundle)
    check_adapters(bundle, adapters, config)
    return adapters
