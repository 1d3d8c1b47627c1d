"""docs/experiments/gpu.md from what the four parts found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
import triton

_TITLES = {
    "correctness": "Correctness: greatest difference from torch in float32, over the greatest state",
    "speed": "Speed",
    "energy": "Energy by NVML",
    "training": "Training of a random model in the shape of Llama-3.2-3B",
}


def write_page(folder: Path, page: Path) -> None:
    """
    Raises:
        OSError: a part has not run.
    """
    found = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in _TITLES}
    (card,) = {part["card"] for part in found.values()}
    lines = [
        f"# On {card}",
        "",
        f"Written by `make check-gpu` on {date.today().isoformat()}, torch {torch.__version__}, Triton {triton.__version__}. "
        "Weights are random where a model is named by its shape.",
    ]
    for name, title in _TITLES.items():
        lines += ["", f"## {title}", "", *_table(found[name]["rows"])]
    page.write_text("\n".join(lines) + "\n", "utf-8")


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_text(row.get(name, '')) for name in columns)} |"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
