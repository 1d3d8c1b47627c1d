"""The page of the experiment `prefill exits`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.experiments.pages import (
    counted,
    decimal,
    language_name,
    machine,
    paragraph,
    percent,
    reproduce,
    table,
)
from green_code_lab.experiments.prefill_exits import RISES
from green_code_lab.experiments.quality import FULL


def page(found: dict[str, Any]) -> str:
    """Markdown of prefill exits.json's content."""
    parts = [
        "# Where a prompt settles, and what that saves and loses",
        paragraph(
            "Asked: how many joules a cold completion in `fast` costs, and how good its text is, where the prompt's positions settle at some layer, and where they rise with the first token that does."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['rows_from']}; {counted(found['rows'])}, drawn with seed {found['seed']}. Each row's line is completed by a session of its own that knows nothing yet: "
            f"at most {found['max_tokens']} tokens, after at most {found['max_prompt_tokens']} of prompt. The agent decides at exit {', '.join(map(str, found['exits']))} of {found['layers']} layers. "
            f"All but the last {found['rising'] + 1} positions of a prompt settle: layers above the prefill exit are not run over them, and look at keys and values that are made of their states there. "
            f"The bundle's prefill exit is {found['prefill_exit'] or RISES}. {_learned(found)}Joules are what was run times the fitted costs "
            f"(source: {found['energy_source']}), not a meter's reading of these runs. {machine(found)}"
        ),
        "![Edit similarity over joules a completion](prefill exits.svg)",
        *(_language(found, language) for language in found["rows"]),
        reproduce(found, "The full form takes all rows: give a `--limit` that is greater than they are many."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _learned(found: dict[str, Any]) -> str:
    if not any(arm["family"].endswith("learned") for arm in found["arms"]):
        return ""
    return "*Learned*: with the bundle's entries; on the other prefill exits, layers' own projections make keys and values. "


def _language(found: dict[str, Any], language: str) -> str:
    own = [arm for arm in found["arms"] if arm["language"] == language]
    return "\n\n".join([
        f"## {language_name(language)}",
        paragraph(
            "*From full depth*: edit similarity less that of the same rows there, with the 95 % bootstrap interval over rows; "
            "*same*: share of texts that equal full depth's; *saved*: of the joules of the same rows at full depth."
        ),
        table(
            ["prefill_exit", "threshold", "edit similarity", "from full depth", "exact match", "depth", "same", "J", "saved"],
            [_row(arm) for arm in own],
        ),
    ])  # fmt: skip


def _row(arm: dict[str, Any]) -> list[str]:
    low, high = arm["from_full_interval"]
    difference = f"{decimal(arm['from_full'], True)} [{decimal(low, True)}, {decimal(high, True)}]"
    return [
        arm["family"],
        arm["setting"].removeprefix("T=") or "–",
        decimal(arm["edit_similarity"]),
        "–" if arm["family"] == FULL else difference,
        decimal(arm["exact_match"] * 100),
        decimal(arm["mean_depth"]),
        percent(arm["same_as_full"]),
        f"{arm['joules']:.2f}",
        percent(arm["saving"]),
    ]
