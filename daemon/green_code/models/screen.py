"""The head's screen: which tokens may be the likeliest, found at a fraction of the head's cost (SVD-softmax, Shim et al., 2017).

Normed states h of one model vary in few directions as far as its head W (V, C) can see. With M = WᵀW, the R greatest principal
directions Q (R, C) of M^½ h over many states give the approximation of rank R that is best for all logits together:

    W h ≈ (W M^-½ Qᵀ) (Q M^½ h) = preview (V, R) · down (R, C) · h

Tokens whose preview is high are then looked at with the head's own rows, and of these the likeliest is taken. Q is all that
must be known of the states, and is a part of the bundle; the rest follows from the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from green_code.models.bundle import SCREEN, Bundle
from green_code.problems import Problem

RANK = 128
"""Directions that are kept: of 640, they give .2 % of all tokens another likeliest one; int8 gives it .4 %."""
_ROWS = 4096  # of the head, in float64 at once


@dataclass(frozen=True)
class Screen:
    """`down` (R, C) gives coordinates of a normed state, `preview` (V, R) the logits that they foretell."""

    down: Tensor
    preview: Tensor


def principal_directions(head: Tensor, moment: Tensor, rank: int) -> Tensor:
    """Q (R, C), float16: head (V, C), second moment of normed states (C, C)."""
    metric, _ = _roots(head)
    vectors: Tensor = torch.linalg.eigh(metric @ moment.double() @ metric).eigenvectors
    return vectors.flip(1)[:, :rank].T.half()


def screen_of(head: Tensor, directions: Tensor) -> Screen:
    """The screen of a head (V, C), for Q (R, C)."""
    metric, inverse = _roots(head)
    q = directions.double()
    return Screen((q @ metric).float(), head.float() @ (inverse @ q.T).float())


def bundled_directions(bundle: Bundle | None, width: int) -> Tensor | None:
    """Q of a bundle; None where it has none.

    Raises:
        Problem: the part is damaged, or of a model of another width.
    """
    if bundle is None or (path := bundle.part(SCREEN)) is None:
        return None
    try:
        directions = load_file(path)["directions"]
    except (SafetensorError, KeyError) as error:
        raise Problem("bundle_invalid", f"bundle {bundle.name}: {SCREEN} is damaged ({error}).") from error
    if directions.dim() != 2 or directions.shape[1] != width or not torch.isfinite(directions).all():
        raise Problem(
            "bundle_invalid",
            f"bundle {bundle.name}: {SCREEN} does not fit the base model; make it anew with `green-code adapt screen`.",
        )
    return directions


def _roots(head: Tensor) -> tuple[Tensor, Tensor]:
    """M^½ and M^-½ of M = WᵀW, float64."""
    metric = torch.zeros(head.shape[1], head.shape[1], dtype=torch.float64)
    for at in range(0, len(head), _ROWS):
        rows = head[at : at + _ROWS].double()
        metric += rows.T @ rows
    values, vectors = torch.linalg.eigh(metric)
    roots = values.clamp_min(values[-1] * 1e-9).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
