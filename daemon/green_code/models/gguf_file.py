"""Reads a GGUF file (little-endian): its metadata, and its tensors in place.

The `gguf` package has a reader, too, which makes several arrays for each entry of a vocabulary: for Gemma's 262,144, ten
seconds and 600 MB. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

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


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as it is stored. `kind`: its quantisation, a number of ggml's. `shape`: of its elements, the outermost first."""

    kind: int
    shape: tuple[int, ...]
    offset: int


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
        self.fields: dict[str, Any] = {self._string(): self._value(self._integer("<I")) for _ in range(fields)}
        found = [self._tensor() for _ in range(tensors)]
        alignment = self.fields.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"its alignment is {alignment}")
        self._first = -(-self._at // alignment) * alignment
        self.tensors = dict(found)

    def stored(self, tensor: GgufTensor, block: int, block_bytes: int) -> np.ndarray:
        """The bytes of a tensor: (all dimensions but the last, bytes of the last), uint8, read-only.

        Args:
            block, block_bytes: elements of a block of its quantisation, and their bytes.
        """
        shape = (*tensor.shape[:-1], tensor.shape[-1] // block * block_bytes)
        data = np.frombuffer(self._data, np.uint8, int(np.prod(shape)), self._first + tensor.offset)
        return data.reshape(shape)

    def _take(self, count: int) -> bytes:
        begin, self._at = self._at, self._at + count
        if self._at > len(self._data):
            raise ValueError("it ends too early")
        return self._data[begin : self._at]

    def _integer(self, form: str) -> int:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(value)

    def _string(self) -> str:
        return self._take(self._integer("<Q")).decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._scalars(kind, 1)[0].item()
        kind, count = self._integer("<I"), self._integer("<Q")
        return [self._string() for _ in range(count)] if kind == _STRING else self._scalars(kind, count)

    def _scalars(self, kind: int, count: int) -> np.ndarray:
        if kind not in _SCALARS:
            raise ValueError(f"it has a value of type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _tensor(self) -> tuple[str, GgufTensor]:
        name, dimensions = self._string(), self._integer("<I")
        shape = tuple(self._integer("<Q") for _ in range(dimensions))
        return name, GgufTensor(self._integer("<I"), shape[::-1], self._integer("<Q"))
