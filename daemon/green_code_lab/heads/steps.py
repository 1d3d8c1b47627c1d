"""The steps of `green-code adapt` beside the layers' weights: exits with their lenses, KV projections, SVD head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from green_code.kernels.packing import head_weight
from green_code.kernels.weight_format import weight_formats
from green_code.memory import available_memory
from green_code.models.adapters import (
    LENS_BITS,
    PROJECTION_BITS,
    Adapters,
    LinearAdapter,
    check_adapters,
    read_adapter_file,
    read_adapters,
    save_adapters,
)
from green_code.models.backend import Backend
from green_code.models.bundle import AGENT, CALIBRATION, DELTA, KV_PROJECTIONS, LENSES, SVD_HEAD, Bundle
from green_code.models.config import ModelConfig
from green_code.models.conversion import adapted_config, adapted_tensors, adapted_weights
from green_code.models.device import compute_device
from green_code.models.hashes import sha256_of
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from green_code.models.weights import open_model
from green_code.problems import Problem
from green_code_lab.corpus import Corpus, corpus_digest
from green_code_lab.corpus.command import vocabulary_ids
from green_code_lab.heads.depths import (
    Predictions,
    candidate_depths,
    choose_exits,
    head_layers,
    predict,
    saving,
    scores,
)
from green_code_lab.heads.exit_heads import train_exit_head
from green_code_lab.heads.kv_projections import compare, train_kv_projections
from green_code_lab.heads.lenses import FREQUENT, lens_of, train_lens
from green_code_lab.heads.states import States, Windows, record_states
from green_code_lab.heads.svd_head import choose_directions, depths_that_count, second_moment
from green_code_lab.lite.job import Job, check_prefill_exit, log, shards_of
from green_code_lab.lite.memory import USABLE, free_memory
from green_code_lab.lite.recipe import FROZEN
from green_code_lab.lite.scores import rounded

_SCORED = 32_768  # the most frequent tokens, over which depths are compared
_RANKED = 2_048  # held-out positions by which the SVD head's rank is chosen
_HELD_OUT_SHARE = 12  # one held-out position for so many to learn from


def make_exits(job: Job) -> None:
    """A lens for each exit, and what each depth predicts with and without it. Everything made behind the old lenses is removed.

    With the recipe `frozen`, the exits are those requested, or those of every other layer that are worth one (`depths.py`). Otherwise
    they are LITE's.

    Raises Problem where the bundle's layers are not of the recipe, or there is no room for the states.
    """
    frozen = job.args.recipe == FROZEN
    bundle = None if frozen else job.adapted()
    model = _Model(job, bundle)
    if job.config.row.norm != "rms":
        if frozen:
            raise Problem(
                "bad_request",
                f"{job.config.family} has no RMS norms, which lenses need; give --recipe lite or --recipe paper.",
            )
        log(f"lenses need RMS norms: {job.config.family} gets none")
        return
    config = model.config
    depths = bundle.exits if bundle is not None else job.requested_exits or candidate_depths(config.layers)
    corpus = job.corpus()
    trained, held_out = (_states(job, corpus, model, part, depths) for part in ("train", "heldout"))
    lenses = _lenses(job, corpus, model, trained, depths)
    part = job.bundle / f"{LENSES}.part"
    save_adapters(part, lenses, LENS_BITS)
    head, held_out = _scored(corpus, model.head, held_out)
    found = dict[str, dict[int, Predictions]]()
    for name, applied in (("plain", {}), ("lens", read_adapter_file(part))):
        found[name] = {
            depth: predict(states, held_out.tokens, head, lens_of(applied.get(depth), config.norm_eps))
            for depth, states in held_out.at.items()
            if depth in (*depths, config.layers)
        }
    record = {
        "positions": len(trained.tokens),
        "seed": job.args.seed,
        "held_out": {name: rounded(scores(by, held_out, corpus.languages), 4) for name, by in found.items()},
    }
    reading = head_layers(config)
    _print_depths(found, held_out, reading)
    exits = depths if job.requested_exits or not frozen else choose_exits(found["lens"], reading)
    log(f"exits {exits}: leaving where they are sure saves {saving(exits, found['lens'], reading):.1%} of the layers")
    save_adapters(part, {depth: lenses[depth] for depth in exits}, LENS_BITS)
    if bundle is not None:
        manifest = {k: v for k, v in bundle.manifest.items() if k not in ("agent", "kv_projections", "watch")}
    else:
        training = {"method": FROZEN, "corpus": shards_of(job.corpus_folder)}
        manifest = job.manifest(exits, training, ("lenses", "kv_projections"))
    stale = (KV_PROJECTIONS, SVD_HEAD, AGENT, CALIBRATION)
    job.replace_part(part, LENSES, stale, {**manifest, "lenses": record})
    log("lenses written; next: `green-code adapt kv-projections`, `adapt svd-head` and `green-code train`")


def compare_exit_heads(job: Job) -> None:
    """Print agreement with the last layer through a lens and through an exit head, at the requested exits or the bundle's.

    Raises Problem where there is no adapted bundle, or no room for the states.
    """
    bundle = job.adapted()
    model = _Model(job, bundle)
    config, depths = model.config, job.requested_exits or bundle.exits
    corpus, eps, device = job.corpus(), config.norm_eps, compute_device()
    trained, held_out = (_states(job, corpus, model, part, depths) for part in ("train", "heldout"))
    lenses = _lenses(job, corpus, model, trained, depths)
    rows, last = _frequent_rows(corpus, model.head), config.layers
    head, held_out = _scored(corpus, model.head, held_out)
    final = predict(held_out.at[last], held_out.tokens, head)
    for depth in depths:
        log(f"exit head of depth {depth}")
        exit_head = train_exit_head(
            trained.at[depth], trained.at[last], rows, lenses[depth], config.width // 2, eps, job.args.seed, device, log
        )
        for name, through in (("lens", lens_of(lenses[depth], eps)), ("exit head", exit_head)):
            found = predict(held_out.at[depth], held_out.tokens, head.to(device), through)
            agreement = np.mean(found.tokens == final.tokens)
            alone = saving((depth,), {depth: found, last: final}, head_layers(config))
            log(f"  {depth:3} {name}: agreement {agreement:.3f}, saves {alone:.1%} of the layers alone")


@dataclass(frozen=True)
class _Model:
    """The base model, with the bundle's delta where there is one; read as it is needed, since memory may have no room for it."""

    job: Job
    bundle: Bundle | None

    @cached_property
    def config(self) -> ModelConfig:
        return self.job.config if self.bundle is None else adapted_config(self.job.source, self.bundle)

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        if self.bundle is None:
            return self.job.source.tensors(vocabulary_ids(self.job.bundle))
        return adapted_tensors(self.job.source, self.bundle)

    def open(self) -> Backend | Iterator[tuple[str, np.ndarray]]:
        """A decoder of the kind that serves; the weights one after another, where memory has no room for them and it."""
        return backend_of(self.config, dict(self.tensors())) if _has_room(self.config) else self.tensors()

    @cached_property
    def _outer(self) -> dict[str, np.ndarray]:
        """The head's rows and the final norm's gain."""
        wanted = (head_weight(self.config), "norm.weight")
        return {name: weight for name, weight in self.tensors() if name in wanted}

    @property
    def plain_head(self) -> np.ndarray:
        """(V, C)"""
        return self._outer[head_weight(self.config)]

    @property
    def gain(self) -> np.ndarray:
        """(C,), the final norm's."""
        return self._outer["norm.weight"]

    @property
    def head(self) -> Tensor:
        """(V, C), the final norm's gain in its columns."""
        return torch.from_numpy(self.plain_head * self.gain)


def _has_room(config: ModelConfig) -> bool:
    """For all weights in float32, and a decoder of the kind that serves."""
    device, whole = compute_device(), 4 * sum(map(prod, weight_shapes(config).values()))
    decoder = next(iter(weight_formats(device.type))).sizes(config, Adapters())
    if device.type == "cuda":
        return whole <= USABLE * available_memory() and decoder.disk <= USABLE * free_memory(device, 1)
    return whole + decoder.memory <= USABLE * available_memory()


def _states(job: Job, corpus: Corpus, model: _Model, part: str, depths: Sequence[int]) -> States:
    """States at `depths` and the last layer, recorded if need be."""
    delta = job.bundle / DELTA
    subject = {
        "base": job.fingerprint,
        "vocabulary": job.vocabulary.digest,
        "corpus": corpus_digest(job.corpus_folder),
        "delta": sha256_of(delta) if delta.is_file() else "",
        "seed": job.args.seed,
    }
    positions = job.args.positions // (1 if part == "train" else _HELD_OUT_SHARE)
    windows = Windows(corpus, job.vocabulary.bos, job.infilling)
    layers = model.config.layers
    depths = (*sorted({*candidate_depths(layers), *depths}), layers)
    return record_states(
        model.open, model.config, windows, part, depths, positions, job.states_folder / part, subject, log
    )


def _lenses(job: Job, corpus: Corpus, model: _Model, states: States, depths: Sequence[int]) -> dict[int, LinearAdapter]:
    """By depth; a lens that an interrupted run has trained is read."""
    config, rows = model.config, _frequent_rows(corpus, model.head)
    last, found = states.at[config.layers], dict[int, LinearAdapter]()
    for depth in depths:
        path = job.states_folder / "train" / f"lens-{depth}.npz"
        if not path.is_file():
            log(f"lens of depth {depth}")
            lens = train_lens(states.at[depth], last, rows, config.norm_eps, job.args.seed, compute_device(), log)
            part = path.with_name(f"{path.stem}.part.npz")
            np.savez(part, matrix=lens.matrix, gain=lens.gain)
            part.replace(path)
        with np.load(path) as file:
            found[depth] = LinearAdapter(file["matrix"], file["gain"])
    return found


def _print_depths(found: Mapping[str, Mapping[int, Predictions]], states: States, head: float) -> None:
    """A line a depth: agreement with the last layer and accuracy, without lens → with it, and what the depth alone saves."""
    plain, through = found["plain"], found["lens"]
    final = plain[max(plain)].tokens
    log(
        f"on {len(final):,} held-out positions: depth, agreement with the last layer, accuracy of the next token, saving alone"
    )
    for depth in plain:
        agreement, accuracy = (
            " → ".join(f"{np.mean(by[depth].tokens == wanted):.3f}" for by in (plain, through))
            for wanted in (final, states.tokens)
        )
        alone = f"{saving((depth,), through, head):.1%}" if depth < max(plain) else "–"
        log(f"  {depth:3}  {agreement}   {accuracy}   {alone}")


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
    corpus = job.corpus()
    config, weights = adapted_weights(job.found, bundle)
    adapters = _adapters(bundle.without(KV_PROJECTIONS), config)  # old ones may not fit any more
    served = backend_of(config, weights, adapters)
    decoder = Decoder.load(config, weights).to(compute_device())
    decoder.set_lenses(adapters.lenses)
    windows = Windows(corpus, job.vocabulary.bos, job.infilling)
    rows = _frequent_rows(corpus, torch.from_numpy(weights[head_weight(config)]))
    trained = train_kv_projections(
        decoder, served, windows, rows, prefill_exit, bundle.exits, job.args.windows, job.args.seed, log
    )
    part = job.bundle / f"{KV_PROJECTIONS}.part"
    save_adapters(part, trained, PROJECTION_BITS)
    learned = backend_of(config, weights, replace(adapters, kv_projections=read_adapter_file(part)))
    held_out = compare({"plain": served, "learned": learned}, windows, prefill_exit, bundle.exits)
    for name, by in held_out.items():
        log(f"{name} {json.dumps(by)}")
    record = {"windows": job.args.windows, "exits": list(bundle.exits), "seed": job.args.seed, "held_out": held_out}
    manifest = {**bundle.manifest, "prefill_exit": prefill_exit, "kv_projections": record}
    job.replace_part(part, KV_PROJECTIONS, (CALIBRATION,), manifest)
    log("KV projections written; next: `green-code train calibrate`")


def backends_of(job: Job) -> tuple[Backend, Backend]:
    """The base model, its head read whole, and the bundle as it is served; both over the bundle's vocabulary, and from converted weights,
    as memory may have no room for those of a large model in float32."""
    bundle = job.adapted()
    bare, formats = bundle.bare, weight_formats(compute_device().type)
    base, served = (open_model(job.found, each, formats) for each in (bare if bare.changes_weights else None, bundle))
    return base.decoder, served.decoder


def make_svd_head(job: Job) -> None:
    """The SVD head of the bundle's head and lenses. Agent and calibration are removed where it changes.

    Raises Problem where there is no adapted bundle, or no room for the states.
    """
    bundle = job.adapted()
    if job.config.row.norm != "rms":
        log(f"an SVD head needs RMS norms: {job.config.family} gets none")
        return
    model = _Model(job, bundle)
    config = model.config
    states = _states(job, job.corpus(), model, "train", bundle.exits)
    moment = second_moment(
        {depth: states.at[depth] for depth in depths_that_count(bundle.exits, config.layers)},
        _adapters(bundle, config).lenses,
        torch.from_numpy(model.gain),
        config.norm_eps,
    )
    part = job.bundle / f"{SVD_HEAD}.part"
    held_out = _states(job, job.corpus(), model, "heldout", bundle.exits).at[config.layers]
    some = held_out[:: max(1, len(held_out) // _RANKED)].astype(np.float32)
    normed = some * model.gain
    save_file({"directions": choose_directions(model.plain_head, moment.numpy(), normed, log)}, part)
    if bundle.part(SVD_HEAD) is not None and sha256_of(part) == sha256_of(job.bundle / SVD_HEAD):
        part.unlink()
        log("the SVD head is unchanged")
        return
    manifest = {k: v for k, v in bundle.manifest.items() if k not in ("agent", "watch")}
    job.replace_part(part, SVD_HEAD, (AGENT, CALIBRATION), manifest)
    log("SVD head written; next: `green-code train`, as rollouts and agent were made with the old head")


def backend_of(config: ModelConfig, weights: Mapping[str, np.ndarray], adapters: Adapters = Adapters()) -> Backend:  # noqa: B008 - frozen
    """A decoder of the kind that serves."""
    return next(iter(weight_formats(compute_device().type))).build(config, weights, adapters)


def _adapters(bundle: Bundle, config: ModelConfig) -> Adapters:
    """Raises Problem where they do not fit the model."""
    adapters = read_adapters(bundle)
    check_adapters(bundle, adapters, config)
    return adapters


def _frequent_rows(corpus: Corpus, head: Tensor) -> Tensor:
    """(K, C): rows of the corpus's most frequent tokens."""
    return head[_frequent_ids(corpus, len(head), FREQUENT)]


def _scored(corpus: Corpus, head: Tensor, states: States) -> tuple[Tensor, States]:
    """The rows of the tokens that depths are compared over, and the states with their next tokens by their places there, or −1.

    Hardly another token is ever the likeliest, and the whole head would take several times as long.
    """
    ids = _frequent_ids(corpus, len(head), _SCORED)
    places = np.full(len(head), -1)
    places[ids.numpy()] = np.arange(len(ids))
    return head[ids], replace(states, tokens=places[states.tokens])


def _frequent_ids(corpus: Corpus, vocabulary: int, count: int) -> Tensor:
    counts = torch.zeros(vocabulary, dtype=torch.int64)
    found = torch.from_numpy(corpus.token_counts())
    counts[: len(found)] = found
    return counts.topk(min(count, vocabulary)).indices
