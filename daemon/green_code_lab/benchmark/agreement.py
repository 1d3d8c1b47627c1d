"""How far each engine writes what the same weights write at full depth in float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from green_code.models.vocabulary import Vocabulary
from green_code.sequences import common
from green_code_lab.benchmark.peer import Spec
from green_code_lab.benchmark.process import Worker
from green_code_lab.benchmark.prompts import Case
from green_code_lab.benchmark.rounds import COMPLETION_TOKENS


def references(spec: Spec, cases: Iterable[Case], threads: int) -> dict[str, list[int]]:
    """The reference's tokens by the case's id.

    Raises:
        Problem: it cannot be loaded, or fails.
    """
    worker = Worker(spec)
    try:
        worker.begin_open()
        worker.answer()
        found: dict[str, list[int]] = {}
        for case in cases:
            if case.id not in found:
                found[case.id] = worker.complete(case.short, COMPLETION_TOKENS, threads, True)["tokens"]
        return found
    finally:
        worker.close()


def agreements(
    samples: Sequence[Mapping[str, Any]], wanted: Mapping[str, Sequence[int]], vocabulary: Vocabulary
) -> dict[str, float]:
    """By engine: the share of a completion's tokens before the first that differs, the mean over cold completions."""
    by_peer: dict[str, list[float]] = {}
    for sample in samples:
        if sample["step"] == "cold" and sample["case"] in wanted:
            right = _texts(wanted[sample["case"]], vocabulary)
            own = common(_texts(sample["tokens"], vocabulary), right) / len(right)
            by_peer.setdefault(sample["peer"], []).append(own)
    return {name: fmean(shares) for name, shares in by_peer.items()}


def _texts(tokens: Iterable[int | str], vocabulary: Vocabulary) -> list[str]:
    """As texts, since our own sessions tell no ids; −1 is a token that the bundle's vocabulary does not have."""
    return [t if isinstance(t, str) else vocabulary.decode([t]) if t >= 0 else "\0" for t in tokens]
