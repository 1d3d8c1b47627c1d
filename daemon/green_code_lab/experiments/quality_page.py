"""The page of the experiment `quality`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.experiments.pages import (
    bullet,
    counted,
    decimal,
    language_name,
    machine,
    paragraph,
    percent,
    reproduce,
    settling,
    table,
)
from green_code_lab.experiments.quality import AGENT, CONFIDENCE, EXACT, FIXED, FULL, KINDS_AT, UNTOUCHED


def page(found: dict[str, Any]) -> str:
    """Markdown of quality.json's content."""
    parts = [
        "# What each way to leave early saves, and what it loses",
        paragraph(
            "Asked: how many joules a cold completion costs where the agent, a fixed exit or the head's confidence decides when to stop, and how good its text still is."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['rows_from']}; {counted(found['rows'])}, drawn with seed {found['seed']}. Each row's line is completed by a session of its own that knows nothing yet: "
            f"at most {found['max_tokens']} tokens, after at most {found['max_prompt_tokens']} of prompt. Exits: {', '.join(map(str, found['exits']))} of {found['layers']} layers. "
            f"{settling(found)}`exact` and every policy draft from the text around, full depth does not: what exits save is what comes on top of `exact`. *Untouched* is the base model with the bundle's vocabulary. Joules are what was run times the fitted costs "
            f"(source: {found['energy_source']}), not a meter's reading of these runs. {machine(found)}"
        ),
        "![Edit similarity over joules a completion](quality.svg)",
        *(_language(found, language) for language in found["rows"]),
        *_scale(found),
        *_exits(found),
        *_kinds(found),
        reproduce(found, "The full form takes all rows: give a `--limit` that is greater than they are many."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _language(found: dict[str, Any], language: str) -> str:
    own = [arm for arm in found["arms"] if arm["language"] == language]
    return "\n\n".join([
        f"## {language_name(language)}",
        "\n".join(bullet(_says(arm)) for arm in own if arm["family"] == AGENT),
        paragraph(
            "*From full depth*, *from untouched*: edit similarity less that of the same rows there, with the 95 % bootstrap interval over rows; "
            "exact match in per cent; *same*: share of texts that equal full depth's; *saved*: of the joules of the same rows at full depth, whose texts may be shorter."
        ),
        table(
            ["", "edit similarity", "from full depth", "from untouched", "exact match", "ROUGE-L", "BLEU", "chrF", "depth", "same", "J", "saved"],
            [_row(arm) for arm in own],
        ),
    ])  # fmt: skip


def _says(arm: dict[str, Any]) -> str:
    low, high = arm["from_full_interval"]
    verdict = "loses" if high < 0 else "gains" if low > 0 else "is not told apart from full depth:"
    return f"Agent {arm['setting']} {verdict} {_with_interval(arm, 'from_full')} of edit similarity, and saves {percent(arm['saving'])}."


def _with_interval(arm: dict[str, Any], key: str) -> str:
    low, high = arm[f"{key}_interval"]
    return f"{decimal(arm[key], True)} [{decimal(low, True)}, {decimal(high, True)}]"


def _row(arm: dict[str, Any]) -> list[str]:
    low, high = arm["edit_similarity_interval"]
    names = {UNTOUCHED: "untouched, full depth", FULL: "full depth", EXACT: "exact", AGENT: "agent", FIXED: "fixed exit", CONFIDENCE: "confidence"}  # fmt: skip
    return [
        f"{names[arm['family']]} {arm['setting']}".strip(),
        f"{decimal(arm['edit_similarity'])} [{decimal(low)}, {decimal(high)}]",
        "–" if arm["family"] == FULL else _with_interval(arm, "from_full"),
        "–" if arm["family"] == UNTOUCHED else _with_interval(arm, "from_untouched"),
        decimal(arm["exact_match"] * 100),
        f"{arm['rouge_l']:.2f}",
        decimal(arm["bleu"]),
        decimal(arm["chrf"]),
        decimal(arm["mean_depth"]),
        percent(arm["same_as_full"]),
        f"{arm['joules']:.2f}",
        percent(arm["saving"]),
    ]


_PUBLISHED = {"python": (42.37, 71.59), "java": (30.60, 63.45)}
"""CodeGPT-adapted's exact match and edit similarity (github.com/microsoft/CodeXGLUE, CodeCompletion-line/README.md)."""


def _scale(found: dict[str, Any]) -> list[str]:
    if "py150" not in found["rows_from"] and "javaCorpus" not in found["rows_from"]:
        return []
    figures = "; ".join(
        f"{language_name(language)}: {match:.1f} % exact, edit similarity {similarity:.1f}"
        for language, (match, similarity) in _PUBLISHED.items()
    )
    return [
        paragraph(
            "For scale: CodeXGLUE's baseline CodeGPT-adapted, a model of 124 million weights that was fine-tuned on this very data (as text in the data set's tokens), has on the test sets, which are other rows "
            f"than these: {figures}. Gemma never saw text in that form; its rows are turned into ordinary source first, and scored in the data set's."
        )
    ]


def _exits(found: dict[str, Any]) -> list[str]:
    if not found["exit_counts"]:
        return []
    depths = sorted({int(depth) for counts in found["exit_counts"].values() for depth in counts})
    rows = []
    for setting, counts in found["exit_counts"].items():
        total = sum(counts.values())
        rows.append(
            [setting, str(total), *(percent(counts.get(str(depth), 0) / max(1, total)) for depth in depths)]
        )
    return [
        "## How many tokens leave where",
        paragraph("The agent at each threshold, both languages together: share of the tokens by the layer that gave them."),
        table(["threshold", "tokens", *(f"layer {depth}" for depth in depths)], rows),
    ]  # fmt: skip


def _kinds(found: dict[str, Any]) -> list[str]:
    if not found["kinds"]:
        return []
    depths = list(found["kinds"][0]["depths"])
    return [
        "## Which tokens leave where",
        paragraph(
            f"The agent at T={KINDS_AT}, by what a token is; a piece of a word counts as an identifier. Shares of a kind's tokens by the layer that gave them."
        ),
        table(["kind", "tokens", *(f"layer {depth}" for depth in depths), "mean depth"], [_kind(k) for k in found["kinds"]]),
    ]  # fmt: skip


def _kind(kind: dict[str, Any]) -> list[str]:
    counts = kind["depths"]
    total = sum(counts.values())
    mean = sum(int(depth) * count for depth, count in counts.items()) / total
    return [kind["kind"], str(total), *(percent(count / total) for count in counts.values()), decimal(mean)]
