"""Quantised delta: the difference of fine-tuned weights from the base model's, with two or three bits a value.

A matrix is quantised in groups of 64 values. A group has a float16 scale and one code per value. The codes stand for the optimal
levels of normally distributed values (Max, "Quantizing for minimum distortion", 1960, table I); the scale is the least-squares
fit of the group to the levels of its codes. Vectors (norm gains, biases) are float16 differences.

File: safetensors. Per matrix `NAME:codes` (uint8, bit-packed, most significant bit first) and `NAME:scales` (float16, (rows,
groups)); per vector `NAME:vector`. Metadata: `bits`, a JSON map from matrix name to 2 or 3; `columns`, a JSON map from matrix
name to its number of columns where that is no multiple of 64, and the last group is padded with zeros.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from green_code.problems import Problem
from green_code.sequences import map_ahead

_Part = tuple[str, np.ndarray, "np.ndarray | None", int, "int | None"]
GROUP = 64
LEVELS = {2: (-1.510, -0.4528, 0.4528, 1.510), 3: (-2.152, -1.344, -0.7560, -0.2451, 0.2451, 0.7560, 1.344, 2.152)}


def quantise(delta: Tensor, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) float → packed codes (uint8) and scales (rows, columns/64, rounded up) float16."""
    levels = torch.tensor(LEVELS[bits])
    groups = F.pad(delta.float(), (0, -delta.shape[1] % GROUP)).reshape(-1, GROUP)
    scale = groups.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
    codes = torch.bucketize(groups / scale, (levels[1:] + levels[:-1]) / 2)
    chosen = levels[codes]
    scale = ((groups * chosen).sum(-1) / chosen.pow(2).sum(-1)).reshape(delta.shape[0], -1)
    planes = [(codes.numpy().ravel() >> bit) & 1 for bit in reversed(range(bits))]
    return np.packbits(np.stack(planes, 1).astype(np.uint8)), scale.half().numpy()


def dequantise(codes: np.ndarray, scales: np.ndarray, bits: int) -> Tensor:
    """The inverse of `quantise`: (rows, columns) float32, the columns padded to a multiple of `GROUP`."""
    planes = np.unpackbits(codes)[: scales.size * GROUP * bits].reshape(-1, bits).T
    index = functools.reduce(lambda high, low: high << 1 | low, planes)
    groups = np.take(np.asarray(LEVELS[bits], np.float32), index).reshape(-1, GROUP)
    groups *= scales.astype(np.float32).reshape(-1, 1)
    return torch.from_numpy(groups.reshape(scales.shape[0], -1))


def save_delta(path: Path, base: Mapping[str, Tensor], adapted: Mapping[str, Tensor], bits: Mapping[str, int]) -> None:
    """Write adapted − base. `bits`: of each matrix. A weight that is not in `adapted` has no difference."""
    tensors: dict[str, np.ndarray] = {}
    for name, weight in adapted.items():
        delta = weight.float() - base[name].float()
        if name in bits:
            tensors[f"{name}:codes"], tensors[f"{name}:scales"] = quantise(delta, bits[name])
        else:
            tensors[f"{name}:vector"] = delta.half().numpy()
    columns = {name: adapted[name].shape[1] for name in bits if adapted[name].shape[1] % GROUP}
    save_file(tensors, str(path), metadata={"bits": json.dumps(dict(bits)), "columns": json.dumps(columns)})


def same_delta(one: Path, other: Path) -> bool:
    """Whether two files have the same contents. Their bytes may differ: safetensors writes metadata in a random order."""
    with safe_open(str(one), framework="np") as a, safe_open(str(other), framework="np") as b:
        names = set(a.keys())
        return (
            a.metadata() == b.metadata()
            and names == set(b.keys())
            and all(np.array_equal(a.get_tensor(name), b.get_tensor(name)) for name in names)
        )


def read_delta(path: Path) -> Iterator[tuple[str, Tensor]]:
    """(weight name, float32 difference) of each weight in the file.

    Raises:
        Problem: the file is damaged, or has values that are not finite.
    """

    def read(part: _Part) -> tuple[str, Tensor]:
        name, values, scales, bits, columns = part
        if scales is None:
            return name, torch.from_numpy(values.astype(np.float32))
        return name, dequantise(values, scales, bits)[:, :columns]

    return map_ahead(read, _parts(path))


def check_delta(path: Path) -> None:
    """Raises what `read_delta` would, in a fraction of its time."""
    for _ in _parts(path):
        pass


def _parts(path: Path) -> Iterator[_Part]:
    """(weight name, codes, scales, bits, columns) of each matrix; of a vector its values, and no scales."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            bits, columns = (json.loads(metadata.get(name, "{}")) for name in ("bits", "columns"))
            for key in file.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                name, kind = key.rsplit(":", 1)
                if kind == "scales":
                    continue
                values = file.get_tensor(key)
                scales = None if kind == "vector" else file.get_tensor(f"{name}:scales")
                if scales is not None and len(values) != -(-scales.size * GROUP * bits[name] // 8):
                    raise ValueError(f"{name} has {len(values)} bytes of codes")
                if not np.isfinite(values if scales is None else scales).all():
                    raise Problem(
                        "bundle_invalid",
                        f"{path.name}: {name} holds NaN or infinity; the bundle is refused. Fetch it again.",
                    )
                yield name, values, scales, bits.get(name, 0), columns.get(name)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise Problem(
            "bundle_invalid", f"{path.name} is damaged ({error}); the bundle is refused. Fetch it again."
        ) from error
