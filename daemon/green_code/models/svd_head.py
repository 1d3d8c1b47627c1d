"""The SVD head: the top token at a fraction of the LM head's cost (SVD-softmax, Shim et al., 2017).

In the metric of the head W (V, C), normed states h of one model vary in few directions. With M = WᵀW, the R greatest principal
directions Q (R, C) of M^½ h over many states give the best approximation of rank R for all logits together:

    W h ≈ (W M^-½ Qᵀ) (Q M^½ h) = preview (V, R) · down (R, C) · h

Tokens with a high preview are candidates; their exact logits come from the head's own rows, and the likeliest is taken. The
bundle holds Q; the rest follows from the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

RANK = 128
"""Of 640 directions; with these, .2 % of positions get another top token, and .4 % by int8."""
_ROWS = 4096  # of the head, in float64 at once


@dataclass(frozen=True)
class SVDHead:
    """`down` (R, C) projects a normed state, `preview` (V, R) turns that into approximate logits."""

    down: Tensor
    preview: Tensor


def principal_directions(head: Tensor, moment: Tensor, rank: int) -> Tensor:
    """Q (R, C), float16: head (V, C), second moment of normed states (C, C)."""
    metric, _ = _roots(head)
    vectors: Tensor = torch.linalg.eigh(metric @ moment.double() @ metric).eigenvectors
    return vectors.flip(1)[:, :rank].T.half()


def read_directions(path: Path) -> Tensor:
    """Q of a bundle.

    Raises:
        OSError, SafetensorError, KeyError, ValueError: the file is damaged.
    """
    directions: Tensor = load_file(path)["directions"]
    if not torch.isfinite(directions).all():
        raise ValueError("it holds NaN or infinity")
    return directions


def svd_head_of(head: Tensor, directions: Tensor, report: Callable[[float], None] = lambda _: None) -> SVDHead:
    """The SVD head of an LM head (V, C), for Q (R, C). `report` gets the share that is done, about."""
    metric, inverse = _roots(head, report)
    q = directions.double()
    return SVDHead((q @ metric).float(), head.float() @ (inverse @ q.T).float())


def _roots(head: Tensor, report: Callable[[float], None] = lambda _: None) -> tuple[Tensor, Tensor]:
    """M^½ and M^-½ of M = WᵀW, float64."""
    metric = torch.zeros(head.shape[1], head.shape[1], dtype=torch.float64)
    for at in range(0, len(head), _ROWS):
        rows = head[at : at + _ROWS].double()
        metric += rows.T @ rows
        report(0.8 * (at + len(rows)) / len(head))
    values, vectors = torch.linalg.eigh(metric)
    roots = values.clamp_min(values[-1] * 1e-9).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
