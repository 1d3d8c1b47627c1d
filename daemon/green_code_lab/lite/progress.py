"""The log of a run, as JSON lines: log.jsonl (training losses) and scores.jsonl (scores on held-out projects)."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from green_code.problems import Problem

LOG, SCORES = "log.jsonl", "scores.jsonl"


def add_row(run: Path, name: str, row: dict[str, Any]) -> None:
    """Append a row. A row cut off by a kill is closed first; a resumed run then writes it again.

    Raises Problem where the disk is full.
    """
    path = run / name
    try:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"{path} cannot be written ({error}); free some space and run the same command again: it resumes from the last checkpoint.",
        ) from error


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """Rows in the order of their tokens; of rows that a resumed run wrote twice, the later ones."""
    found: dict[int, dict[str, Any]] = {}
    for line in (run / name).read_text("utf-8").splitlines():
        with contextlib.suppress(ValueError):  # a row cut off by a kill
            row = json.loads(line)
            found[row["tokens"]] = row
    return [found[tokens] for tokens in sorted(found)]
