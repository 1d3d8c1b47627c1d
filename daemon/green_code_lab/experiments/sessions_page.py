"""The page of the experiment `sessions`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.experiments.pages import (
    bullet,
    counted,
    decimal,
    machine,
    paragraph,
    percent,
    reproduce,
    settling,
    table,
)
from green_code_lab.experiments.sessions import FULL


def page(found: dict[str, Any]) -> str:
    """Markdown of sessions.json's content."""
    parts = [
        "# What typing costs in each mode",
        paragraph(
            "Asked: how many joules and CPU-seconds completions take while a file is typed, with a cache that stays warm, and how much of the typing they save."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['files_from']}; {counted(found['files'])}, drawn with seed {found['seed']}. In each, {found['lines']} lines are typed again where they stand, "
            "with the file before and after them. A line is asked for at its start (the editor has indented it) and after every "
            f"{found['characters']} characters; a suggestion that is the rest of the line is accepted, and what is typed along one needs no engine. Each mode gets the same files, in turns. "
            "Held-out projects are such that the model was not trained on; priors of drafts and the agent's thresholds were chosen there, though. "
            f"{settling(found)}Joules are what was run times the fitted costs (source: {found['energy_source']}); CPU time is the process' own. {machine(found)}"
        ),
        "![Cost of full depth over that of each mode](sessions.svg)\n\n## Results",
        "\n".join(bullet(_says(arm)) for arm in found["arms"] if arm["name"] != FULL),
        paragraph(
            "*Requests*: those to the engine. *Typed along*: those that were answered without it. *Joules* and *CPU time*: what typing the same lines costs at full depth over what it costs in this mode; in brackets the 95 % bootstrap interval over files. "
            "*Accepted*: share of the characters that suggestions have typed. *Same*: files in which every suggestion is full depth's. "
            f"*Prompt*: layers, of {found['layers']}, that a new position of a prompt was brought through in the end."
        ),
        table(
            ["mode", "requests", "typed along", "tokens", "mJ a request", "CPU-ms", "ms", "joules", "CPU time", "accepted", "same", "prompt"],
            [_row(arm) for arm in found["arms"]],
        ),
        reproduce(found, "On a quiet machine, as CPU time is measured."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _says(arm: dict[str, Any]) -> str:
    ratio = arm["ratio"]
    verdict = (
        "fewer joules than full depth" if ratio["low"] > 1 else "more joules than full depth" if ratio["high"] < 1 else "not told apart from full depth"
    )  # fmt: skip
    return f"{arm['name']}: {verdict}, {_times(ratio)}; {percent(arm['accepted']['value'])} of the characters accepted."


def _row(arm: dict[str, Any]) -> list[str]:
    accepted = arm["accepted"]
    return [
        arm["name"],
        str(arm["requests"]),
        str(arm["typed_along"]),
        str(arm["tokens"]),
        f"{arm['joules_per_request'] * 1e3:.0f}",
        f"{arm['cpu_seconds_per_request'] * 1e3:.1f}",
        f"{arm['wall_seconds_per_request'] * 1e3:.1f}",
        _times(arm["ratio"]),
        _times(arm["cpu_ratio"]),
        f"{percent(accepted['value'])} [{decimal(accepted['low'] * 100)}, {decimal(accepted['high'] * 100)}]",
        percent(arm["same_texts"]),
        decimal(arm["prompt_depth"]),
    ]


def _times(ratio: dict[str, float]) -> str:
    return f"{ratio['value']:.2f}x [{ratio['low']:.2f}, {ratio['high']:.2f}]"
