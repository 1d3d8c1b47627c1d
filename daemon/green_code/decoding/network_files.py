"""The agents' networks in a bundle: float16 tensors in a safetensors file, with metadata; float32 in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from green_code.problems import Problem

Network = TypeVar("Network")
Parameters = Mapping[str, np.ndarray]


def load_network(path: Path, build: Callable[[Mapping[str, str], Parameters], Network]) -> Network:
    """
    Args:
        build: makes the network from the file's metadata and tensors; a KeyError or ValueError says that they are damaged.
    Raises:
        Problem: the file is damaged, or has NaN or infinity.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            tensors = {key: file.get_tensor(key).astype(np.float32) for key in file.keys()}  # noqa: SIM118 - no mapping
            network = build(file.metadata() or {}, tensors)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise Problem("bundle_invalid", f"{path.name} is damaged ({error}); fetch the bundle again.") from error
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise Problem("bundle_invalid", f"{path.name} holds NaN or infinity; the bundle is refused. Fetch it again.")
    return network


def save_network(path: Path, parameters: Parameters, metadata: Mapping[str, str]) -> None:
    save_file({name: part.astype(np.float16) for name, part in parameters.items()}, str(path), dict(metadata))


def check_shapes(parameters: Parameters, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError where parameters are missing, unknown or of another shape."""
    found = {name: part.shape for name, part in parameters.items()}
    if found != shapes:
        raise ValueError(f"its parameters are {found}, not {dict(shapes)}")
