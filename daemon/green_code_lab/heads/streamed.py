"""States of a model that memory does not hold: its layers are read from the checkpoint one after another, and all windows run through one.

Memory holds a layer and a few windows; the windows' states between two layers are in a file. A run that was cut off goes on with the
layer that it was at.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.files import replace_file
from green_code.models.config import ModelConfig
from green_code.models.device import compute_device, compute_dtype
from green_code.models.torch_decoder import Decoder

_AT_ONCE = 8  # windows
_MARK = "layer.json"


@torch.inference_mode()
def run_streamed(
    weights: Iterable[tuple[str, np.ndarray]],
    config: ModelConfig,
    tokens: np.ndarray,
    folder: Path,
    about: Mapping[str, Any],
    take: Callable[[int, int, Tensor], None],
    report: Callable[[str], None],
) -> None:
    """Run all windows through all layers.

    Args:
        weights: in the order of `models.shapes.weight_shapes`, each once. tokens: (W, N) ids. about: what this is; a cut run of something
            else begins anew.
        take: gets a depth, the number of the first of a few windows, and their states (B, N, C) at that depth. After a cut, those of the
            layer that it was at come again.
    """
    device = compute_device()
    dtype = compute_dtype(device.type)
    with torch.device("meta"):
        decoder = Decoder(config).eval().requires_grad_(False)
    done, shape = layers_done(folder, about), (*tokens.shape, config.width)
    # A layer reads one file and writes the other, so that it can begin anew.
    files = [_mapped(folder / f"between-{i}.bin", shape, dtype) for i in range(2)]
    for layer, group in itertools.groupby(weights, lambda pair: _layer_of(pair[0])):
        if layer is None or layer <= done:
            for _ in group:
                pass
            continue
        parts = {name: torch.from_numpy(weight).to(device, dtype) for name, weight in group}
        decoder.load_state_dict(parts, strict=False, assign=True)
        before, after = files[(layer + 1) % 2], files[layer % 2]
        for at in range(0, len(tokens), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            if layer == 0:
                x = decoder.embed_tokens(torch.from_numpy(tokens[part]).to(device))
            else:
                x = decoder.run_layer(layer, before[part].to(device))
                take(layer, at, x)
            after[part].copy_(x)
        (decoder.layers[layer - 1] if layer else decoder.embed).to("meta")
        _mark(folder, about, layer)
        report(f"layer {layer} of {config.layers} over {len(tokens)} windows")
    del files
    for path in (*folder.glob("between-*.bin"), folder / _MARK):
        path.unlink()


def _layer_of(name: str) -> int | None:
    """From 1; 0: the embeddings, which come first; None: what is behind the layers."""
    if name.startswith("layers."):
        return 1 + int(name.split(".")[1])
    return 0 if name.startswith(("embed.", "positions.")) else None


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    size = int(np.prod(shape))
    with path.open("ab") as file:
        file.truncate(size * dtype.itemsize)
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)


def layers_done(folder: Path, about: Mapping[str, Any]) -> int:
    """The last layer whose states are all there; −1: not even the embeddings'."""
    try:
        found = json.loads((folder / _MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return -1
    return int(found["layer"]) if found["about"] == dict(about) else -1


def _mark(folder: Path, about: Mapping[str, Any], layer: int) -> None:
    replace_file(folder / _MARK, json.dumps({"about": dict(about), "layer": layer}))
