"""Trained weights → the compact delta that a bundle ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from green_code.models.delta import save_delta


def bits_for(weights: Mapping[str, Tensor], layers: int) -> dict[str, int]:
    """Bits a value: 3, and 2 in the last quarter of the layers, which few exits depend on. 40 MB for the default model."""
    return {
        name: 3 if int(name.split(".")[1]) < layers * 3 // 4 else 2
        for name, weight in weights.items()
        if name.startswith("layers.") and weight.dim() == 2
    }


def export_delta(base: Mapping[str, Tensor], weights: Mapping[str, Tensor], layers: int, path: Path) -> None:
    """Write delta.safetensors: the layers' matrices quantised in groups, their norms as they are."""
    adapted = {name: w for name, w in weights.items() if name.startswith("layers.")}
    part = path.with_suffix(".part")
    save_delta(part, base, adapted, bits_for(adapted, layers))
    part.replace(path)
