"""The agents' networks in a bundle: float16 tensors in a safetensors file, with metadata; float32 in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors.numpy import save_file

from green_code.models.tensor_files import read_tensors
from green_code.problems import refusing

Network = TypeVar("Network")
Parameters = Mapping[str, np.ndarray]


def load_network(path: Path, build: Callable[[Mapping[str, str], Parameters], Network]) -> Network:
    """
    Args:
        build: makes the network from the file's metadata and tensors.
    Raises:
        ValueError: the file is damaged, or has NaN or infinity; or `build` raised something.
    """
    stored, metadata = read_tensors(path)
    with refusing(ValueError):
        return build(metadata, {name: tensor.astype(np.float32) for name, tensor in stored.items()})


def save_network(path: Path, parameters: Parameters, metadata: Mapping[str, str]) -> None:
    save_file({name: part.astype(np.float16) for name, part in parameters.items()}, str(path), dict(metadata))


def check_shapes(parameters: Parameters, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError where parameters are missing, unknown or of another shape."""
    found = {name: part.shape for name, part in parameters.items()}
    if found != shapes:
        raise ValueError(f"its parameters are {found}, not {dict(shapes)}")
