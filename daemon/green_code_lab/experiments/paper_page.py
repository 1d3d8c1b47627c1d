"""The page of the experiment `paper`. Every sentence about a result is made from the data."""

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
    table,
)
from green_code_lab.experiments.paper_results import PUBLISHED, Published
from green_code_lab.experiments.paper_table import BASE, FULL


def page(found: dict[str, Any]) -> str:
    """Markdown of paper.json's content."""
    languages = list(found["files"])
    parts = [
        "# The paper's table, with our model and beside the published one",
        paragraph(
            f"Asked: what the agent's threshold does to energy and to quality, measured as GREEN-CODE measures it: the first {percent(found['context'])} of a file as context, {found['tokens']} tokens, no matter what ends there."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['files_from']}; {counted(found['files'])}, drawn with seed {found['seed']}; of a context the last {found['prompt_tokens']} tokens. Exits: {', '.join(map(str, found['exits']))} of {found['layers']} layers. "
            f"*{BASE}*: the model as it was published, with the bundle's vocabulary; *{FULL}*: the bundle at full depth. Completions are cold. As in the paper, prompts go as deep as the tokens behind them ask for, and nothing is guessed; *as served*, prompts settle, and tokens are guessed from the text. {machine(found)}"
        ),
        paragraph(
            f"*J*: what was run times the fitted costs (source: {found['energy_source']}), of a completion with its prompt, with the cache that we have; in brackets against {FULL}. *J, no cache*: the same tokens and exits, as if every token began with an empty cache, "
            "as in the published figures. CodeBLEU is given by its parts, which are not averaged: *BLEU*, *weighted* (keywords count five times), *syntax* (the reference's trees that the text has); its data flow is left out, "
            "since 15 tokens have hardly any and the published code counts full marks then."
        ),
        "![ROUGE-L over joules](paper.svg)",
        *(_ours(found, language) for language in languages),
        "## Published (GREEN-CODE, no cache, GPU)",
        paragraph(
            "From the paper's result files: other models, other files, joules of a GPU's counter. Only the columns' course can be compared: at T=0.9 it saves 33 to 46 % of energy and loses 5 to 13 % of ROUGE-L, 7 to 66 % of exact matches; "
            "and all of it is against a baseline that computes every position anew for each token ([baselines.md](baselines.md))."
        ),
        *(f"{name}:\n\n{_published(rows)}" for name, rows in PUBLISHED.items()),
        reproduce(found, "The full form takes all files: give a `--limit` that is greater than they are many."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _ours(found: dict[str, Any], language: str) -> str:
    own = [arm for arm in found["arms"] if arm["language"] == language]
    full = next(arm for arm in own if arm["setting"] == FULL)
    rows = [
        [
            arm["setting"],
            _against(arm["joules"], full["joules"]),
            _against(arm["uncached_joules"], full["uncached_joules"]),
            *(f"{arm[name]:.3f}" for name in ("bleu", "weighted_bleu", "syntax_match", "rouge_l")),
            decimal(arm["exact_match"] * 100),
            decimal(arm["layers"]),
        ]
        for arm in own
    ]
    heads = ["", "J", "J, no cache", "BLEU", "weighted", "syntax", "ROUGE-L", "exact, %", "layers"]
    said = [_says(arm, full) for arm in own if arm["setting"] not in (BASE, FULL)]
    return f"## {language_name(language)}\n\n{chr(10).join(map(bullet, said))}\n\n{table(heads, rows)}"


def _says(arm: dict[str, Any], full: dict[str, Any]) -> str:
    low, high = arm["rouge_l_from_full_interval"]
    verdict = "lower" if high < 0 else "higher" if low > 0 else "not told apart"
    return (
        f"{arm['setting']}: {percent(1 - arm['joules'] / full['joules'])} saved with a cache, {percent(1 - arm['uncached_joules'] / full['uncached_joules'])} without; "
        f"ROUGE-L {verdict}, {_signed(arm['rouge_l_from_full'])} [{_signed(low)}, {_signed(high)}]."
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _against(value: float, full: float) -> str:
    return f"{value:.2f} ({percent(value / full - 1, sign=True)})"


def _published(rows: tuple[Published, ...]) -> str:
    full = next(row for row in rows if row.setting == FULL)
    cells = [
        [
            row.setting,
            f"{row.joules:.0f} ({percent(row.joules / full.joules - 1, sign=True)})",
            f"{row.seconds:.2f}",
            f"{row.codebleu:.3f}",
            f"{row.rouge_l:.3f}",
            decimal(row.exact_match),
            decimal(row.layers),
        ]
        for row in rows
    ]
    return table(["", "J", "s", "CodeBLEU", "ROUGE-L", "exact, %", "layers"], cells)
