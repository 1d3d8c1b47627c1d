"""The experiments' plots: curves and bars of the records' figures, as small SVG files that are equal for equal data."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from green_code.languages import TABLE

_STYLE: Any = {
    "svg.hashsalt": "green-code", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0, "axes.grid": True,
    "grid.alpha": 0.3,
}  # fmt: skip
_COLOURS = ("#777777", "#2b8a3e", "#1864ab", "#e8590c", "#862e9c", "#c2255c", "#000000")
_COLUMNS = 4
_NAMES = {"c": "C", "cpp": "C++", "csharp": "C#", "javascript": "JavaScript", "php": "PHP", "typescript": "TypeScript"}
_MARKERS = "osDv^PXh"
_NO_METADATA: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True)
class Plot:
    """A panel for each value of `each`. Records without a figure are left out."""

    caption: str
    records: str
    each: str | None


@dataclass(frozen=True)
class Curves(Plot):
    """`y` over `x` with its intervals, a line for each value of `family`."""

    x: str
    y: str
    xlabel: str
    ylabel: str
    family: str | None = None
    lines: bool = True

    def draw_panel(self, axis: Any, records: Sequence[dict[str, Any]]) -> None:
        families: dict[str, list[tuple[float, Any]]] = {}
        for record in records:
            if record.get(self.x) is not None and record.get(self.y) is not None:
                name = str(record[self.family]) if self.family else ""
                families.setdefault(name, []).append((_triple(record[self.x])[0], record[self.y]))
        styles = zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False)
        for (name, points), (colour, marker) in zip(families.items(), styles, strict=False):
            points.sort(key=lambda point: point[0])
            values, distances = _with_distances([y for _, y in points])
            axis.errorbar(
                [x for x, _ in points], values, distances, label=name, color=colour, marker=marker, markersize=4,
                linewidth=1, elinewidth=0.6, linestyle="-" if self.lines else "none",
            )  # fmt: skip
        axis.set_xlabel(self.xlabel)
        axis.set_ylabel(self.ylabel)


@dataclass(frozen=True)
class Bars(Plot):
    """Bars of several series of figures (key, name) with their intervals, the records' labels beside them."""

    label: str
    series: tuple[tuple[str, str], ...]
    xlabel: str

    def draw_panel(self, axis: Any, records: Sequence[dict[str, Any]]) -> None:
        width = 0.8 / len(self.series)
        for i, (key, name) in enumerate(self.series):
            own = [(at, record[key]) for at, record in enumerate(records) if record.get(key) is not None]
            values, distances = _with_distances([figure for _, figure in own])
            places = [at + (i - (len(self.series) - 1) / 2) * width for at, _ in own]
            axis.barh(
                places, values, width * 0.9, xerr=distances, color=_COLOURS[1 - i % 2], label=name, error_kw={"elinewidth": 0.8}
            )  # fmt: skip
        axis.set_yticks(range(len(records)), [str(record[self.label]) for record in records], fontsize=7)
        if not axis.yaxis_inverted():  # panels share the axis
            axis.invert_yaxis()
        axis.set_xlabel(self.xlabel)


def draw(plot: Curves | Bars, found: dict[str, Any], path: Path) -> None:
    """Write the SVG file."""
    panels: dict[str, list[dict[str, Any]]] = {}
    for record in found[plot.records]:
        panels.setdefault(record[plot.each] if plot.each else "", []).append(record)
    bars = max(map(len, panels.values())) if isinstance(plot, Bars) else 0
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = max(6.4, 4.2 * columns), rows * (1.2 + 0.3 * bars if bars else 3.4)
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "x" if bars else "both"}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for axis, (name, records) in zip(axes[: len(panels)], panels.items(), strict=True):
            axis.set_title(language_name(name))
            plot.draw_panel(axis, records)
            axis.label_outer()
        handles, labels = axes[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
        figure.savefig(path, format="svg", metadata=_NO_METADATA)
    path.write_text(_small(path.read_text("utf-8")), "utf-8")


def _triple(figure: Any) -> tuple[float, float, float]:
    value, low, high = figure if isinstance(figure, list | tuple) else (figure,) * 3
    return value, low, high


def _with_distances(figures: Sequence[Any]) -> tuple[list[float], list[list[float]]]:
    """Values, and how far their intervals reach down and up from them, as matplotlib wants it."""
    triples = list(map(_triple, figures))
    below = [max(0.0, value - low) for value, low, _ in triples]
    return [value for value, _, _ in triples], [below, [max(0.0, high - value) for value, _, high in triples]]


def _small(svg: str) -> str:
    """Coordinates to two places, and no line breaks within paths: a third of the size."""
    svg = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{round(float(number[0]), 2):g}", svg)
    return re.sub(r'(?<= d=")[^"]*', lambda path: " ".join(path[0].split()), svg)


def language_name(name: str) -> str:
    """A language's name for people, of VS Code's identifier; other names as they are."""
    known = any(name in language.ids for language in TABLE)
    return _NAMES.get(name, name.capitalize() if known else name)
