"""Reading a network's weights from a file of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from green_code.problems import Problem

Network = TypeVar("Network", bound=nn.Module)


def load_network(path: Path, build: Callable[[Mapping[str, str]], Network]) -> Network:
    """
    Args:
        build: makes the network from the file's metadata; a KeyError or ValueError says that they are damaged.
    Raises:
        Problem: the file is damaged, or has NaN or infinity.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            network = build(file.metadata() or {})
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        network.load_state_dict(weights)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise Problem("bundle_invalid", f"{path.name} is damaged ({error}); fetch the bundle again.") from error
    if not all(torch.isfinite(weight).all() for weight in weights.values()):
        raise Problem("bundle_invalid", f"{path.name} holds NaN or infinity; the bundle is refused. Fetch it again.")
    network.requires_grad_(False).eval()
    return network
