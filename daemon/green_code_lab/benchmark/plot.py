"""performance.svg: time per token and of a completion by engine, one thread; the same file for the same data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from green_code.problems import Problem
from green_code_lab.benchmark.rounds import COMPLETION_TOKENS

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:
    raise Problem(
        "bad_request", "the plot needs the package matplotlib; run: pip install 'green-code[train]'"
    ) from error

_STYLE: Any = {
    "svg.hashsalt": "green-code",
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
}
_OURS, _OTHERS = "#2b8a3e", "#777777"
_PANELS = (
    ("token_seconds", "ms per token"),
    ("cold_seconds", f"{COMPLETION_TOKENS} tokens, cold, ms"),
    ("keystroke_seconds", f"{COMPLETION_TOKENS} tokens, after a keystroke, ms"),
)


def draw(found: Mapping[str, Any], path: Path) -> None:
    """A panel for each figure, a bar for each engine with its 95 % interval."""
    threads = found["plan"]["threads"][0]
    measured = {row["peer"]: row for row in found["summary"] if row["threads"] == threads}
    peers = [peer for peer in found["peers"] if peer["name"] in measured]
    rows = range(len(peers))
    colours = [_OURS if peer["name"].startswith("green-code") else _OTHERS for peer in peers]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 1.2 + 0.32 * len(peers)), layout="constrained")
        for panel, (name, title) in zip(figure.subplots(1, 3, sharey=True), _PANELS, strict=True):
            own = [measured[peer["name"]][name] for peer in peers]
            medians = [f["median"] * 1e3 for f in own]
            away = [[max(0.0, m - f["low"] * 1e3) for m, f in zip(medians, own, strict=True)], [max(0.0, f["high"] * 1e3 - m) for m, f in zip(medians, own, strict=True)]]  # fmt: skip
            panel.barh(rows, medians, 0.6, xerr=away, color=colours, capsize=2, error_kw={"linewidth": 1})
            panel.set_yticks(rows, [peer["label"] for peer in peers])
            panel.set_xlabel(title)
            panel.grid(axis="x", alpha=0.3)
        if peers:
            figure.axes[0].invert_yaxis()
        figure.suptitle(
            f"{found['model']}, {threads} thread{'s' * (threads != 1)}; less is better", fontsize=9
        )
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
