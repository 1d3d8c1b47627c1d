"""The SVD head: the top token at a fraction of the LM head's cost (SVD-softmax, Shim et al., 2017).

In the metric of the head W (V, C), normed states h of one model vary in few directions. With M = WᵀW, the R greatest principal
directions Q (R, C) of M^½ h over many states give the best approximation of rank R for all logits together:

    W h ≈ (W M^-½ Qᵀ) (Q M^½ h) = preview (V, R) · down (R, C) · h

Tokens with a high preview are candidates; their exact logits come from the head's own rows, and the likeliest is taken. The
bundle holds Q; the rest follows from the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from green_code.models.tensor_files import FLOATS, read_tensors, tensor_of

RANK = 128
"""Of 640 directions; with these, .2 % of positions get another top token, and .4 % by int8."""
Chunks = Callable[[], Iterator[np.ndarray]]
"""Gives the head's rows (V, C) from the first on, float32, a few thousand at a time."""


@dataclass(frozen=True)
class SVDHead:
    """`down` (R, C) projects a normed state; `up` (C, R) makes the head's rows those of the preview, which are approximate logits
    of `down`'s products: `preview = head @ up`. Float32."""

    down: np.ndarray
    up: np.ndarray


def principal_directions(head: Chunks, moment: np.ndarray, rank: int) -> np.ndarray:
    """Q (R, C), float16: second moment of normed states (C, C)."""
    metric, _ = _roots(head)
    vectors: np.ndarray = np.linalg.eigh(metric @ moment.astype(np.float64) @ metric).eigenvectors
    return np.ascontiguousarray(vectors[:, ::-1][:, :rank].T.astype(np.float16))


def read_directions(path: Path) -> np.ndarray:
    """Q of a bundle.

    Raises:
        ValueError: the file is damaged, or has more directions than there are.
    """
    directions = tensor_of(read_tensors(path)[0], "directions", FLOATS, (None, None))
    if len(directions) > directions.shape[1]:
        raise ValueError(f"it has {len(directions)} directions of {directions.shape[1]}")
    return directions


def svd_head_of(head: Chunks, directions: np.ndarray) -> SVDHead:
    """The SVD head of an LM head, for Q (R, C)."""
    metric, inverse = _roots(head)
    q = directions.astype(np.float64)
    return SVDHead((q @ metric).astype(np.float32), (inverse @ q.T).astype(np.float32))


def _roots(head: Chunks) -> tuple[np.ndarray, np.ndarray]:
    """M^½ and M^-½ of M = WᵀW, float64."""
    metric: np.ndarray = np.zeros(())
    for chunk in head():
        rows = chunk.astype(np.float64)
        metric = metric + rows.T @ rows
    values, vectors = np.linalg.eigh(metric)
    roots = np.sqrt(np.maximum(values, values[-1] * 1e-9))
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
