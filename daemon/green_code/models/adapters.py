"""Adapters: what a bundle adds beside the model's weights. Lenses for exits, KV projections, directions of the SVD head.

A *tuned lens* (Belrose et al., arXiv 2303.08112) translates an exit's state for the LM head. It is linear, on the state x over
its root mean square, and is learned against the last layer's distribution; deeper layers read x itself:

    x̂ = x / rms(x),   lens(x) = x̂ + A (g · x̂),   A (C, C), g (C,), one for each exit

The gain g makes all components about as large; they differ three-thousandfold, and would be learned and rounded as unevenly.

A *KV projection* (SwiftKV, arXiv 2410.03960) makes the keys and values that a layer above the prefill exit holds of a
propagated position, whose state several layers have not been over. It adds to the layer's own W_kv, on the normed input n:

    [k; v] = W_kv n + A (g · n),   A (2·K·D, C), g (C,), one for each layer

Files: safetensors; for each exit or layer D `D:codes` and `D:scales`, A as in delta.py with eight or three bits a value, and `D:gain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from green_code.models.bundle import KV_PROJECTIONS, LENSES, SVD_HEAD, Bundle
from green_code.models.config import ModelConfig
from green_code.models.delta import GROUP, LEVELS, dequantise, quantise
from green_code.models.svd_head import read_directions
from green_code.models.tensor_files import BYTES, FLOATS, read_tensors, tensor_of
from green_code.problems import Problem

LENS_BITS, PROJECTION_BITS = 8, 3
"""A KV projection is a small change. A frozen model's lens is not: at a quarter of the depth, three bits halved its agreement."""


@dataclass(frozen=True)
class LinearAdapter:
    """`matrix` A, (C, C) of a lens or (2·K·D, C) of a KV projection, and `gain` g (C,), float32."""

    matrix: np.ndarray
    gain: np.ndarray


@dataclass(frozen=True)
class Adapters:
    """`svd_directions` (R, C) of the SVD head, where there is one; `lenses` by depth; `kv_projections` by layer."""

    svd_directions: np.ndarray | None = None
    lenses: Mapping[int, LinearAdapter] = field(default_factory=dict)
    kv_projections: Mapping[int, LinearAdapter] = field(default_factory=dict)


def with_adapter(own: np.ndarray, adapter: LinearAdapter) -> np.ndarray:
    """(2·K·D, C): a layer's own projection of keys and values, float32, with its adapter added."""
    return np.asarray(own + adapter.matrix * adapter.gain, np.float32)


def save_adapters(path: Path, adapters: Mapping[int, LinearAdapter], bits: int) -> None:
    """`bits`: of a value."""
    tensors: dict[str, np.ndarray] = {}
    for depth, adapter in adapters.items():
        tensors[f"{depth}:codes"], tensors[f"{depth}:scales"] = quantise(adapter.matrix, bits)
        tensors[f"{depth}:gain"] = adapter.gain.astype(np.float32)
    save_file(tensors, path)


def read_adapter_file(path: Path) -> dict[int, LinearAdapter]:
    """
    Raises:
        ValueError: the file is damaged.
    """
    tensors, _ = read_tensors(path)
    return {depth: _adapter(tensors, depth) for depth in sorted({_depth_of(name) for name in tensors})}


def _depth_of(name: str) -> int:
    depth, _, kind = name.partition(":")
    if kind not in ("codes", "scales", "gain") or not (depth.isascii() and depth.isdigit() and len(depth) < 4):
        raise ValueError(f"it has {name[:60]!r}, which is of no layer")
    return int(depth)


def _adapter(tensors: Mapping[str, np.ndarray], depth: int) -> LinearAdapter:
    gain = tensor_of(tensors, f"{depth}:gain", FLOATS, (None,))
    scales = tensor_of(tensors, f"{depth}:scales", FLOATS, (None, -(-len(gain) // GROUP)))
    codes = tensor_of(tensors, f"{depth}:codes", BYTES, (None,))
    bits, rest = divmod(8 * len(codes), scales.size * GROUP)
    if bits not in LEVELS or rest:
        raise ValueError(f"{depth}:codes has {len(codes)} bytes for {scales.size * GROUP} values")
    return LinearAdapter(dequantise(codes, scales, bits)[:, : len(gain)], gain.astype(np.float32, copy=False))


def read_adapters(bundle: Bundle | None) -> Adapters:
    """The adapters of a bundle; none where there is no bundle.

    Raises:
        Problem: a file is damaged, or the KV projections are not of the layers above the bundle's prefill exit.
    """
    if bundle is None:
        return Adapters()
    directions = bundle.read(SVD_HEAD, read_directions)
    lenses, projections = (bundle.read(name, read_adapter_file) or {} for name in (LENSES, KV_PROJECTIONS))
    if projections:
        above = range((bundle.prefill_exit or max(projections)) + 1, max(projections) + 1)
        if sorted(projections) != list(above):
            raise _other_prefill_exit(bundle)
    return Adapters(directions, lenses, projections)


def check_adapters(bundle: Bundle | None, adapters: Adapters, config: ModelConfig) -> None:
    """
    Raises:
        Problem: the adapters are of a model of another width or depth.
    """
    if bundle is None:
        return
    width, layers, directions = config.width, config.layers, adapters.svd_directions
    if directions is not None and directions.shape[1] != width:
        raise _misfit(bundle, SVD_HEAD, "svd-head")
    if not _fit(adapters.lenses, width, width) or not all(0 < depth < layers for depth in adapters.lenses):
        raise _misfit(bundle, LENSES, "exits")
    if not _fit(adapters.kv_projections, 2 * config.kv_heads * config.head_width, width):
        raise _misfit(bundle, KV_PROJECTIONS, "kv-projections")
    if adapters.kv_projections and max(adapters.kv_projections) != layers:
        raise _other_prefill_exit(bundle)


def _fit(adapters: Mapping[int, LinearAdapter], outputs: int, width: int) -> bool:
    return all(a.matrix.shape == (outputs, width) and a.gain.shape == (width,) for a in adapters.values())


def _misfit(bundle: Bundle, name: str, step: str) -> Problem:
    return bundle.refusal(f"{name} does not fit the base model", f"make it anew with `green-code adapt {step}`")


def _other_prefill_exit(bundle: Bundle) -> Problem:
    fix = "make it anew with `green-code adapt kv-projections --prefill-exit N`"
    return bundle.refusal(f"{KV_PROJECTIONS} is not of the layers above its prefill exit", fix)
