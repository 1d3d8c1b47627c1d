"""The page of the experiment `drafts`. Every sentence about a result is made from the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from green_code.decoding.price_book import CONFIDENCES
from green_code.decoding.prompt_lookup import SHARES
from green_code_lab.experiments.draft_priors import CONTEXT, SCORED
from green_code_lab.experiments.drafts import BOTH, EXITS, TEXT
from green_code_lab.experiments.pages import (
    bullet,
    counted,
    machine,
    paragraph,
    percent,
    reproduce,
    table,
)

_AGREEMENTS = ("the two latest differ", "one place", "two or three agree", "four agree")


def page(found: dict[str, Any]) -> str:
    """Markdown of drafts.json's content."""
    arms = {arm["name"]: arm for arm in found["arms"]}
    parts = [
        "# What drafts save while the tokens stay those of full depth",
        paragraph(
            "Asked: how many fewer joules `exact` spends than full depth where n-grams draft (of the document: prompt look-up; and of the training corpus: the bundle's table), where exits draft, and where both do."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['rows_from']}; {counted(found['rows'])}, drawn with seed {found['seed']}. Held-out projects are such that the model was not trained on; priors of drafts were chosen there, though. Each row's line is completed by a session of its own that knows nothing yet: "
            f"at most {found['max_tokens']} tokens, after at most {found['max_prompt_tokens']} of prompt. Exits draft where the policy `{found['policy']}` stops "
            "(an agent where that is its most likely action) and the expected gain is positive. Joules are what was run times the fitted costs "
            f"(source: {found['energy_source']}), not a meter's reading of these runs. {machine(found)}"
        ),
        "![Joules of full depth over those spent](drafts.svg)\n\n## Joules",
        "\n".join(bullet(_says(arms[name])) for name in (TEXT, EXITS, BOTH)),
        paragraph(
            "*Whole*: joules of full depth over those spent, prompt included. *After the prompt*: without what the prompt's positions cost in either. "
            "In brackets the 95 % bootstrap interval over rows. *Same*: share of rows whose tokens are those of full depth."
        ),
        table(
            ["drafts from", "tokens", "passes", "tokens a pass", "mJ a token", "whole", "after the prompt", "same"],
            [_row(arm) for arm in found["arms"]],
        ),
        "## Which drafts were right",
        paragraph(
            "N-grams of the document alone, by how many of the last tokens were found before and by what followed there. *Reached*: drafts before which all were right. "
            + _priors_text(found)
        ),
        table(["tokens found", "what followed", "reached", "right", "prior"], _kinds(found, "text", _text_label)),
        paragraph("N-grams of the training corpus, by the share of their run's occurrences that were followed by the guess; the surer of both kinds is taken."),
        table(["share", "reached", "right", "prior"], _kinds(found, "corpus", _corpus_label)),
        paragraph("Exits alone, by the head's confidence in the token; tokens too unsure to be drafted count as well."),
        table(["exit", "confidence", "reached", "right", "prior"], _kinds(found, "exits", _exit_label)),
        reproduce(found, "The full form is the command without `--limit`."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _says(arm: dict[str, Any]) -> str:
    low, high = arm["ratio_after_prompt_interval"]
    verdict = (
        "fewer joules than full depth" if low > 1 else "more joules than full depth" if high < 1 else "not told apart from full depth"
    )  # fmt: skip
    return f"{arm['name'][0].upper()}{arm['name'][1:]}: {verdict}, {_with_interval(arm, 'ratio_after_prompt')} after the prompt."


def _with_interval(arm: dict[str, Any], key: str) -> str:
    low, high = arm[f"{key}_interval"]
    return f"{arm[key]:.2f}x [{low:.2f}, {high:.2f}]"


def _row(arm: dict[str, Any]) -> list[str]:
    passes, joules = arm["verifications"] or arm["passes"], arm["joules_per_token"]
    return [
        arm["name"],
        str(arm["tokens"]),
        str(passes),
        f"{arm['passes'] / passes:.2f}" if passes else "–",
        f"{joules * 1e3:.1f}" if joules is not None else "–",
        _with_interval(arm, "ratio"),
        _with_interval(arm, "ratio_after_prompt"),
        percent(arm["same_rows"]),
    ]


def _priors_text(found: dict[str, Any]) -> str:
    if found["priors"] is None:
        return "No corpus was there to measure priors on."
    return (
        f"*Prior*: on {found['priors']['positions']} positions of the corpus' held-out projects, the last {SCORED} of windows of at most {CONTEXT} tokens, "
        "the source's own text before them."
    )


def _text_label(kind: dict[str, int]) -> list[str]:
    return [str(kind["length"]), _AGREEMENTS[kind["agreement"]]]


def _corpus_label(kind: dict[str, int]) -> list[str]:
    bounds = (0.0, *SHARES, 1.0)
    low, high = bounds[kind["share"]], bounds[kind["share"] + 1]
    return [f"{low:.1f} to {high:.1f}"]


def _exit_label(kind: dict[str, int]) -> list[str]:
    bounds = (0.0, *CONFIDENCES, 1.0)
    low, high = bounds[kind["confidence"]], bounds[kind["confidence"] + 1]
    return [str(kind["depth"]), f"{low:.1f} to {high:.1f}"]


def _kinds(found: dict[str, Any], part: str, label: Any) -> Sequence[Sequence[str]]:
    """A row a kind that was met, here or in measuring the priors."""
    priors = {tuple(label(kind)): kind for kind in (found["priors"] or {}).get(part, ())}
    here = {tuple(label(kind)): kind for kind in found[part]}
    rows = []
    for name in dict.fromkeys([*priors, *here]):
        met, prior = here.get(name, {"asked": 0, "right": 0}), priors.get(name, {"asked": 0, "right": 0})
        if met["asked"] or prior["asked"]:
            rows.append([*name, str(met["asked"]), _share(met), _share(prior)])
    return rows


def _share(kind: dict[str, int]) -> str:
    return percent(kind["right"] / kind["asked"]) if kind["asked"] else "–"
