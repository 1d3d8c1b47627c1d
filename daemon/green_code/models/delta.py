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
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from safetensors import safe_open
from safetensors.numpy import save_file

from green_code.models.tensor_files import BYTES, FLOATS, check_numbers, tensor_of
from green_code.problems import Problem, refusing
from green_code.reading import check_regular, decode
from green_code.sequences import map_ahead

GROUP = 64
_CHUNK = 1 << 19  # values of a matrix that a thread adds at once
LEVELS = {
    2: (-1.510, -0.4528, 0.4528, 1.510),
    3: (-2.152, -1.344, -0.7560, -0.2451, 0.2451, 0.7560, 1.344, 2.152),
    # Of many levels, the optimal density is the cube root of the distribution's (Panter and Dite, 1951).
    8: tuple(math.sqrt(3) * NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)),
}


def quantise(delta: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) float → packed codes (uint8) and scales (rows, columns/64, rounded up) float16."""
    levels = np.asarray(LEVELS[bits], np.float32)
    groups = np.pad(delta.astype(np.float32), ((0, 0), (0, -delta.shape[1] % GROUP))).reshape(-1, GROUP)
    scale = np.maximum(np.sqrt(np.square(groups).mean(-1, keepdims=True)), np.float32(1e-12))
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, groups / scale)
    chosen = levels[codes]
    scale = ((groups * chosen).sum(-1) / np.square(chosen).sum(-1)).reshape(delta.shape[0], -1)
    planes = [(codes.ravel() >> bit) & 1 for bit in reversed(range(bits))]
    return np.packbits(np.stack(planes, 1).astype(np.uint8)), scale.astype(np.float16)


def dequantise(codes: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of `quantise`: (rows, columns) float32, the columns padded to a multiple of `GROUP`."""
    planes = np.unpackbits(codes)[: scales.size * GROUP * bits].reshape(-1, bits).T
    index = functools.reduce(lambda high, low: high << 1 | low, planes)
    groups = np.take(np.asarray(LEVELS[bits], np.float32), index).reshape(-1, GROUP)
    groups *= scales.astype(np.float32).reshape(-1, 1)
    return np.asarray(groups.reshape(scales.shape[0], -1))


def save_delta(
    path: Path, base: Mapping[str, np.ndarray], adapted: Mapping[str, np.ndarray], bits: Mapping[str, int]
) -> None:
    """Write adapted − base. `bits`: of each matrix. A weight that is not in `adapted` has no difference."""
    tensors: dict[str, np.ndarray] = {}
    for name, weight in adapted.items():
        delta = weight.astype(np.float32) - base[name].astype(np.float32)
        if name in bits:
            tensors[f"{name}:codes"], tensors[f"{name}:scales"] = quantise(delta, bits[name])
        else:
            tensors[f"{name}:vector"] = delta.astype(np.float16)
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


class Delta:
    """A delta file, opened. `names` are those of its weights.

    Raises:
        Problem: the file is damaged, or has values that are not finite.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with refusing(self._problem):
            check_regular(path)
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
                keys = [key.rpartition(":") for key in file.keys()]  # noqa: SIM118 - a safetensors handle is no mapping
            self._bits = decode(metadata.get("bits", "{}").encode(), dict[str, Literal[2, 3, 8]])
            self._columns = decode(metadata.get("columns", "{}").encode(), dict[str, Annotated[int, Meta(ge=1)]])
            if strange := [name for name, _, kind in keys if kind not in ("codes", "scales", "vector")]:
                raise ValueError(f"it has {strange[0][:60]!r}, which is no difference of a weight")
            self._matrices = dict.fromkeys(name for name, _, kind in keys if kind != "vector")
            self.names = [*self._matrices, *(name for name, _, kind in keys if kind == "vector")]
            for name in self.names:
                self._stored(name)

    def _problem(self, what: str) -> Problem:
        return Problem(
            "bundle_invalid", f"{self._path.name} is damaged ({what}); the bundle is refused. Fetch it again."
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight that is in the file."""
        values, scales = self._stored(name)
        if scales is None:
            return values.shape
        return len(scales), self._columns.get(name, scales.shape[1] * GROUP)

    def read(self, name: str) -> np.ndarray:
        """The difference of one weight, float32."""
        values, scales = self._stored(name)
        if scales is None:
            return values.astype(np.float32)
        return dequantise(values, scales, self._bits[name])[:, : self._columns.get(name)]

    def add_to(self, name: str, weight: np.ndarray) -> None:
        """Add the difference of one weight to it, in place; a few rows at a time, so that no second copy is made of all."""
        values, scales = self._stored(name)
        if scales is None:
            weight += values
            return
        bits, columns = self._bits[name], self._columns.get(name)
        row_bytes = scales.shape[1] * GROUP * bits // 8
        count = max(1, _CHUNK // (scales.shape[1] * GROUP))

        def add(at: int) -> None:
            codes = values[at * row_bytes : (at + count) * row_bytes]
            weight[at : at + count] += dequantise(codes, scales[at : at + count], bits)[:, :columns]

        for _ in map_ahead(add, range(0, len(scales), count)):
            pass

    def _stored(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Codes and scales of a matrix; of a vector its values, and no scales. Raises ValueError where they do not fit."""
        keys = [f"{name}:{kind}" for kind in (("codes", "scales") if name in self._matrices else ("vector",))]
        with safe_open(str(self._path), framework="np") as file:
            tensors = {key: file.get_tensor(key) for key in keys}
        for key, tensor in tensors.items():
            check_numbers(key, tensor)
        if name not in self._matrices:
            return tensor_of(tensors, keys[0], FLOATS, (None,)), None
        columns = self._columns.get(name)
        groups = None if columns is None else -(-columns // GROUP)
        scales = tensor_of(tensors, keys[1], FLOATS, (None, groups))
        return tensor_of(tensors, keys[0], BYTES, (scales.size * GROUP * self._bits[name] // 8,)), scales
