"""What the experiments' pages have in common: their files, tables, paragraphs, and how to reproduce them."""

from __future__ import annotations

import base64
import html
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

_WIDTH = 120
_STYLE = (
    "body{max-width:64em;margin:2em auto;padding:0 1em;font:16px/1.5 system-ui,sans-serif}table{border-collapse:collapse;font-size:.85em}"
    "th,td{padding:.2em .6em;border-bottom:1px solid #ccc;text-align:right;white-space:nowrap}img{max-width:100%}pre{overflow-x:auto}"
)


def write(
    out: Path,
    found: dict[str, Any],
    page: Callable[[dict[str, Any]], str],
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Write NAME.json, .md, .svg and .html into a folder that is there; the data first, as they took longest."""
    name, text = found["experiment"], page(found)
    (out / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (out / f"{name}.md").write_text(text, "utf-8")
    draw(found, out / f"{name}.svg")
    plot = (out / f"{name}.svg").read_bytes()
    (out / f"{name}.html").write_text(self_contained(text, {f"{name}.svg": plot}), "utf-8")


def self_contained(markdown: str, plots: Mapping[str, bytes]) -> str:
    """One HTML page of a Markdown one, with its plots (SVG, by file name) inside."""
    title = html.escape(markdown.partition("\n")[0].lstrip("# "))
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    for name, plot in plots.items():
        data = f"data:image/svg+xml;base64,{base64.b64encode(plot).decode()}"
        body = re.sub(rf'src="{re.escape(name)}"', f'src="{data}"', body)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}</body></html>\n"
    )


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
        f"{m['compute']}, torch {m['torch']} on {m['threads']} thread{'s' * (m['threads'] != 1)}, Python {m['python']}, Green Code {m['green_code']}."
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


def settling(found: dict[str, Any]) -> str:
    """A sentence on what becomes of prompts where exits decide; none where they rise whole."""
    prefill_exit = found["prefill_exit"]
    if prefill_exit is None:
        return ""
    return f"In `fast`, prompts settle at layer {prefill_exit}: what goes deeper sees keys and values that are made of the states there. "


def layers_named(layers: Sequence[int]) -> str:
    """`layer 5`, or `layers 7, 13 and 15`."""
    *first, last = map(str, layers)
    return f"layers {', '.join(first)} and {last}" if first else f"layer {last}"
