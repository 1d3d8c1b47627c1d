"""The bundle's SVD head (models/svd_head.py): principal directions of normed states over training shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from green_code.models.adapters import LinearAdapter
from green_code.models.svd_head import RANK, principal_directions
from green_code_lab.heads.lenses import lens_of
from green_code_lab.heads.states import parts


def depths_that_count(exits: Sequence[int], layers: int) -> tuple[int, ...]:
    """The last layer, the deepest exit and others in the upper third; states of lower exits lie in other directions."""
    return (*(depth for depth in exits if depth == max(exits) or 3 * depth > 2 * layers), layers)


@torch.inference_mode()
def second_moment(
    states: Mapping[int, np.ndarray], lenses: Mapping[int, LinearAdapter], gain: Tensor, eps: float
) -> Tensor:
    """(C, C), float64: sum over depths of the second moment of normed states, behind their lenses.

    Args:
        states: by depth, (N, C) over their root mean square. gain: (C,), the final norm's. eps: the norm's.
    """
    moment = torch.zeros(len(gain), len(gain), dtype=torch.float64)
    for depth, recorded in states.items():
        through = lens_of(lenses.get(depth), eps)
        for (x,) in parts(recorded):
            normed = through(x) * gain
            moment += (normed.T @ normed).double() / len(recorded)
    return moment


def write_svd_head(head: np.ndarray, moment: np.ndarray, path: Path) -> None:
    """Write the RANK directions (or as many as there are) for a head (V, C)."""
    part = path.with_suffix(".part")
    directions = principal_directions(lambda: iter(np.array_split(head, -(-len(head) // 4096))), moment, RANK)
    save_file({"directions": directions}, part)
    part.replace(path)
