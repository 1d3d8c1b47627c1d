"""What a threshold gives on held-out projects: depth, saving and what it costs in quality, by language.

Lines of held-out source are completed through the same sessions that serve editors, at each threshold and at full
depth. The named stops are the thresholds that save most while edit similarity falls by no more than 1, 2 and 5 %
(relative, both languages together); they are point estimates on few rows, not guarantees.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from green_code.adaptation.corpus import Corpus
from green_code.engine.runtime import Runtime
from green_code.evaluation.datasets import line_rows
from green_code.evaluation.run import evaluate, summarise
from green_code.link.messages import CompletionParams
from green_code.models.vocabulary import Vocabulary

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98)
STOPS = {"quality": 0.01, "balanced": 0.02, "saver": 0.05}


def held_out_documents(corpus: Corpus, vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """(language, text) of the held-out shards' whole documents."""
    for language in corpus.languages:
        ids = corpus.shards[language, "heldout"]
        for start, end in itertools.pairwise([*corpus.document_starts(language, "heldout"), len(ids)]):
            yield language, vocabulary.decode(int(i) for i in ids[start + 1 : end])


def calibrate(
    runtime: Runtime, corpus: Corpus, rows_per_language: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """The content of calibration.json."""
    rows = line_rows(held_out_documents(corpus, runtime.vocabulary), rows_per_language, seed)
    full = evaluate(runtime, rows, _params("full", 1.0, runtime.model), report)
    curve = []
    for threshold in THRESHOLDS:
        done = evaluate(runtime, rows, _params("fast", threshold, runtime.model), report)
        point: dict[str, Any] = {"threshold": threshold, **_point(done, full), "languages": {}}
        for language in dict.fromkeys(row.language for row in rows):
            which = [i for i, row in enumerate(rows) if row.language == language]
            point["languages"][language] = _point([done[i] for i in which], [full[i] for i in which])
        curve.append(point)
        report(
            f"T={threshold}: depth {point['mean_depth']:.1f}, saving {point['saving']:.1%}, edit similarity {point['edit_similarity']:.1f}"
        )
    reference: dict[str, Any] = {
        "full": _point(full, full),
        "rows": len(rows),
        "seed": seed,
        "energy_source": runtime.energy_source,
    }
    return {
        "schema": 1,
        "reference": reference,
        "curve": curve,
        "stops": choose_stops(curve, reference["full"]["edit_similarity"]),
    }


def _point(done: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]]) -> dict[str, float]:
    means = summarise(done)["all"]
    agreement = statistics.fmean(float(a["text"] == b["text"]) for a, b in zip(done, full, strict=True))
    return {
        "agreement": agreement,
        "joules": means["energy_joules"] / means["rows"],  # a completion
        "joules_full": means["energy_full_joules"] / means["rows"],
        **{k: means[k] for k in ("mean_depth", "exact_match", "edit_similarity", "saving")},
    }


def choose_stops(curve: Sequence[dict[str, Any]], full_similarity: float) -> dict[str, dict[str, float]]:
    """Per stop the calibrated point that saves most within its allowed loss; the highest threshold if none is."""
    stops = {}
    for name, loss in STOPS.items():
        within = [p for p in curve if p["edit_similarity"] >= full_similarity * (1 - loss)]
        point = max(within, key=lambda p: p["saving"], default=curve[-1])
        stops[name] = {
            "threshold": point["threshold"],
            "saving": point["saving"],
            "saved_joules": point["joules_full"] - point["joules"],
            "edit_similarity": point["edit_similarity"],
            "allowed_loss": loss,
        }
    return stops


def _params(decoding: Any, threshold: float, model: str) -> CompletionParams:
    return {
        "session": "", "prefix": "", "suffix": "", "language": "", "model": model, "decoding": decoding, "policy": "agent",
        "threshold": threshold, "max_tokens": 32, "single_line": True, "max_lines": 1, "max_prompt_tokens": 512,
    }  # fmt: skip
