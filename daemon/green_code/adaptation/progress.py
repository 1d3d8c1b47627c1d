"""What a run leaves to look at while it goes: log.jsonl (losses), scores.jsonl (held-out projects), progress.svg.

Must not know: how training works.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from green_code.adaptation.scores import Scores

LOG, SCORES, PLOT = "log.jsonl", "scores.jsonl", "progress.svg"


def add_row(run: Path, name: str, row: dict[str, Any]) -> None:
    with (run / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a log by their tokens: what a cut run wrote after its checkpoint, it writes again."""
    path = run / name
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = {row["tokens"]: row for row in map(json.loads, filter(_whole, lines))}
    return [found[tokens] for tokens in sorted(found)]


def _whole(line: str) -> bool:
    return line.endswith("}")


def scores_row(tokens: int, joules: float, scores: Scores) -> dict[str, Any]:
    rounded = {
        language: {name: {str(d): round(v, 4) for d, v in by.items()} for name, by in parts.items()}
        for language, parts in scores.items()
    }
    return {"tokens": tokens, "joules": round(joules), "scores": rounded}


def draw(run: Path) -> None:
    """Training losses and held-out agreement over tokens, as they are now."""
    from green_code.adaptation.plots import curves

    log, scores = rows(run, LOG), rows(run, SCORES)
    if log and scores:
        curves(log, scores, run / PLOT)
