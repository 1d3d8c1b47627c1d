"""The head's screen: which tokens may be the likeliest, found at a fraction of the head's cost (SVD-softmax, Shim et al., 2017).

Normed states h of one model vary in few directions as far as its head W (V, C) can see. With M = WᵀW, the R greatest principal
directions Q (R, C) of M^½ h over many states give the approximation of rank R that is best for all logits together:

    W h ≈ (W M^-½ Qᵀ) (Q M^½ h) = preview (V, R) · down (R, C) · h

Tokens whose preview is high are then looked at with the head's own rows, and of these the likeliest is taken. Q is all that
must be known of the states, and is a part of the bundle; the rest follows from the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

RANK = 128
"""Directions that are kept: of 640, they give .2 % of all tokens another likeliest one; int8 gives it .4 %."""
_ROWS = 4096  # of the head, in float64 at once


@dataclass(frozen=True)
class SVDHead:
    """`down` (R, C) gives coordinates of a normed state, `preview` (V, R) the logits that they foretell."""

    down: Tensor
    preview: Tensor


def principal_directions(head: Tensor, moment: Tensor, rank: int) -> Tensor:
    """Q (R, C), float16: head (V, C), second moment of normed states (C, C)."""
    metric, _ = _roots(head)
    vectors: Tensor = torch.linalg.eigh(metric @ moment.double() @ metric).eigenvectors
    return vectors.flip(1)[:, :rank].T.half()


def read_directions(path: Path) -> Tensor:
    """Q of a bundle's part.

    Raises:
        OSError, SafetensorError, KeyError, ValueError: the file is damaged.
    """
    directions: Tensor = load_file(path)["directions"]
    if not torch.isfinite(directions).all():
        raise ValueError("it holds NaN or infinity")
    return directions


def svd_head_of(head: Tensor, directions: Tensor) -> SVDHead:
    """The screen of a head (V, C), for Q (R, C)."""
    metric, inverse = _roots(head)
    q = directions.double()
    return SVDHead((q @ metric).float(), head.float() @ (inverse @ q.T).float())


def _roots(head: Tensor) -> tuple[Tensor, Tensor]:
    """M^½ and M^-½ of M = WᵀW, float64."""
    metric = torch.zeros(head.shape[1], head.shape[1], dtype=torch.float64)
    for at in range(0, len(head), _ROWS):
        rows = head[at : at + _ROWS].double()
        metric += rows.T @ rows
    values, vectors = torch.linalg.eigh(metric)
    roots = values.clamp_min(values[-1] * 1e-9).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
