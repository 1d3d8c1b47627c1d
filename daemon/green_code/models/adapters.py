"""What a bundle adds for reading states: the screen's directions and exits' lenses, for the head, and entries, for layers.

A state that leaves an early layer is not quite in the terms in which the last layer speaks. A *lens* puts it there, so that the
one head says of an exit what the last layer would (tuned lens, Belrose et al., arXiv 2303.08112). Here it is linear, works on
the state x over its root mean square, and is learned against the last layer's distribution (adaptation/lenses.py):

    x̂ = x / rms(x),   seen = x̂ + A (g · x̂),   A (C, C), g (C,), of an exit's own

The gain g makes all components about as large. They differ three-thousandfold, and would be learned, and rounded, as unevenly.
A lens changes what is read at an exit alone: deeper layers get the state as it was.

An *entry* is what a layer above the prefill exit keeps of a position that settled there (decoding/cache.py): a key and a value,
made of a state that several layers have not been over. The layer's own projections W_kv would take it for one of theirs. Those of
the bundle add what was learned (SwiftKV trains them as well, arXiv 2410.03960), on the layer's normed input n:

    entry = W_kv n + A (g · n),   A (2·K·D, C), keys' rows first, g (C,), of a layer's own

Files: safetensors; for each exit or layer D `D:codes` and `D:scales`, A as delta.py has a matrix with three bits a value, and
`D:gain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from green_code.models.bundle import KV_PROJECTIONS, LENSES, SVD_HEAD, Bundle
from green_code.models.delta import dequantise, quantise
from green_code.models.families import ModelConfig
from green_code.models.svd_head import read_directions
from green_code.problems import Problem

Part = TypeVar("Part")


LENS_BITS = 3
"""Lose .0005 of agreement; two lose .004."""


@dataclass(frozen=True)
class LinearAdapter:
    """`matrix` A (C, C), or (2·K·D, C) of an entry, and `gain` g (C,), float32."""

    matrix: Tensor
    gain: Tensor


@dataclass(frozen=True)
class Adapters:
    """`directions` (R, C) of the head's screen (screen.py), where there is one; `lenses` by depth; `entries` by layer."""

    directions: Tensor | None = None
    lenses: Mapping[int, LinearAdapter] = field(default_factory=dict)
    entries: Mapping[int, LinearAdapter] = field(default_factory=dict)


def corrected(own: Tensor, entry: LinearAdapter) -> Tensor:
    """(2·K·D, C): what makes entries in a layer, from its own projections of keys and values."""
    return own.float() + entry.matrix.to(own.device) * entry.gain.to(own.device)


def save_lenses(path: Path, lenses: Mapping[int, LinearAdapter]) -> None:
    tensors: dict[str, np.ndarray] = {}
    for depth, lens in lenses.items():
        tensors[f"{depth}:codes"], tensors[f"{depth}:scales"] = quantise(lens.matrix, LENS_BITS)
        tensors[f"{depth}:gain"] = lens.gain.float().numpy()
    save_file(tensors, path)


def read_lenses(path: Path) -> dict[int, LinearAdapter]:
    """
    Raises:
        OSError, SafetensorError, KeyError, ValueError: the file is damaged.
    """
    tensors, lenses = load_file(path), dict[int, LinearAdapter]()
    for name, gain in tensors.items():
        depth, kind = name.split(":")
        if kind == "gain":
            matrix = dequantise(tensors[f"{depth}:codes"], tensors[f"{depth}:scales"], LENS_BITS)
            lenses[int(depth)] = LinearAdapter(matrix[:, : len(gain)], torch.from_numpy(gain))
    if not all(torch.isfinite(part).all() for lens in lenses.values() for part in (lens.matrix, lens.gain)):
        raise ValueError("it holds NaN or infinity")
    return lenses


def read_adapters(bundle: Bundle | None, config: ModelConfig) -> Adapters:
    """What a bundle has of it for a model of this configuration; nothing where there is no bundle.

    Raises:
        Problem: a part is damaged, of a model of another width or depth, or of another prefill exit than the bundle's.
    """
    if bundle is None:
        return Adapters()
    directions = read_part(bundle, SVD_HEAD, read_directions)
    lenses, entries = (read_part(bundle, part, read_lenses) or {} for part in (LENSES, KV_PROJECTIONS))
    width, layers = config.width, config.layers
    if directions is not None and (directions.dim() != 2 or directions.shape[1] != width):
        raise _misfit(bundle, SVD_HEAD, "svd-head")
    if not _fit(lenses, width, width) or not all(0 < depth < layers for depth in lenses):
        raise _misfit(bundle, LENSES, "lenses")
    if not _fit(entries, 2 * config.kv_heads * config.head_width, width):
        raise _misfit(bundle, KV_PROJECTIONS, "kv-projections")
    if entries and max(check_kv_projections(bundle, entries)) != layers:
        raise _other_plateau(bundle)
    return Adapters(directions, lenses, entries)


def check_kv_projections(bundle: Bundle, entries: Mapping[int, LinearAdapter]) -> list[int]:
    """Their layers, from the one above the prefill exit on.

    Raises:
        Problem: they are of others.
    """
    found = sorted(entries)
    if bundle.prefill_exit is None or found != list(range(bundle.prefill_exit + 1, found[-1] + 1)):
        raise _other_plateau(bundle)
    return found


def _other_plateau(bundle: Bundle) -> Problem:
    return Problem(
        "bundle_invalid",
        f"bundle {bundle.name}: {KV_PROJECTIONS} is not of the layers above its prefill exit; make it anew with `green-code adapt kv-projections --prefill exit N`.",
    )


def _fit(lenses: Mapping[int, LinearAdapter], outputs: int, width: int) -> bool:
    return all(
        lens.matrix.shape == (outputs, width) and lens.gain.shape == (width,) for lens in lenses.values()
    )


def read_part(bundle: Bundle, name: str, reader: Callable[[Path], Part]) -> Part | None:
    """A part; None where the bundle has no such part."""
    if (path := bundle.part(name)) is None:
        return None
    try:
        return reader(path)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise Problem(
            "bundle_invalid", f"bundle {bundle.name}: {name} is damaged ({error}); fetch the bundle again."
        ) from error


def _misfit(bundle: Bundle, name: str, step: str) -> Problem:
    return Problem(
        "bundle_invalid",
        f"bundle {bundle.name}: {name} does not fit the base model; make it anew with `green-code adapt {step}`.",
    )
