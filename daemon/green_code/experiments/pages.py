"""What the experiments' pages have in common: their files, tables, paragraphs, and how to reproduce them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_WIDTH = 120


def write(
    out: Path,
    found: dict[str, Any],
    page: Callable[[dict[str, Any]], str],
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Write NAME.json, .md and .svg into a folder that is there; the data first, as they took longest."""
    name = found["experiment"]
    (out / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / f"{name}.md").write_text(page(found), "utf-8")
    draw(found, out / f"{name}.svg")


def paragraph(text: str) -> str:
    """In lines of the documents' width; a number stays beside its per cent."""
    whole = " ".join(text.split()).replace(" %", "\0%")
    lines = textwrap.wrap(whole, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def bullet(text: str) -> str:
    return "- " + paragraph(text).replace("\n", "\n  ")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all columns to the right."""
    lines = [heads, ["--:"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(found: dict[str, Any]) -> str:
    """One sentence on where and when."""
    m = found["machine"]
    device = f"{m['gpu']} in a machine with {m['processor']}" if m["gpu"] else m["processor"]
    return (
        f"Measured on {found['date']} on {device}, {m['system']}, {m['cores']} core{'s' * (m['cores'] != 1)} usable, "
        f"{m['threads']} compute thread{'s' * (m['threads'] != 1)}, {m['compute']}, torch {m['torch']}, Python {m['python']}, Green Code {m['green_code']}."
    )


def reproduce(found: dict[str, Any], more: str) -> str:
    """The last section: the command, and what else there is to say about it."""
    name = found["experiment"]
    return "\n\n".join([
        "## To reproduce",
        f"```\n{found['command']}\n```",
        paragraph(
            f"{more} This page, its [data]({name}.json) and its [plot]({name}.svg) are written by that command; nothing here is written by hand. "
            f"`make experiments` runs a cheap form of all experiments and puts it elsewhere."
        ),
    ])  # fmt: skip


def decimal(value: float, sign: bool = False) -> str:
    """With one place; with a sign on both sides of 0 where that is asked for. Never −0.0."""
    return f"{round(value, 1) + 0.0:{'+' if sign else ''}.1f}".replace("-", "−")


def percent(share: float, sign: bool = False) -> str:
    """0.1234 as `12.3 %`."""
    return f"{decimal(share * 100, sign)} %"


def language_name(language: str) -> str:
    return {"python": "Python", "java": "Java"}.get(language, language)


def counted(counts: Mapping[str, int]) -> str:
    """By language: `50 of Python and 50 of Java`."""
    return " and ".join(f"{count} of {language_name(name)}" for name, count in counts.items())


def layers_named(layers: Sequence[int]) -> str:
    """`layer 5`, or `layers 7, 13 and 15`."""
    *first, last = map(str, layers)
    return f"layers {', '.join(first)} and {last}" if first else f"layer {last}"
