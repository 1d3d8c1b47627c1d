"""What a threshold gives on held-out projects: depth, saving and loss of quality, by language.

A few lines of each held-out file are completed cold through the sessions that serve editors, at each threshold and at full
depth; the experiment `sessions` has the saving of typing with a warm cache. A preset is the threshold that saves most among
those whose edit similarity is, with 95 % confidence, at most 1, 2 or 5 % below full depth's (relative, both languages
together; `risk.py`), or else threshold 1, where only drafts save. A file's mean is tested, as its lines are not independent. A threshold
that loses beyond chance on lines unlike the corpus (`evaluation/watch.py`) is no preset.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.link.messages import Decoding
from green_code_lab.agent.risk import LEVEL, certified, p_value
from green_code_lab.corpus import Corpus
from green_code_lab.evaluation.datasets import Row, line_rows
from green_code_lab.evaluation.held_out import held_out_documents
from green_code_lab.evaluation.parallel import Complete
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.evaluation.watch import Change, record, unlike_rows

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FULL_DEPTH = 1.0  # no probability is greater
LINES = 6  # of a file, by default
PRESETS = {"quality": 0.01, "balanced": 0.02, "saver": 0.05}
"""Allowed relative loss of edit similarity."""
Results = Sequence[dict[str, Any]]


def calibrate(
    runtime: Runtime,
    corpus: Corpus,
    files_per_language: int,
    lines: int,
    seed: int,
    complete: Complete,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """The content of calibration.json."""
    documents = list(held_out_documents(corpus, runtime.vocabulary))
    drawn = [line_rows(iter(documents), files_per_language, seed + line) for line in range(lines)]
    # Each line's rows are in the files' order.
    rows = [replace(row, id=f"{row.id}-{line}") for line, of_line in enumerate(drawn) for row in of_line]
    unlike = _some(unlike_rows(), len(rows), seed)

    def completed(decoding: Decoding, threshold: float) -> tuple[Results, Results]:
        params = completion_params("", model=runtime.model, decoding=decoding, threshold=threshold)
        done = evaluate(runtime, [*rows, *unlike], params, report, complete=complete)
        return done[: len(rows)], done[len(rows) :]

    full, full_unlike = completed("full", FULL_DEPTH)
    curve = []
    for threshold in (*THRESHOLDS, FULL_DEPTH):
        done, done_unlike = completed("fast", threshold)
        point: dict[str, Any] = {"threshold": threshold, **_point(done, full), "languages": {}}
        if threshold < FULL_DEPTH:
            scores = file_means(full, done, len(drawn[0]), seed)
            point["p_values"] = {name: p_value(*scores, loss) for name, loss in PRESETS.items()}
        change = Change.between(*([row["edit_similarity"] for row in each] for each in (full_unlike, done_unlike)))
        point["unlike"] = {**record({"unlike": change})["unlike"], "loses": change.loses}
        for language in dict.fromkeys(row.language for row in rows):
            which = [i for i, row in enumerate(rows) if row.language == language]
            point["languages"][language] = _point([done[i] for i in which], [full[i] for i in which])
        curve.append(point)
        report(
            f"T={threshold}: depth {point['mean_depth']:.1f}, saving {point['saving']:.1%}, edit similarity {point['edit_similarity']:.1f}; unlike the corpus {change.after:.1f} (full depth {change.before:.1f}, difference {change.interval[0]:+.1f} to {change.interval[1]:+.1f})"
        )
    reference = {"full": _point(full, full), "rows": len(rows), "files": len(drawn[0]), "seed": seed}
    reference["energy_source"] = runtime.energy_source
    return {"schema": 1, "reference": reference, "curve": curve, "presets": choose_presets(curve)}


def _some(rows: Sequence[Row], most: int, seed: int) -> Sequence[Row]:
    """As many at most: a short calibration stays short."""
    return rows if len(rows) <= most else random.Random(seed).sample(rows, most)


def file_means(full: Results, done: Results, files: int, seed: int) -> tuple[list[float], list[float]]:
    """Mean edit similarities of both by file, languages mixed."""
    pairs = [
        tuple(statistics.fmean(row["edit_similarity"] for row in rows[file::files]) for rows in (full, done))
        for file in range(files)
    ]
    random.Random(seed).shuffle(pairs)
    return [a for a, _ in pairs], [b for _, b in pairs]


def _point(done: Results, full: Results) -> dict[str, float]:
    """Means over rows. Savings are against the same rows at full depth, whose texts may be shorter."""
    means = summarise(done)["all"]
    joules, joules_full = (statistics.fmean(row["energy_joules"] for row in rows) for rows in (done, full))
    agreement = statistics.fmean(float(a["text"] == b["text"]) for a, b in zip(done, full, strict=True))
    return {
        "agreement": agreement,
        "joules": joules,  # of a completion
        "joules_full": joules_full,
        "saving": 1 - joules / joules_full,
        **{k: means[k] for k in ("mean_depth", "exact_match", "edit_similarity")},
    }


def choose_presets(curve: Results) -> dict[str, dict[str, float]]:
    """The certified point that saves most for each preset, of those that lose nothing on lines unlike the corpus. `curve`: by ascending threshold; full depth's, the last, always is."""
    presets = {}
    *lossy, full = curve
    safest_first = list(reversed(lossy))
    for name, loss in PRESETS.items():
        within = safest_first[: certified([point["p_values"][name] for point in safest_first])]
        within = [point for point in within if not point["unlike"]["loses"]]
        point = max([full, *within], key=lambda p: float(p["saving"]))
        presets[name] = {
            **{key: point[key] for key in ("threshold", "saving", "edit_similarity")},
            "saved_joules": point["joules_full"] - point["joules"],
            "allowed_loss": loss,
            "confidence": 1 - LEVEL,
        }
    return presets
