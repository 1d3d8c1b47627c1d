"""The safetensors files of a bundle: read whole and checked, so that their readers need not ask what is in a tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open

from green_code.problems import refusing
from green_code.reading import check_regular

Tensors = Mapping[str, np.ndarray]
FLOATS, BYTES, INTEGERS = "floats", "bytes", "integers"
_LARGEST = 1e9  # products of a few such numbers are finite in float32
_NAMES = {"f": FLOATS, "i": INTEGERS, "u": INTEGERS}


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a file, and its metadata.

    Raises:
        ValueError: it is no regular file or a damaged one, or a tensor is neither of integers nor of finite floats.
    """
    with refusing(ValueError):
        check_regular(path)
        with safe_open(str(path), framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    for name, tensor in tensors.items():
        check_numbers(name, tensor)
    return tensors, metadata


def check_numbers(name: str, tensor: np.ndarray) -> None:
    """Raises ValueError where they are neither integers nor finite floats of a size that something trained can have."""
    if tensor.dtype.kind not in _NAMES:
        raise ValueError(f"{name[:60]} is of type {tensor.dtype}")
    if tensor.dtype.kind != "f" or not tensor.size:
        return
    most = float(np.abs(tensor).max())
    if not math.isfinite(most):
        raise ValueError(f"{name[:60]} holds NaN or infinity")
    if most > _LARGEST:
        raise ValueError(f"{name[:60]} holds {most:g}")


def tensor_of(tensors: Tensors, name: str, kind: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """One tensor. `kind`: `FLOATS`, `BYTES` or `INTEGERS`. `shape`: None stands for any size above 0.

    Raises:
        ValueError: it is missing, or another one.
    """
    if (tensor := tensors.get(name)) is None:
        raise ValueError(f"it lacks {name}")
    found = BYTES if tensor.dtype == np.uint8 and kind == BYTES else _NAMES.get(tensor.dtype.kind)
    fits = len(shape) == tensor.ndim and all(
        size > 0 and expected in (None, size) for size, expected in zip(tensor.shape, shape, strict=True)
    )
    if found != kind or not fits:
        wanted = " × ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} is {tensor.dtype} of shape {tensor.shape}, not {kind} of {wanted}")
    return tensor
