"""Forms in which a change of the weights could be shipped, and what each takes: bits a value, or a low rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from green_code.models.delta import read_delta, save_delta
from green_code_lab.lite.export import bits_for, export_delta

AS_TRAINED, SHIPPED = "as trained", "as shipped"
RANKS = (32, 64, 128)


@dataclass(frozen=True)
class WeightFormat:
    """`weights` are those of a model to which the stored change was applied. `megabytes` is what is stored (10⁶)."""

    label: str
    megabytes: float
    weights: Mapping[str, Tensor]


def weight_formats(
    base: Mapping[str, Tensor], trained: Mapping[str, Tensor], layers: int, folder: Path
) -> Iterator[WeightFormat]:
    """Each form in turn: as trained (counted in float16), as shipped, 3 and 2 bits everywhere, and low ranks.

    Args:
        base, trained: float32 weights by name; only those of the layers differ. folder: for files, which do not stay.
    """
    learned = {name: weight for name, weight in trained.items() if name.startswith("layers.")}
    yield WeightFormat(AS_TRAINED, sum(2 * w.numel() for w in learned.values()) / 1e6, trained)
    path = folder / "delta.safetensors"
    export_delta(base, trained, layers, path)
    yield _stored(SHIPPED, base, path)
    for bits in (3, 2):
        save_delta(path, base, learned, dict.fromkeys(bits_for(learned, layers), bits))
        yield _stored(f"{bits} bits everywhere", base, path)
    path.unlink()
    yield from _low_ranks(base, learned, list(bits_for(learned, layers)))


def _stored(label: str, base: Mapping[str, Tensor], path: Path) -> WeightFormat:
    weights = dict(base)
    for name, delta in read_delta(path):
        weights[name] = base[name] + delta
    return WeightFormat(label, path.stat().st_size / 1e6, weights)


def _low_ranks(
    base: Mapping[str, Tensor], learned: Mapping[str, Tensor], matrices: list[str]
) -> Iterator[WeightFormat]:
    largest = {name: factors(learned[name] - base[name], max(RANKS)) for name in matrices}
    vectors = {n: (w - base[n]).half() for n, w in learned.items() if n not in largest}
    for rank in RANKS:
        parts = {name: (left[:, :rank], right[:rank]) for name, (left, right) in largest.items()}
        weights, size = dict(base), sum(2 * v.numel() for v in vectors.values())
        for name, (left, right) in parts.items():
            weights[name] = base[name] + left.float() @ right.float()
            size += 2 * (left.numel() + right.numel())
        for name, vector in vectors.items():
            weights[name] = base[name] + vector.float()
        yield WeightFormat(f"rank {rank}", size / 1e6, weights)


def factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(rows, rank) and (rank, columns), float16, whose product is the nearest matrix of that rank (Eckart and Young, 1936).

    Their first r columns and rows are the factors of rank r. A matrix of a lower rank has factors of its own.
    """
    left, values, right = torch.linalg.svd(delta.float(), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).half(), (root[:, None] * right[:rank]).half()
