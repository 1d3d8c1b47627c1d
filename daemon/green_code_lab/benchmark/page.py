"""performance.json, .md and .svg.

The page is page.md. There, a line `NAME: TEXT` stands for each row of the data's list NAME, with the row's fields in place
of `{FIELD:FORMAT}`. Values are in the units of the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from green_code_lab.benchmark.rounds import TIMES

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DIGITS = 6  # that are significant, in the data
_STYLE: Any = {"svg.hashsalt": "green-code", "svg.fonttype": "none", "font.family": "DejaVu Sans"}


def write(found: Mapping[str, Any], out: Path) -> None:
    """Write the three files. `notes` are written by hand in the data; a run keeps them."""
    data = out / "performance.json"
    notes = json.loads(data.read_text("utf-8"))["notes"] if data.is_file() else []
    found = _rounded({**found, "notes": notes})
    parts = [f'"{name}":{_JSON.encode(part)}' for name, part in found.items()]
    data.write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")
    (out / "performance.md").write_text(page(found), "utf-8")
    draw(found, out / "performance.svg")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def page(found: Mapping[str, Any]) -> str:
    """The Markdown page."""
    provenance = [{"what": what, "value": value} for what, value in found["provenance"].items()]
    rows = {**found, "provenance": provenance, "notes": [{"note": note} for note in found["notes"]]}

    def lines(line: re.Match[str]) -> str:
        found = (re.sub(r"{(\w+):?(.*?)}", partial(_cell, row), line[2]) for row in rows.get(line[1], []))
        return "".join(found)

    text = resources.files(__package__).joinpath("page.md").read_text("utf-8")
    page = re.sub(r"^(\w+): (.*\n)", lines, text, flags=re.MULTILINE)
    return page.replace("{joules}", found["joules"])


def _cell(row: Mapping[str, Any], field: re.Match[str]) -> str:
    value, style = row.get(field[1]), field[2]
    if value is None:
        return "–"  # not measured
    return _FORMATS[style](value) if style in _FORMATS else f"{value:{style}}".replace("|", "/")


def _ms(estimate: list[float]) -> str:
    places = 0 if estimate[0] >= 100 else 1 if estimate[0] >= 10 else 2
    return "{:.{p}f} [{:.{p}f}, {:.{p}f}]".format(*estimate, p=places)


_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "ms": _ms,
    "ratio": lambda estimate: "{:.2f} [{:.2f}, {:.2f}]".format(*estimate),
    "per_s": lambda ms: f"{1e3 / (ms[0] if isinstance(ms, list) else ms):.0f}",
    "percent": lambda share: f"{share * 100:.1f} %",
}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """A bar with its interval per engine, on one thread; the same file for the same data."""
    import matplotlib
    from matplotlib.figure import Figure

    engines = [row for row in found["one_thread"] if TIMES[0] in row]
    colours = ["#2b8a3e" if row["label"].startswith("Green Code") else "#777777" for row in engines]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 1.2 + 0.32 * len(engines)), layout="constrained")
        for panel, name in zip(figure.subplots(1, len(TIMES), sharey=True), TIMES, strict=True):
            medians, lows, highs = np.transpose([row[name] for row in engines])
            away = [medians - lows, highs - medians]
            panel.barh(range(len(engines)), medians, 0.6, xerr=away, color=colours, capsize=2)
            panel.set_yticks(range(len(engines)), [row["label"] for row in engines])
            panel.set_xlabel(name.replace("_ms", ", ms"))
            panel.grid(axis="x", alpha=0.3)
        figure.axes[0].invert_yaxis()
        figure.suptitle(f"{found['provenance']['model']}, one thread; less is better", fontsize=9)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
