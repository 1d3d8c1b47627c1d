"""The page of the experiment `baselines`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.experiments.pages import bullet, decimal, machine, paragraph, percent, reproduce, table


def page(found: dict[str, Any]) -> str:
    """Markdown of baselines.json's content."""
    uncached, cached = found["arms"][:2]
    parts = [
        "# What a saving is against",
        paragraph(
            "Asked: how much of the energy that early exits save is there only because the baseline has no key-value cache. GREEN-CODE's published code "
            "computes every position anew for every token, in its baseline as with its agent."
        ),
        "## How it was measured",
        paragraph(
            f"{found['prompts']} prompts of {found['prompt_tokens']} tokens from the demo's files are completed by {found['tokens']} tokens each, cold, over and over for {found['window_seconds']:g} s or longer, "
            f"{found['repetitions']} times an arm; the arms take turns in a shuffled order and then in its reverse (seed {found['seed']}). All have the same weights, number format, threads and decoder. "
            "*No cache*: each token begins with an empty cache, and all positions go as deep as the exit of that token. *Cache*: the cache, which keeps what is computed; prompts rise as far as they are needed. *As served*: tokens are guessed from the text, too, and in `fast` prompts settle. "
            f"{machine(found)}"
        ),
        paragraph(
            f"Joules are an {found['meter']}."
            if found["source"] == "estimate"
            else f"Joules are **measured**: {found['meter']}."
        ),
        "## Result",
        "\n".join(bullet(sentence) for sentence in _result(found["arms"], uncached, cached)),
        "![Joules a completion](baselines.svg)",
        paragraph(
            "*Saved against*: share of the joules of the same repetition's window; brackets are 95 % bootstrap intervals over windows. *As full depth*: share of the tokens before the first that is not full depth's, mean over prompts "
            "(for quality on real rows see [quality.md](quality.md))."
        ),
        table(
            ["arm", f"J a completion ({found['source']})", "saved against no cache, full depth", "saved against cache, full depth", "CPU-ms", "ms", "as full depth"],
            [_row(arm) for arm in found["arms"]],
        ),
        reproduce(found, "The full form is the command without `--window-seconds`, on a machine that does nothing else."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _result(arms: list[dict[str, Any]], uncached: dict[str, Any], cached: dict[str, Any]) -> list[str]:
    best = max((arm for arm in arms if not arm["cache"]), key=lambda arm: arm["from_uncached"]["mean"])
    said = [
        f"A cache alone, at full depth, saves {_share(cached['from_uncached'])} of what the uncached baseline takes ({_joules(cached)} against {_joules(uncached)}).",
        f"Without a cache, {best['arm'].removeprefix('no cache, ')} saves {_share(best['from_uncached'])} against that baseline, as published results do; it takes "
        f"{best['joules'] / cached['joules']:.1f} times what plain decoding with a cache takes.",
    ]
    for arm in arms[2:]:
        if arm["cache"]:
            said.append(
                f"{arm['arm'].removeprefix('cache, ')}, with a cache: {_share(arm['from_cached'])} saved against full depth with the same cache, which is how this project reports savings."
            )
    return said


def _row(arm: dict[str, Any]) -> list[str]:
    low, high = arm["joules_interval"]
    return [
        arm["arm"],
        f"{arm['joules']:.2f} [{low:.2f}, {high:.2f}]",
        _share(arm["from_uncached"]),
        _share(arm["from_cached"]),
        f"{arm['cpu_seconds'] * 1e3:.0f}",
        f"{arm['wall_seconds'] * 1e3:.0f}",
        percent(arm["agreement"]),
    ]


def _joules(arm: dict[str, Any]) -> str:
    return f"{arm['joules']:.2f} J"


def _share(saving: dict[str, Any]) -> str:
    low, high = saving["interval"]
    return f"{percent(saving['mean'])} [{decimal(low * 100)}, {decimal(high * 100)}]"
