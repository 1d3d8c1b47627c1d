"""Reads a GGUF file (little-endian): its metadata, and its tensors in place.

The `gguf` package has a reader, too, which makes several arrays for each entry of a vocabulary: for Gemma's 262,144, ten
seconds and 600 MB. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Every number of the file is compared with the bytes that there are before anything is allocated by it.
"""

from __future__ import annotations

import itertools
import math
import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT: Final = 32
"""Where `general.alignment` gives no other."""
_STRING, _ARRAY = 8, 9
_SCALARS: Final = dict(
    zip(
        (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12),
        ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?", "<u8", "<i8", "<f8"],
        strict=True,
    )
)
"""Types of values → NumPy's names."""
_LEAST_FIELD, _LEAST_TENSOR, _LEAST_STRING = 13, 24, 8  # bytes of the shortest ones
_MOST_FIELDS, _MOST_TENSORS, _MOST_STRINGS = 1 << 16, 1 << 16, 1 << 22  # no model has as many
_MOST_DIMENSIONS = 4
Value = TypeVar("Value")


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as it is stored. `kind`: its quantisation. `shape`: of its elements, the outermost first. `offset`: in the file."""

    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """All dimensions but the last, and the bytes of the last."""
        block, block_bytes = GGML_QUANT_SIZES[self.kind]
        return (*self.shape[:-1], self.shape[-1] // block * block_bytes)

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.stored_shape)


class GgufFile:
    """A mapped file. `fields` are its metadata: numbers, strings, arrays of numbers, and lists of strings.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no GGUF file, of another version, damaged, or has an array of arrays.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 4
        if self._data[:4] != _MAGIC or self._integer("<I") not in _VERSIONS:
            raise ValueError("it is no GGUF file, or one of another version")
        tensors, fields = self._integer("<Q"), self._integer("<Q")
        self._expect(fields, _LEAST_FIELD, _MOST_FIELDS, "fields")
        self.fields: dict[str, Any] = _unique((self._string(), self._value()) for _ in range(fields))
        self._expect(tensors, _LEAST_TENSOR, _MOST_TENSORS, "tensors")
        found = _unique(self._tensor() for _ in range(tensors))
        self.tensors = self._placed(found)

    def stored(self, tensor: GgufTensor) -> np.ndarray:
        """The bytes of a tensor, in the shape `stored_shape`: uint8, read-only, not copied."""
        shape = tensor.stored_shape
        return np.frombuffer(self._data, np.uint8, math.prod(shape), tensor.offset).reshape(shape)

    def release(self) -> None:
        """The process need not hold what was read any more; it is read again where it is wanted again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._data.madvise(mmap.MADV_DONTNEED)

    def _placed(self, tensors: dict[str, GgufTensor]) -> dict[str, GgufTensor]:
        """The tensors with their offsets in the file, which are checked: they begin where they may, end in it, and share no byte."""
        alignment = self.fields.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {alignment}")
        first = -(-self._at // alignment) * alignment
        placed = {name: GgufTensor(t.kind, t.shape, first + t.offset) for name, t in tensors.items()}
        for name, tensor in placed.items():
            if tensor.offset % alignment or tensor.end > len(self._data):
                raise ValueError(f"its tensor {name} lies beyond its end, or not where a tensor may begin")
        for (_, one), (name, next_one) in itertools.pairwise(sorted(placed.items(), key=lambda item: item[1].offset)):
            if one.end > next_one.offset:
                raise ValueError(f"its tensor {name} overlaps another")
        return placed

    def _expect(self, count: int, least: int, most: int, what: str) -> None:
        if count > min(most, (len(self._data) - self._at) // least):
            raise ValueError(f"it claims to have {count} {what}")

    def _take(self, count: int) -> int:
        """Where the next `count` bytes begin, which are then passed."""
        if count > len(self._data) - self._at:
            raise ValueError("it ends too early")
        self._at += count
        return self._at - count

    def _integer(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._take(struct.calcsize(form)))
        return int(value)

    def _string(self) -> str:
        length = self._integer("<Q")
        begin = self._take(length)
        return self._data[begin : begin + length].decode()

    def _value(self) -> Any:
        kind = self._integer("<I")
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._scalars(kind, 1)[0].item()
        kind, count = self._integer("<I"), self._integer("<Q")
        if kind != _STRING:
            return self._scalars(kind, count)
        self._expect(count, _LEAST_STRING, _MOST_STRINGS, "strings in a list")
        return [self._string() for _ in range(count)]

    def _scalars(self, kind: int, count: int) -> np.ndarray:
        if kind not in _SCALARS:
            raise ValueError("it has an array of arrays" if kind == _ARRAY else f"it has a value of type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        return np.frombuffer(self._data, dtype, count, self._take(count * dtype.itemsize))

    def _tensor(self) -> tuple[str, GgufTensor]:
        name, dimensions = self._string(), self._integer("<I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise ValueError(f"its tensor {name} has {dimensions} dimensions")
        shape = tuple(self._integer("<Q") for _ in range(dimensions))[::-1]
        kind, offset = self._integer("<I"), self._integer("<Q")
        if kind not in GGML_QUANT_SIZES:
            raise ValueError(f"its tensor {name} is of type {kind}")
        if min(shape) < 1 or shape[-1] % GGML_QUANT_SIZES[GGMLQuantizationType(kind)][0]:
            raise ValueError(f"its tensor {name} has a shape that its type cannot have")
        return name, GgufTensor(GGMLQuantizationType(kind), shape, offset)


def _unique(named: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in named:
        if name in found:
            raise ValueError(f"it has {name} twice")
        found[name] = value
    return found
