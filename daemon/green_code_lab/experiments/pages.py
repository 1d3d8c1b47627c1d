"""What pages of measurements have in common: their files, tables and paragraphs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_WIDTH = 118


def write(
    out: Path,
    found: dict[str, Any],
    page: Callable[[dict[str, Any]], str],
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Write NAME.json, .md and .svg into a folder that is there; the data first, as they took longest."""
    name = found["experiment"]
    data = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    (out / f"{name}.json").write_text(data + "\n", "utf-8")
    (out / f"{name}.md").write_text(page(found), "utf-8")
    draw(found, out / f"{name}.svg")


def paragraph(text: str) -> str:
    """In lines of the documents' width; a number stays beside its per cent."""
    whole = " ".join(text.split()).replace(" %", "\0%")
    lines = textwrap.wrap(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def bullet(text: str) -> str:
    return "- " + paragraph(text).replace("\n", "\n  ")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """A Markdown table; the first `left` columns are aligned to the left, the others to the right."""
    rules = [":--" if i < left else "--:" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rules, *rows))


def decimal(value: float, sign: bool = False, digits: int = 1) -> str:
    """A number in decimals; with a sign on both sides of 0 where that is asked for. Never −0.0."""
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def percent(share: float, sign: bool = False) -> str:
    """0.1234 as `12.3 %`."""
    return f"{decimal(share * 100, sign)} %"


def language_name(language: str) -> str:
    return {"python": "Python", "java": "Java"}.get(language, language)
