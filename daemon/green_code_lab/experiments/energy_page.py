"""The page of the experiment `energy`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code.energy.meters import SHORT_WINDOW_SECONDS
from green_code_lab.experiments.pages import bullet, decimal, machine, paragraph, percent, reproduce, table


def page(found: dict[str, Any]) -> str:
    """Markdown of energy.json's content."""
    layers, repetitions = found["layers"], found["repetitions"]
    parts = [
        "# Energy against layers skipped",
        paragraph(
            f"Asked: is the energy of a token of {found['model']} linear in the layers that it runs, and what does it cost whatever the exit?"
        ),
        "## How it was measured",
        paragraph(
            f"At each fixed exit, from layer 1 to layer {layers}, the same {found['round_tokens']} tokens after the same {found['context_tokens']} tokens of prompt are decoded over and over for "
            f"{found['window_seconds']:g} s, {repetitions} times; the exits take turns in a shuffled order and then in its reverse (seed {found['seed']}), after a window at full depth that does not count. "
            "The prompt is computed outside the windows, so a token is one position through the layers, one head and one choice. "
            f"{machine(found)}"
        ),
        paragraph(_source(found)),
        "## Result",
        "\n".join(bullet(sentence) for sentence in _result(found)),
        "![Energy per token by layer](energy.svg)",
        paragraph(
            f"Means over {repetitions} windows; brackets are 95 % bootstrap intervals over them. *Of full depth*: share of layer {layers}'s mean. *CPU-ms* and *ms*: processor and wall time per token."
        ),
        _table(found),
        reproduce(
            found,
            "The full form is the command without `--window-seconds`, on a machine that does nothing else.",
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _source(found: dict[str, Any]) -> str:
    if found["source"] == "estimate":
        return f"Joules are **not measured** here but an {found['meter']}. The line below is thus one of CPU-seconds."
    said = f"Joules are **measured**: {found['meter']}."
    if found["window_seconds"] < SHORT_WINDOW_SECONDS:
        said += f" The windows are shorter than {SHORT_WINDOW_SECONDS:g} s, so the counter's steps are a part of the figures."
    return said


def _result(found: dict[str, Any]) -> list[str]:
    line, last = found["line"], found["points"][-1]
    straight = line["bend_interval"][0] <= 0 <= line["bend_interval"][1]
    return [
        f"A layer skipped saves {_millijoules(line, 'slope')} of a token, {percent(line['slope'] / last['line_joules'])} of full depth "
        "(slope of the least-squares line).",
        f"What does not depend on the exit is {_millijoules(line, 'intercept')} (intercept): {_percent(line, 'fixed_share')} of a token at full depth, "
        "which no exit saves.",
        f"The line accounts for R² = {line['r_squared']:.4f} of the variance between windows. "
        f"The layer whose mean is farthest from it is {line['largest_residual_layer']}, by {percent(line['largest_residual'], sign=True)}.",
        f"A parabola in its place would rise above its own chord by {_percent(line, 'bend', sign=True)} of a token at full depth, in the middle: "
        + (
            "no bend is told apart from a straight line."
            if straight
            else "the interval excludes a straight line."
        ),
    ]


def _millijoules(line: dict[str, Any], name: str) -> str:
    low, high = line[f"{name}_interval"]
    return f"{line[name] * 1e3:.2f} mJ [{low * 1e3:.2f}, {high * 1e3:.2f}]"


def _percent(line: dict[str, Any], name: str, sign: bool = False) -> str:
    low, high = line[f"{name}_interval"]
    return f"{percent(line[name], sign)} [{decimal(low * 100, sign)}, {decimal(high * 100, sign)}]"


def _table(found: dict[str, Any]) -> str:
    full = found["points"][-1]["joules"]
    heads = [
        "exit after layer",
        "layers skipped",
        f"mJ per token ({found['source']})",
        "on the line",
        "of full depth",
        "CPU-ms",
        "ms",
    ]
    rows = [
        [
            str(p["layer"]),
            str(found["layers"] - p["layer"]),
            f"{p['joules'] * 1e3:.2f} [{p['joules_interval'][0] * 1e3:.2f}, {p['joules_interval'][1] * 1e3:.2f}]",
            f"{p['line_joules'] * 1e3:.2f}",
            percent(p["joules"] / full),
            f"{p['cpu_seconds'] * 1e3:.2f}",
            f"{p['wall_seconds'] * 1e3:.2f}",
        ]
        for p in found["points"]
    ]
    return table(heads, rows)
