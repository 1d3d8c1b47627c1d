"""Weights as the GPU's kernels take them: one file of parts, whose places follow from the configuration.

A matrix is rows of codes, then their scales, and minima in 4 bits. Inputs are padded to whole groups with zeros. The values are those
of the processor's kernel (kernels/quantise.py); only their order differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from green_code.kernels.packing import Extras, head_weight, kv_projection_name, lens_name
from green_code.kernels.quantise import GROUP, NIBBLE_GROUP, integers, nibbles
from green_code.models.adapters import Adapters, with_adapter
from green_code.models.backend import Report
from green_code.models.bfloat16 import narrow, widen
from green_code.models.config import ModelConfig
from green_code.models.npy_file import Rows
from green_code.models.shapes import EMBEDDING, POSITIONS, weight_shapes
from green_code.models.svd_head import svd_head_of
from green_code.sequences import map_ahead

HEAD: Final = "preview"
"""The head, or the preview of an SVD head."""
DOWN: Final = "down"
_ALIGNED = 256  # bytes
_ROWS = 4096  # that are converted at once
_TENSORS = 0.8  # of the time; the rest is the SVD head


@dataclass(frozen=True)
class Part:
    """An array of the file, from byte `offset` on."""

    shape: tuple[int, ...]
    dtype: str  # of NumPy; "bfloat16" for bits in uint16
    offset: int

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * _numpy_type(self.dtype).itemsize


@dataclass(frozen=True)
class Matrix:
    """(outputs, inputs) in weights of so many bits: 4, 8, 16 (bfloat16) or 32."""

    outputs: int
    inputs: int
    bits: int
    codes: Part
    scales: Part | None = None
    minima: Part | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in (self.codes, self.scales, self.minima) if part is not None)


@dataclass(frozen=True)
class Layout:
    """Where everything lies: matrices, tables whose rows are read one by one, and float32 vectors."""

    matrices: Mapping[str, Matrix]
    tables: Mapping[str, Part]
    vectors: Mapping[str, Part]
    nbytes: int


def padded(width: int) -> int:
    """Whole groups."""
    return -(-width // GROUP) * GROUP


def layout(config: ModelConfig, extras: Extras, bits: int) -> Layout:
    """
    Args:
        bits: of the layers' weights: 4, 8, 16, or 32 to compare with. Of lenses, KV projections and the head at least 8.
    """
    offset, shapes = 0, weight_shapes(config)

    def part(shape: tuple[int, ...], dtype: str) -> Part:
        nonlocal offset
        made = Part(shape, dtype, offset)
        offset += -(-made.nbytes // _ALIGNED) * _ALIGNED
        return made

    def matrix(outputs: int, inputs: int, bits: int) -> Matrix:
        inputs = padded(inputs)
        if bits == 4:
            groups = (outputs, inputs // NIBBLE_GROUP)
            codes = part((outputs, inputs // 2), "uint8")
            return Matrix(outputs, inputs, bits, codes, part(groups, "bfloat16"), part(groups, "bfloat16"))
        if bits == 8:
            codes = part((outputs, inputs), "int8")
            return Matrix(outputs, inputs, bits, codes, part((outputs, inputs // GROUP), "bfloat16"))
        return Matrix(outputs, inputs, bits, part((outputs, inputs), "bfloat16" if bits == 16 else "float32"))

    others = max(bits, 8)
    plain = "float32" if bits == 32 else "bfloat16"
    matrices, tables, vectors = dict[str, Matrix](), dict[str, Part](), dict[str, Part]()
    for name, shape in shapes.items():
        if len(shape) == 1:
            vectors[name] = part(shape, "float32")
        elif name.startswith("layers."):
            matrices[name.removesuffix(".weight")] = matrix(shape[0], shape[1], bits)
        elif name in (EMBEDDING, POSITIONS) or (extras.rank and name == head_weight(config)):
            tables[name] = part(shape, plain)
    for depth in extras.lenses:
        matrices[lens_name(depth)] = matrix(config.width, config.width, others)
        vectors[lens_name(depth)] = part((config.width,), "float32")
    for layer in extras.kv_projections:
        matrices[kv_projection_name(layer)] = matrix(2 * config.kv_heads * config.head_width, config.width, others)
    if extras.rank:
        matrices[DOWN] = matrix(extras.rank, config.width, max(bits, 16))
    matrices[HEAD] = matrix(config.vocabulary, extras.rank or config.width, others)
    return Layout(matrices, tables, vectors, offset)


def pack(
    config: ModelConfig,
    weights: Iterable[tuple[str, np.ndarray]],
    adapters: Adapters,
    bits: int,
    create: Callable[[int], Rows] = lambda size: np.zeros(size, np.uint8),
    report: Report = lambda _: None,
) -> tuple[Rows, Extras]:
    """The bytes of `layout`. Each weight is written when it comes; none is held.

    Args:
        weights: names of `weight_shapes` and float32 arrays, in any order. create: makes room for so many bytes.
        report: gets the share that is done.
    Raises:
        ValueError: weights are missing, unknown or of another shape.
    """
    extras, expected = Extras.of(adapters), dict(weight_shapes(config))
    placed, count = layout(config, extras, bits), len(expected)
    data = create(placed.nbytes)
    projected, first = {f"layers.{n - 1}.qkv": n for n in extras.kv_projections}, config.heads * config.head_width
    head = head_weight(config)
    for name, weight in weights:
        if expected.pop(name, None) != weight.shape:
            raise ValueError(f"{name} {weight.shape} is no weight of a {config.family} of this configuration")
        short = name.removesuffix(".weight")
        if name in placed.vectors:
            _write(data, placed.vectors[name], weight)
        if name in placed.tables:
            _write(data, placed.tables[name], weight)
        if short in placed.matrices:
            _write_matrix(data, placed.matrices[short], weight)
        if layer := projected.get(short):
            own = with_adapter(weight[first:], adapters.kv_projections[layer])
            _write_matrix(data, placed.matrices[kv_projection_name(layer)], own)
        if name == head and not extras.rank:
            _write_matrix(data, placed.matrices[HEAD], weight)
        report(_TENSORS * (1 - len(expected) / count))
    if expected:
        raise ValueError(f"{next(iter(expected))} is missing")
    for depth, lens in adapters.lenses.items():
        _write_matrix(data, placed.matrices[lens_name(depth)], lens.matrix)
        _write(data, placed.vectors[lens_name(depth)], lens.gain)
    if extras.rank:
        assert adapters.svd_directions is not None
        rows = placed.tables[head]

        def chunks() -> Iterator[np.ndarray]:
            return (_read(data, rows, at, _ROWS) for at in range(0, config.vocabulary, _ROWS))

        svd_head = svd_head_of(chunks, adapters.svd_directions)
        _write_matrix(data, placed.matrices[DOWN], svd_head.down)
        for at, chunk in enumerate(chunks()):
            _write_matrix(data, placed.matrices[HEAD], chunk @ svd_head.up, at * _ROWS)
    report(1.0)
    return data, extras


def coded(weight: np.ndarray, bits: int) -> tuple[np.ndarray, ...]:
    """(N, K) float32 → codes (N, K'), scales and minima as a `Matrix` of so many bits has them, K' padded to whole groups.

    In 4 bits a byte holds a weight of one group and, above it, the weight at the same place of the next.
    """
    weight = np.pad(weight, ((0, 0), (0, -weight.shape[1] % GROUP)))
    outputs, inputs = weight.shape
    if bits == 32:
        return (weight,)
    if bits == 16:
        return (narrow(weight),)
    if bits == 8:
        whole, scales = integers(weight.reshape(outputs, -1, GROUP))
        return whole.astype(np.int8).reshape(outputs, inputs), scales
    groups = np.ascontiguousarray(weight.reshape(-1, NIBBLE_GROUP).T)
    found, scales, minima = nibbles(groups)
    pairs = found.T.reshape(outputs, -1, 2, NIBBLE_GROUP)
    codes = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(outputs, inputs // 2)
    return codes, scales.reshape(outputs, -1), minima.reshape(outputs, -1)


def _write_matrix(data: Rows, matrix: Matrix, weight: np.ndarray, row: int = 0) -> None:
    """Convert rows of a matrix, from `row` on, and write them where they belong."""
    step = max(1, (1 << 19) // matrix.inputs)
    starts = range(0, len(weight), step)
    for at, made in zip(starts, map_ahead(lambda at: coded(weight[at : at + step], matrix.bits), starts), strict=True):
        for part, rows in zip(matrix.parts, made, strict=True):
            _put(data, part, row + at, rows)


def _write(data: Rows, part: Part, values: np.ndarray) -> None:
    for at in range(0, len(values), _ROWS):
        some = values[at : at + _ROWS]
        _put(data, part, at, narrow(some) if part.dtype == "bfloat16" else some)


def _put(data: Rows, part: Part, row: int, rows: np.ndarray) -> None:
    at = part.offset + row * (part.nbytes // part.shape[0])
    raw = np.ascontiguousarray(rows, _numpy_type(part.dtype)).reshape(-1).view(np.uint8)
    data[at : at + len(raw)] = raw


def _read(data: Rows, part: Part, row: int, count: int) -> np.ndarray:
    """Rows of a table, float32."""
    size, count = part.nbytes // part.shape[0], min(count, part.shape[0] - row)
    raw = np.ascontiguousarray(data[part.offset + row * size : part.offset + (row + count) * size])
    found = raw.view(_numpy_type(part.dtype)).reshape(count, *part.shape[1:])
    return widen(found) if part.dtype == "bfloat16" else found


def _numpy_type(dtype: str) -> np.dtype[Any]:
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)
