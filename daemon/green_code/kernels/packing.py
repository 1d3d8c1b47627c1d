"""The kernel's layout of weights: all matrices as one array of int8 records, in the order in which they are read, and the rest."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import HEAD_GROUP, CMatrix
from green_code.kernels.large_pages import in_large_pages
from green_code.kernels.quantise import GROUP, RECORD_BYTES, TILE, quantise
from green_code.kernels.quantise import records as count
from green_code.models.adapters import Adapters, with_adapter
from green_code.models.backend import Report
from green_code.models.families import ModelConfig
from green_code.models.svd_head import svd_head_of
from green_code.sequences import map_ahead

PREVIEW = "svd_head.preview"
_DOWN = "svd_head.down"
_LENS = "lens."
_KV_PROJECTIONS = "kv_projections"
_MATRICES = 0.7  # of the time; the rest is mostly the SVD head


def unsupported_reason(config: ModelConfig) -> str | None:
    """Why the kernel cannot serve a model; None: it can."""
    row = config.row
    biases = config.qkv_bias or config.attention_out_bias or config.mlp_bias
    capped = config.attention_softcap or config.logit_softcap
    others = biases or capped or config.rotary_width or config.residual_scale != 1.0 or config.logit_scale != 1.0
    if row.norm != "rms" or row.positions != "rope" or None in config.ropes or not row.gated or others:
        return f"family {config.family} has operations that the kernel lacks"
    if row.activation not in ("silu", "gelu_tanh"):
        return f"activation {row.activation} is not in the kernel"
    inputs = (config.width, config.mlp_width, config.heads * config.head_width)
    if any(size % GROUP for size in inputs) or config.head_width % HEAD_GROUP:
        return f"widths {inputs} and heads of {config.head_width} are no multiples of {GROUP} and {HEAD_GROUP}"
    return None


def matrices(
    config: ModelConfig, lenses: Iterable[int] = (), kv_projections: Iterable[int] = (), rank: int = 0
) -> Iterator[tuple[str, int, int]]:
    """(name, N, K) of all matrices: the layers', lenses of these depths, KV projections of these layers, the SVD head's preview
    where `rank` is not 0, and the head. The head is last, because with a preview it is hardly ever read."""
    query = config.heads * config.head_width
    for i in range(config.layers):
        yield f"layers.{i}.qkv", query + 2 * config.kv_heads * config.head_width, config.width
        yield f"layers.{i}.attention_out", config.width, query
        yield f"layers.{i}.mlp_in", 2 * config.mlp_width, config.width
        yield f"layers.{i}.mlp_out", config.width, config.mlp_width
    yield from ((lens_name(depth), config.width, config.width) for depth in lenses)
    both = 2 * config.kv_heads * config.head_width
    yield from ((kv_projection_name(layer), both, config.width) for layer in kv_projections)
    if rank:
        yield PREVIEW, config.vocabulary, rank
    yield head_name(config), config.vocabulary, config.width


def head_name(config: ModelConfig) -> str:
    return "embed" if config.tied_head else "head"


def lens_name(depth: int) -> str:
    return f"{_LENS}{depth}"


def kv_projection_name(layer: int) -> str:
    return f"layers.{layer - 1}.kv_projection"


def gains(config: ModelConfig) -> Iterator[tuple[str, int]]:
    """(name, width) of the gains of all norms."""
    norms = {"attention_norm": config.width, "mlp_norm": config.width}
    if config.row.qk_norm:
        norms |= {"q_norm": config.head_width, "k_norm": config.head_width}
    if config.row.sandwich_norms:
        norms |= {"attention_out_norm": config.width, "mlp_out_norm": config.width}
    for i in range(config.layers):
        yield from ((f"layers.{i}.{name}", width) for name, width in norms.items())
    yield "norm", config.width


def pack(
    config: ModelConfig, weights: Mapping[str, Tensor], adapters: Adapters, report: Report = lambda _: None
) -> tuple[np.ndarray, dict[str, Tensor]]:
    """(records, RECORD_BYTES) of all matrices, and the rest of what `KernelDecoder` takes: the embedding (bfloat16), gains of norms
    and lenses, the layers that have KV projections, and the SVD head's `down`.

    Args:
        weights: under `Decoder`'s names. adapters: the SVD head is left out where the head is not tied to the embedding.
        report: gets the share that is done.
    Raises:
        ValueError: the kernel cannot serve this model, or weights are missing, unknown or of another shape.
    """
    if reason := unsupported_reason(config):
        raise ValueError(reason)
    expected = {f"{name}.weight": shape for name, *shape in (*matrices(config), *gains(config))}
    expected["embed.weight"] = [config.vocabulary, config.width]
    if {name: list(weight.shape) for name, weight in weights.items()} != expected:
        raise ValueError(f"these are not the weights of a {config.family} of this configuration")
    names = [name for name, _, _ in matrices(config)]

    def quantised(index: int) -> np.ndarray:
        report(_MATRICES * index / len(names))
        return quantise(weights[f"{names[index]}.weight"].float().numpy())

    *packed, head = map_ahead(quantised, range(len(names)))
    rest = {name: weight.float() for name, weight in weights.items() if weight.dim() == 1}
    rest["embed.weight"] = weights["embed.weight"].bfloat16()
    packed += [quantise(lens.matrix.numpy()) for _, lens in sorted(adapters.lenses.items())]
    rest |= {lens_name(depth): lens.gain.float() for depth, lens in adapters.lenses.items()}
    first = config.heads * config.head_width
    for layer, adapter in sorted(adapters.kv_projections.items()):
        own = weights[f"layers.{layer - 1}.qkv.weight"][first:]
        packed.append(quantise(with_adapter(own, adapter).numpy()))
    rest[_KV_PROJECTIONS] = torch.tensor(sorted(adapters.kv_projections), dtype=torch.int32)
    directions = adapters.svd_directions
    if directions is not None and config.tied_head and len(directions) % GROUP == 0:
        svd_head = svd_head_of(
            rest["embed.weight"], directions, lambda share: report(_MATRICES + (1 - _MATRICES) * share)
        )
        packed.append(quantise(svd_head.preview.numpy()))
        rest[_DOWN] = svd_head.down
    return np.concatenate([*packed, head]), rest


@dataclass(frozen=True)
class Packed:
    """What `pack` made. Matrices point into `records` and `near`, which must live as long."""

    records: np.ndarray
    near: np.ndarray  # the records that every token reads
    matrices: Mapping[str, CMatrix]
    gains: Mapping[str, np.ndarray]
    embed: Tensor  # (V, C) bfloat16
    lenses: tuple[int, ...]
    kv_projections: tuple[int, ...]
    down: Tensor | None


def unpack(config: ModelConfig, records: np.ndarray, rest: Mapping[str, Tensor]) -> Packed:
    """
    Args:
        records, rest: of `pack`.
    Raises:
        ValueError: they are not of this configuration.
    """
    if reason := unsupported_reason(config):
        raise ValueError(reason)
    rest = dict(rest)
    down, projections = rest.pop(_DOWN, None), tuple(rest.pop(_KV_PROJECTIONS).tolist())
    lenses = tuple(sorted(int(name.removeprefix(_LENS)) for name in rest if name.startswith(_LENS)))
    sizes = list(matrices(config, lenses, projections, 0 if down is None else len(down)))
    counts = {name: count(outputs, inputs) for name, outputs, inputs in sizes}
    if records.shape != (sum(counts.values()), RECORD_BYTES) or not records.flags.c_contiguous:
        raise ValueError(f"records {records.shape} are not of a {config.family} of this configuration")
    like = {f"{name}.weight": [width] for name, width in gains(config)}
    like |= {lens_name(depth): [config.width] for depth in lenses}
    like["embed.weight"] = [config.vocabulary, config.width]
    if {name: list(weight.shape) for name, weight in rest.items()} != like:
        raise ValueError(f"these are not the gains of a {config.family} of this configuration")
    firsts = dict(zip(counts, itertools.accumulate(counts.values(), initial=0), strict=False))
    near = in_large_pages(records, firsts[head_name(config)] if PREVIEW in counts else len(records))
    return Packed(
        records,
        near,
        {
            name: CMatrix(
                (near if firsts[name] < len(near) else records).ctypes.data + firsts[name] * RECORD_BYTES,
                -(-outputs // TILE) * TILE,
                inputs,
            )
            for name, outputs, inputs in sizes
        },
        {
            name.removesuffix(".weight"): np.ascontiguousarray(weight.float().numpy())
            for name, weight in rest.items()
            if weight.dim() == 1
        },
        rest["embed.weight"].bfloat16().contiguous(),
        lenses,
        projections,
        down,
    )
