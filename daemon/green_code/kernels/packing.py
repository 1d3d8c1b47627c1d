"""The kernel's layout of weights: all matrices as records of quantise.py, in the order in which they are read, and the rest.

`layout` says where each matrix lies in the file of records, so that a conversion writes each one where it belongs, in the order in
which the checkpoint gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from green_code.kernels.binding import CMatrix
from green_code.kernels.large_pages import in_large_pages
from green_code.kernels.padding import Padding
from green_code.kernels.quantise import GROUP, RECORD_BYTES, TILE, matrix_bytes, quantise
from green_code.kernels.weight_bits import head_bits
from green_code.models.adapters import Adapters, with_adapter
from green_code.models.backend import Report, Sizes
from green_code.models.bfloat16 import narrow, widen
from green_code.models.config import ModelConfig
from green_code.models.npy_file import Rows
from green_code.models.shapes import EMBEDDING, HEAD, POSITIONS, weight_shapes
from green_code.models.svd_head import svd_head_of
from green_code.sequences import map_ahead

PREVIEW = "preview"
_DOWN = "svd_head.down"
_LENS = "lens."
_KV_PROJECTIONS = "kv_projections"
_TENSORS = 0.8  # of the time; the rest is the SVD head
_CHUNK = 1 << 19  # values that a thread quantises at once
_HEAD_ROWS = 4096  # that the SVD head reads at once
Create = Callable[[str, tuple[int, ...], Any], Rows]
"""Makes an array of this name, shape and type."""


@dataclass(frozen=True)
class Matrix:
    """A matrix of the file of records: `outputs` × `inputs`, from byte `offset` on, in weights of `bits`."""

    name: str
    outputs: int
    inputs: int
    offset: int
    bits: int

    @property
    def nbytes(self) -> int:
        return matrix_bytes(self.outputs, self.inputs, self.bits)


@dataclass(frozen=True)
class Extras:
    """What a bundle adds: depths that have lenses, layers that have KV projections, the rank of the SVD head (0: none)."""

    lenses: tuple[int, ...] = ()
    kv_projections: tuple[int, ...] = ()
    rank: int = 0

    @classmethod
    def of(cls, adapters: Adapters) -> Extras:
        directions = adapters.svd_directions
        rank = 0 if directions is None or len(directions) % GROUP else len(directions)
        return cls(tuple(sorted(adapters.lenses)), tuple(sorted(adapters.kv_projections)), rank)


def layout(config: ModelConfig, extras: Extras, bits: int) -> dict[str, Matrix]:
    """All matrices by name, in the order of the file: the layers', the lenses, KV projections, the preview of the head, which is the head
    itself without an SVD head.

    Args:
        bits: of the layers' weights. The others have 8, for they are few, but for a head that is previewed in 4.
    """
    padding = Padding(config)
    placed, offset = dict[str, Matrix](), 0

    def place(name: str, outputs: int, inputs: int, bits: int = 8) -> None:
        nonlocal offset
        placed[name] = Matrix(name, outputs, inputs, offset, bits)
        offset += placed[name].nbytes

    for name, shape in weight_shapes(config).items():
        if name.startswith("layers.") and len(shape) == 2:
            outputs, inputs = padding.shape(name, shape)
            place(name.removesuffix(".weight"), outputs, inputs, bits)
    for depth in extras.lenses:
        place(lens_name(depth), config.width, padding.width)
    for layer in extras.kv_projections:
        place(kv_projection_name(layer), padding.keys_values, padding.width)
    if extras.rank:
        place(PREVIEW, config.vocabulary, extras.rank)
    else:
        place(PREVIEW, config.vocabulary, padding.width, head_bits(config))
    return placed


def tables(config: ModelConfig, extras: Extras) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights whose rows are kept in bfloat16: the embedding, learned positions, and a head of its own where candidates'
    rows are read."""
    names = (EMBEDDING, POSITIONS, HEAD) if reads_rows(config, extras) else (EMBEDDING, POSITIONS)
    padding, shapes = Padding(config), weight_shapes(config)
    return {name: padding.shape(name, shapes[name]) for name in names if name in shapes}


def vectors(config: ModelConfig, extras: Extras) -> dict[str, tuple[int, ...]]:
    """Shapes of the vectors, which are float32: gains and biases of the weights, gains of the lenses."""
    padding, shapes = Padding(config), weight_shapes(config)
    own = {name: padding.shape(name, shape) for name, shape in shapes.items() if len(shape) == 1}
    gains: dict[str, tuple[int, ...]] = dict.fromkeys(map(lens_name, extras.lenses), (padding.width,))
    return own | gains


def reads_rows(config: ModelConfig, extras: Extras) -> bool:
    """Whether candidates' logits come from the head's rows, not from the preview."""
    return extras.rank > 0 or head_bits(config) == 4


def head_weight(config: ModelConfig) -> str:
    """The name of the head's weight."""
    return EMBEDDING if config.tied_head else HEAD


def lens_name(depth: int) -> str:
    return f"{_LENS}{depth}"


def kv_projection_name(layer: int) -> str:
    return f"layers.{layer - 1}.kv_projection"


def packed_sizes(config: ModelConfig, extras: Extras, bits: int) -> Sizes:
    """Of the tables, only rows of tokens are held in memory. `bits`: see `layout`."""
    end = _end(layout(config, extras, bits))
    return Sizes(end + sum(2 * prod(shape) for shape in tables(config, extras).values()), end)


def in_memory(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A `Create` for weights that are not saved."""
    return np.zeros(shape, dtype)


def pack(
    config: ModelConfig,
    weights: Iterable[tuple[str, np.ndarray]],
    adapters: Adapters,
    create: Create = in_memory,
    report: Report = lambda _: None,
    bits: int = 8,
) -> tuple[Rows, dict[str, Rows], dict[str, np.ndarray]]:
    """Records (bytes of all matrices), `tables`, and the rest: `vectors`, the layers that have KV projections, and the SVD head's
    `down`. Each weight is written when it comes; none is held.

    Args:
        weights: names of `weight_shapes` and float32 arrays, in any order. create: makes the records ("records") and the tables.
        report: gets the share that is done. bits: see `layout`.
    Raises:
        ValueError: weights are missing, unknown or of another shape.
    """
    extras, shapes, padding = Extras.of(adapters), weight_shapes(config), Padding(config)
    placed = layout(config, extras, bits)
    records = create("records", (_end(placed),), np.uint8)
    rows = {name: create(name, shape, np.uint16) for name, shape in tables(config, extras).items()}
    rest = {(name := lens_name(depth)): padding.pad(name, lens.gain) for depth, lens in adapters.lenses.items()}
    rest[_KV_PROJECTIONS] = np.asarray(extras.kv_projections, np.int32)
    kv_names, first = {f"layers.{n - 1}.qkv.weight": n for n in extras.kv_projections}, config.heads * config.head_width
    expected = dict(shapes)
    for name, weight in weights:
        if expected.pop(name, None) != weight.shape:
            raise ValueError(f"{name} {weight.shape} is no weight of a {config.family} of this configuration")
        if layer := kv_names.get(name):
            own = with_adapter(weight[first:], adapters.kv_projections[layer])
            _write(records, placed[kv_projection_name(layer)], padding.pad(kv_projection_name(layer), own))
        weight = padding.pad(name, _scaled(config, name, weight))
        if weight.ndim == 1:
            rest[name] = weight
        if name in rows:
            for at in range(0, len(weight), _HEAD_ROWS):
                rows[name][at : at + _HEAD_ROWS] = narrow(weight[at : at + _HEAD_ROWS])
        if matrix := placed.get(name.removesuffix(".weight")):
            _write(records, matrix, weight)
        if name == head_weight(config) and not extras.rank:
            _write(records, placed[PREVIEW], weight)
        report(_TENSORS * (1 - len(expected) / len(shapes)))
    if expected:
        raise ValueError(f"{next(iter(expected))} is missing")
    for depth, lens in adapters.lenses.items():
        _write(records, placed[lens_name(depth)], padding.pad(lens_name(depth), lens.matrix))
    if extras.rank:
        head, v = rows[head_weight(config)], config.vocabulary

        def chunks() -> Iterator[np.ndarray]:
            parts = (head[at : min(at + _HEAD_ROWS, v)] for at in range(0, v, _HEAD_ROWS))
            return (widen(part)[:, : config.width] for part in parts)

        assert adapters.svd_directions is not None
        svd_head = svd_head_of(chunks, adapters.svd_directions)
        for at, chunk in enumerate(chunks()):
            _write(records, placed[PREVIEW], chunk @ svd_head.up, at * _HEAD_ROWS)
        rest[_DOWN] = padding.pad(_DOWN, svd_head.down)
    report(1.0)
    return records, rows, rest


def meaningless(config: ModelConfig) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What `pack` returns, in 8 bits and at once, of weights that say nothing: for measurements of time."""
    extras = Extras()
    record = quantise(np.random.default_rng(0).normal(0, 0.02, (TILE, GROUP)).astype(np.float32), 8)
    rows = {name: np.zeros(shape, np.uint16) for name, shape in tables(config, extras).items()}
    rest = {name: np.ones(shape, np.float32) for name, shape in vectors(config, extras).items()}
    records = np.resize(record, _end(layout(config, extras, 8)))
    return records, rows, {**rest, _KV_PROJECTIONS: np.zeros(0, np.int32)}


def _scaled(config: ModelConfig, name: str, weight: np.ndarray) -> np.ndarray:
    """With the scale of logits in the final norm, and that of residuals in what computes them last."""
    part = name.split(".")[-2]
    last = ("attention_out_norm", "mlp_out_norm") if config.row.sandwich_norms else ("attention_out", "mlp_out")
    scale = config.logit_scale if part == "norm" else config.residual_scale if part in last else 1.0
    return weight if scale == 1.0 else weight * np.float32(scale)


def _write(records: Rows, matrix: Matrix, weight: np.ndarray, row: int = 0) -> None:
    """Quantise rows of a matrix, from `row` on, which is a multiple of TILE, and write them where they belong."""
    count = max(1, _CHUNK // (matrix.inputs * TILE)) * TILE
    at = matrix.offset + matrix_bytes(row, matrix.inputs, matrix.bits)
    starts = range(0, len(weight), count)
    for made in map_ahead(lambda start: quantise(weight[start : start + count], matrix.bits).reshape(-1), starts):
        records[at : at + len(made)] = made
        at += len(made)


def _end(placed: Mapping[str, Matrix]) -> int:
    last = list(placed.values())[-1]
    return last.offset + last.nbytes


@dataclass(frozen=True)
class Packed:
    """What `pack` made. `matrices` point into `records`, which must live as long."""

    records: np.ndarray
    matrices: Mapping[str, CMatrix]
    nbytes: Mapping[str, int]  # of each matrix
    vectors: Mapping[str, np.ndarray]
    tables: Mapping[str, np.ndarray]  # bfloat16
    extras: Extras
    down: np.ndarray | None


def unpack(
    config: ModelConfig, records: np.ndarray, rows: Mapping[str, np.ndarray], rest: Mapping[str, np.ndarray]
) -> Packed:
    """
    Args:
        records, rows, rest: of `pack`. The size of the records tells the bits of their weights.
    Raises:
        ValueError: they are not of this configuration.
    """
    rest = dict(rest)
    down, projections = rest.pop(_DOWN, None), tuple(rest.pop(_KV_PROJECTIONS).tolist())
    lenses = tuple(sorted(int(name.removeprefix(_LENS)) for name in rest if name.startswith(_LENS)))
    extras = Extras(lenses, projections, 0 if down is None else len(down))
    layouts = {_end(placed): placed for bits in RECORD_BYTES if (placed := layout(config, extras, bits))}
    placed = layouts.get(records.size, {})
    if not placed or records.ndim != 1 or records.dtype != np.uint8 or not records.flags.c_contiguous:
        raise ValueError(f"records {records.shape} are not of a {config.family} of this configuration")
    found = {name: (array.shape, array.dtype) for name, array in {**rows, **rest}.items()}
    like: dict[str, tuple[Any, Any]] = {
        name: (shape, np.dtype(np.uint16)) for name, shape in tables(config, extras).items()
    }
    like |= {name: (shape, np.dtype(np.float32)) for name, shape in vectors(config, extras).items()}
    if down is not None:
        found[_DOWN], like[_DOWN] = (
            (down.shape, down.dtype),
            ((extras.rank, Padding(config).width), np.dtype(np.float32)),
        )
    contiguous = all(array.flags.c_contiguous for array in (*rows.values(), *(() if down is None else (down,))))
    if found != like or not contiguous or extras.rank > Padding(config).width:
        raise ValueError(f"these are not the gains of a {config.family} of this configuration")
    records = in_large_pages(records, len(records))

    def placed_at(matrix: Matrix) -> CMatrix:
        outputs = -(-matrix.outputs // TILE) * TILE
        return CMatrix(records.ctypes.data + matrix.offset, outputs, matrix.inputs, matrix.bits)

    return Packed(
        records,
        {name: placed_at(matrix) for name, matrix in placed.items()},
        {name: matrix.nbytes for name, matrix in placed.items()},
        {name: np.ascontiguousarray(vector) for name, vector in rest.items()},
        rows,
        extras,
        down,
    )
