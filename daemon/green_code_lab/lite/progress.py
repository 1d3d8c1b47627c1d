"""What a run leaves to look at while it goes: log.jsonl (losses), scores.jsonl (held-out projects), progress.svg.

Must not know: how training works.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from green_code.problems import Problem
from green_code_lab.lite.scores import Scores

LOG, SCORES, PLOT = "log.jsonl", "scores.jsonl", "progress.svg"


def add_row(run: Path, name: str, row: dict[str, Any]) -> None:
    """Raises Problem when the disk is full."""
    path = run / name
    try:
        with path.open("a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a run was cut in the middle of a row
                    file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"{path} cannot be written ({error}); make room and give the same command again: it goes on from the last checkpoint.",
        ) from error


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a log by their tokens: what a cut run wrote after its checkpoint, it writes again."""
    path = run / name
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):  # a row that was cut
            row = json.loads(line)
            found[row["tokens"]] = row
    return [found[tokens] for tokens in sorted(found)]


def scores_row(tokens: int, joules: float, scores: Scores) -> dict[str, Any]:
    rounded = {
        language: {name: {str(d): round(v, 4) for d, v in by.items()} for name, by in parts.items()}
        for language, parts in scores.items()
    }
    return {"tokens": tokens, "joules": round(joules), "scores": rounded}


def draw(run: Path) -> None:
    """Training losses and held-out agreement over tokens, as they are now."""
    from green_code_lab.lite.plots import curves

    log, scores = rows(run, LOG), rows(run, SCORES)
    if log and scores:
        try:
            curves(log, scores, run / PLOT)
        except OSError as problem:
            logging.getLogger(__name__).warning("%s was not drawn: %s", run / PLOT, problem)
