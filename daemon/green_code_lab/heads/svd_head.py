"""The bundle's SVD head (models/svd_head.py): principal directions of normed states over training shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import Tensor

from green_code.models.backend import Backend
from green_code.models.svd_head import RANK, principal_directions
from green_code_lab.corpus import Corpus
from green_code_lab.heads.states import window_states
from green_code_lab.lite.scores import WINDOW

MOMENT_POSITIONS = 65_536  # per language


def depths_that_count(exits: Sequence[int], layers: int) -> tuple[int, ...]:
    """The last layer, the deepest exit and others in the upper third; states of lower exits lie in other directions."""
    return (*(depth for depth in exits if depth == max(exits) or 3 * depth > 2 * layers), layers)


@torch.inference_mode()
def second_moment(
    decoder: Backend, gain: Tensor, corpus: Corpus, depths: Sequence[int], positions: int, bos: int | None
) -> Tensor:
    """(C, C), float64: second moment of normed states at `depths`, behind their lenses. `gain`: (C,), the final norm's."""
    config = decoder.config
    moment = torch.zeros(config.width, config.width, dtype=torch.float64)
    for _, cache, count in window_states(decoder, corpus, corpus.languages, positions, WINDOW, bos):
        for depth in depths:
            cache.advance(WINDOW - 1, depth)
            states = torch.from_numpy(decoder.lensed_states(cache.buffers, 0, WINDOW, depth))
            normed = F.rms_norm(states, (config.width,), gain, config.norm_eps)
            moment += (normed.T @ normed).double() / (count * WINDOW)
    return moment


def write_svd_head(head: np.ndarray, moment: np.ndarray, path: Path) -> None:
    """Write the RANK directions (or as many as there are) for a head (V, C)."""
    part = path.with_suffix(".part")
    directions = principal_directions(lambda: iter(np.array_split(head, -(-len(head) // 4096))), moment, RANK)
    save_file({"directions": directions}, part)
    part.replace(path)
