"""The plot of a run: loss of each depth in training, accuracy and agreement on held-out projects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def curves(log: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw rows of log.jsonl and scores.jsonl (progress.py) into an SVG file."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "green-code"  # the same data give the same file
    from matplotlib import pyplot

    languages = sorted(scores[0]["scores"])
    figure, axes = pyplot.subplots(1, 1 + len(languages), figsize=(5 * (1 + len(languages)), 4))
    depths = sorted({int(depth) for row in log for depth in row["losses"]})
    colours = {depth: matplotlib.colormaps["viridis"](i / len(depths)) for i, depth in enumerate(depths)}
    for depth in depths:
        line = [(r["tokens"] / 1e6, r["losses"][str(depth)]) for r in log if str(depth) in r["losses"]]
        axes[0].plot(*zip(*line, strict=True), color=colours[depth], label=f"layer {depth}")
    axes[0].set(xlabel="tokens, millions", ylabel="cross-entropy, nats", title="training")
    axes[0].legend(fontsize=7)
    for axis, language in zip(axes[1:], languages, strict=True):
        for depth in depths:
            for name, style in (("agreement", "-"), ("accuracy", ":")):
                line = [(r["tokens"] / 1e6, r["scores"][language][name][str(depth)]) for r in scores]
                if depth != depths[-1] or name == "accuracy":
                    axis.plot(*zip(*line, strict=True), style, color=colours[depth], marker=".")
        axis.set(
            xlabel="tokens, millions",
            title=f"{language}, held out: agreement (lines), accuracy (dots)",
            ylim=(0, 1),
        )
        axis.title.set_fontsize(9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
