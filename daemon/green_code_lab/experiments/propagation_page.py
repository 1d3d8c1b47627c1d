"""The page of the experiment `propagation`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.experiments.pages import (
    bullet,
    counted,
    decimal,
    language_name,
    layers_named,
    machine,
    paragraph,
    percent,
    reproduce,
    table,
)
from green_code_lab.experiments.propagation import AGENT, FIXED, FULL, PROPAGATION, STAIRCASE

_HARDLY = 0.05
"""Where no greater share of tokens goes deeper than an earlier one, a policy hardly mixes depths."""


def page(found: dict[str, Any]) -> str:
    """Markdown of propagation.json's content."""
    settings = dict.fromkeys(arm["setting"] for arm in found["arms"] if arm["family"] == AGENT)
    agent = (
        f"The agent decides at {layers_named(found['exits'])}, at {' and '.join(settings)}. "
        if settings
        else ""
    )
    parts = [
        "# What propagated keys and values cost and lose against computed ones",
        paragraph(
            "Asked: what becomes of the text and of the joules where the cache's entries above a token's exit are made of the state at that exit (propagation, "
            "the paper's cached variant) and not computed when a deeper layer is first needed (the cache)."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['rows_from']}; {counted(found['rows'])}, drawn with seed {found['seed']}. Each row's line is completed by a session of its own that knows nothing yet: "
            f"at most {found['max_tokens']} tokens, after at most {found['max_prompt_tokens']} of prompt. Weights, decoder and policy are the same on both caches, and the bundle's entries, which are for its prefill exit, are left out. "
            f"{machine(found)}"
        ),
        paragraph(
            "The prompt goes to full depth on both, all of it but its last position, from which the first token is decoded. The paper's prompts do the same, the last position too. "
            "So the two caches differ in generated positions alone. In service's `fast` it is the other way round: prompts settle, so that their positions alone are propagated "
            "(see [prefill exits](prefill exits.md))."
        ),
        paragraph(
            f"{agent}Confidence is asked at every layer that was taught to speak ({', '.join(map(str, found['taught']))} of {found['layers']}), "
            "so that its tokens leave at very different depths. The agent sees what going on would cost: with the prompt at full depth that is less than on service's cold requests, and less again on the propagating cache, where nothing waits."
        ),
        paragraph(
            f"Joules are what was run times the fitted costs (source: {found['energy_source']}), not a meter's reading of these runs. What handing on costs is an estimate: "
            f"keys' and values' projections are {percent(found['key_value_share'])} of a layer's multiply-adds and of its weights, and an entry is priced as that share of running the layer for one position; it is handed on when the next token comes, as in the paper, whether it will be read or not. "
        ),
        "![Propagation less the cache, in edit similarity and in joules](propagation.svg)",
        _fixed(found),
        *(_language(found, language) for language in found["rows"]),
        reproduce(found, "The full form takes all rows: give a `--limit` that is greater than they are many."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _fixed(found: dict[str, Any]) -> str:
    own = [arm for arm in found["arms"] if (arm["family"], arm["cache"]) == (FIXED, PROPAGATION)]
    same = sum(arm["same_as_staircase"] * found["rows"][arm["language"]] for arm in own)
    of = sum(found["rows"][arm["language"]] for arm in own)
    return "\n\n".join([
        "## Fixed exits",
        paragraph(
            "With a fixed exit no layer above it is ever run, and handing on writes above it alone. So within a completion nothing that was propagated is read, and only the cost differs; "
            "a later, deeper request over the same cache would read it. "
            f"Here the texts on both caches are the same in {same:.0f} of {of} completions."
        ),
    ])  # fmt: skip


def _language(found: dict[str, Any], language: str) -> str:
    own = [arm for arm in found["arms"] if arm["language"] == language]
    mixed = [arm for arm in own if arm["cache"] == PROPAGATION and arm["family"] != FIXED]
    return "\n\n".join([
        f"## {language_name(language)}",
        "\n".join(bullet(_says(arm, found["layers"])) for arm in mixed),
        paragraph(
            "*From the cache*: propagation less the same policy on the cache, row by row. In brackets: 95 % bootstrap intervals over rows. Exact match is in per cent. "
            "*Same*: share of texts that equal full depth's. *Deeper*: share of tokens whose exit is deeper than one before it in their completion: these alone read what was handed on, "
            "or bring up what waits. *Layers*: layer × position evaluations a token, of the positions that gave tokens or the end. *mJ*: a token, "
            "without the prompt's pass; and of it what handing on costs."
        ),
        table(
            ["", "edit similarity", "from the cache", "exact match", "from the cache", "depth", "same", "deeper", "layers", "mJ", "handing on"],
            [_row(arm) for arm in own],
        ),
    ])  # fmt: skip


def _says(arm: dict[str, Any], layers: int) -> str:
    """What propagation does to a policy that may mix depths."""
    name = f"{arm['family'][0].upper()}{arm['family'][1:]} {arm['setting']}"
    low, high = arm["from_staircase"]["edit_similarity"]["interval"]
    verdict = (
        "propagation loses" if high < 0 else "propagation gains" if low > 0 else "propagation is not told apart from the cache:"
    )  # fmt: skip
    joules = arm["from_staircase"]["joules"]
    low, high = joules["interval"]
    mixes = (
        "It hardly leaves early" if arm["mean_depth"] > layers - 1 else "It hardly mixes depths" if arm["deeper"] < _HARDLY else "It mixes depths"
    )  # fmt: skip
    return (
        f"{name}: {verdict} {_change(arm, 'edit_similarity')} of edit similarity. {percent(arm['same_as_full'])} of its texts are full depth's, "
        f"{_change(arm, 'same_as_full')} from the cache's. A token costs {_millijoules(arm['joules'])} mJ, "
        f"{_millijoules(joules['mean'], True)} [{_millijoules(low, True)}, {_millijoules(high, True)}] from the cache's. "
        f"{mixes}: mean depth {decimal(arm['mean_depth'])}, and {percent(arm['deeper'])} of the tokens leave deeper than one before."
    )


def _row(arm: dict[str, Any]) -> list[str]:
    cache = arm["cache"] == STAIRCASE
    name = f"{arm['family']} {arm['setting']}".strip()
    return [
        name if arm["family"] == FULL else f"{name}, {arm['cache']}",
        _scored(arm, "edit_similarity"),
        "–" if cache else _change(arm, "edit_similarity"),
        _scored(arm, "exact_match"),
        "–" if cache else _change(arm, "exact_match"),
        decimal(arm["mean_depth"]),
        percent(arm["same_as_full"]),
        percent(arm["deeper"]),
        decimal(arm["evaluations"]),
        _millijoules(arm["joules"]),
        "–" if cache else _millijoules(arm["propagation_joules"]),
    ]


def _scored(arm: dict[str, Any], score: str) -> str:
    unit, (low, high) = _unit(score), arm[f"{score}_interval"]
    return f"{decimal(arm[score] * unit)} [{decimal(low * unit)}, {decimal(high * unit)}]"


def _change(arm: dict[str, Any], score: str) -> str:
    change, unit = arm["from_staircase"][score], _unit(score)
    low, high = change["interval"]
    return (
        f"{decimal(change['mean'] * unit, True)} [{decimal(low * unit, True)}, {decimal(high * unit, True)}]"
    )


def _unit(score: str) -> int:
    return 1 if score == "edit_similarity" else 100


def _millijoules(joules: float, sign: bool = False) -> str:
    return decimal(joules * 1e3, sign)
