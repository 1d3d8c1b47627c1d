"""The bundle's SVD head (models/svd_head.py): principal directions of normed states over training shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from green_code.models.adapters import LinearAdapter
from green_code.models.backend import CANDIDATES
from green_code.models.svd_head import RANK, Chunks, principal_directions, svd_head_of
from green_code_lab.heads.lenses import lens_of
from green_code_lab.heads.states import parts

RANKS = (RANK, 3 * RANK // 2, 2 * RANK)
MOST_LOST = 0.004
_ROWS = 256  # at once: the whole head's logits


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


def lost_share(head: np.ndarray, directions: np.ndarray, normed: np.ndarray) -> float:
    """Share of normed states (N, C) whose top token is no candidate of the SVD head's preview. `head`: (V, C)."""
    svd = svd_head_of(_chunks(head), directions)
    preview, lost = head @ svd.up, 0
    for states in np.array_split(normed, -(-len(normed) // _ROWS)):
        top = (states @ head.T).argmax(-1)
        previews = (states @ svd.down.T) @ preview.T
        own = np.take_along_axis(previews, top[:, None], 1)
        lost += int(((previews > own).sum(-1) >= CANDIDATES).sum())
    return lost / len(normed)


def choose_directions(
    head: np.ndarray, moment: np.ndarray, normed: np.ndarray, report: Callable[[str], None]
) -> np.ndarray:
    """Q (R, C) for a head (V, C), of the least of `RANKS` with which hardly any of the held-out `normed` (N, C) lose their top token."""
    directions = principal_directions(_chunks(head), moment, RANKS[-1])
    for rank in RANKS:
        share = lost_share(head, directions[:rank], normed)
        report(f"SVD head of rank {rank}: {share:.2%} of {len(normed):,} held-out positions get another top token")
        if share <= MOST_LOST:
            return directions[:rank]
    return directions


def _chunks(head: np.ndarray) -> Chunks:
    return lambda: iter(np.array_split(head, -(-len(head) // 4096)))
