"""The tensors of a checkpoint in safetensors files, one or several, read by NumPy: bfloat16 too, which NumPy lacks.

Rows are read when they are asked for, so that of a tensor no more is in memory than the reader holds.
Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from green_code.models.bfloat16 import widen
from green_code.problems import Problem, refusing
from green_code.reading import check_regular, read_json

INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_MOST_INDEX_BYTES = 1 << 26
_TYPES: dict[str, np.dtype[Any]] = {"BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_BYTES_OF_LENGTH = 8


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. A slice of it is its rows, as float32."""

    name: str
    path: Path
    kind: str
    shape: tuple[int, ...]
    offset: int  # from the beginning of the file, bytes

    def __getitem__(self, rows: slice) -> np.ndarray:
        """
        Raises:
            Problem: they are of a type that is not supported, or the file became shorter.
        """
        if self.kind not in _TYPES:
            known = ", ".join(_TYPES)
            raise Problem(
                "model_damaged",
                f"{self.name} in {self.path.name} is stored as {self.kind}; supported are {known}: choose a checkpoint that is not quantised.",
            )
        start, stop, _ = rows.indices(self.shape[0])
        width, dtype = math.prod(self.shape[1:]), _TYPES[self.kind]
        count = (stop - start) * width
        read = np.fromfile(self.path, dtype, count, offset=self.offset + start * width * dtype.itemsize)
        if len(read) != count:
            raise damaged(self.path, "it ends too early")
        values = widen(read) if self.kind == "BF16" else read.astype(np.float32, copy=False)
        return values.reshape(stop - start, *self.shape[1:])


def read_headers(files: list[Path]) -> dict[str, StoredTensor]:
    """All tensors of these files by name.

    Raises:
        Problem: a file is damaged, or two have a tensor of the same name.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        for tensor in _header(path):
            if tensor.name in tensors:
                raise damaged(path, f"{tensor.name[:60]} is in {tensors[tensor.name].path.name}, too")
            tensors[tensor.name] = tensor
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that its index names, or its only one.

    Raises:
        Problem: there is none, one is missing, or the index names files elsewhere.
    """
    if not (folder / INDEX).is_file():
        found = sorted(folder.glob("*.safetensors"))
        single = [path for path in found if path.name == _SINGLE or len(found) == 1]
        if not single:
            raise Problem(
                "model_missing",
                f"{folder} has no {_SINGLE}; download the model's safetensors files with their config.json and tokenizer.json into it.",
            )
        return single
    index = read_object(folder / INDEX, _MOST_INDEX_BYTES).get("weight_map")
    if not isinstance(index, dict) or not index or not all(isinstance(name, str) for name in index.values()):
        raise damaged(folder / INDEX, "it names no files")
    names = sorted(set(index.values()))
    if strange := [n for n in names if Path(n).name != n or "\\" in n or not n.endswith(".safetensors")]:
        raise damaged(folder / INDEX, f"it names {strange[0][:60]!r}, which is no safetensors file of this folder")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise Problem("model_missing", f"{folder} lacks {missing[0]}, which its index names; download it, too.")
    return [folder / name for name in names]


def check_index(folder: Path, tensors: dict[str, StoredTensor]) -> None:
    """Raises Problem if the index, where there is one, says of a tensor that it is in another file."""
    if not (folder / INDEX).is_file():
        return
    for name, file in read_object(folder / INDEX, _MOST_INDEX_BYTES)["weight_map"].items():
        if name not in tensors or tensors[name].path.name != file:
            raise damaged(folder / INDEX, f"{name[:60]} is not in {file}")


def read_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        Problem: it is missing, larger, no regular file, no JSON, nested too deeply, or no object.
    """
    with refusing(lambda what: damaged(path, what)):
        try:
            return read_json(path, dict[str, Any], most_bytes)
        except FileNotFoundError as error:
            raise Problem("model_missing", f"{path.parent} lacks {path.name}; download it, too.") from error


def damaged(path: Path, why: str) -> Problem:
    return Problem("model_damaged", f"{path.name} is damaged ({why}); download it again.")


def _header(path: Path) -> list[StoredTensor]:
    """`safe_open` compares the header with the file: lengths, types, overlaps, gaps. It cannot give bfloat16 to NumPy."""
    with refusing(lambda what: damaged(path, what)):
        check_regular(path)
        with safe_open(str(path), framework="np"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_BYTES_OF_LENGTH), "little")
            header = json.loads(file.read(length))
        first = _BYTES_OF_LENGTH + length
        return [
            StoredTensor(name, path, entry["dtype"], tuple(entry["shape"]), first + entry["data_offsets"][0])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
