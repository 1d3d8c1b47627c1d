"""The page of the experiment `snippets`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.experiments.pages import (
    bullet,
    counted,
    decimal,
    language_name,
    machine,
    paragraph,
    reproduce,
    table,
)
from green_code_lab.experiments.snippets import LEFT, TODAY


def page(found: dict[str, Any]) -> str:
    """Markdown of snippets.json's content."""
    parts = [
        "# Whether lines of other open files help",
        paragraph(
            "Asked: whether completions get better where the prompt begins with lines of another file of the project, as comments, and what that costs."
        ),
        "## How it was measured",
        paragraph(
            f"Data: lines of the corpus' held-out projects, a file each, cut at random places; {counted(found['rows'])}, drawn with seed {found['seed']}: {_projects(found)}. "
            f"Each line is completed by a session of its own at full depth: at most {found['max_tokens']} tokens, after a prompt of at most {found['budget']} tokens, the text's last whole lines. "
            f"Beside a file, the {found['files']} files of its project and language that lie nearest count as open. The snippet has about {found['room']} tokens at most: "
            f"of all windows of {found['window_lines']} lines of these files, the one with the identifiers most like those of the last {found['window_lines']} lines before the cursor (Jaccard's index)."
        ),
        "\n".join([
            bullet("*No snippet*: the prompt as it would be."),
            bullet("*Instead of text*: the snippet takes its tokens from the same budget."),
            bullet("*On top*: it comes in addition."),
            bullet(
                "*Where room is left*: only where the text and the snippet are both within the budget, so that no text is lost; and chosen by the first half of the text, as in an editor it must stay while one types on (the cache is kept as far as the prompt begins the same)."
            ),
        ]),
        paragraph(
            f"Differences are paired: the same rows, less *no snippet*, with the 95 % bootstrap interval over rows. There are few projects, so the intervals say little of other ones. Joules are what was run times the fitted costs (source: {found['energy_source']}). {machine(found)}"
        ),
        "![Differences of edit similarity](snippets.svg)\n\n## Results",
        "\n".join(bullet(_says(arm)) for arm in found["arms"] if arm["name"] != TODAY),
        paragraph(_conclusion(found)),
        *(_language(found, language) for language in found["rows"]),
        reproduce(found, f"It needs `make corpus`. {_CHOICE}"),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


_CHOICE = "Lengths, windows and the last arm's rule were chosen on rows drawn with another seed."


def _projects(found: dict[str, Any]) -> str:
    return "; ".join(
        ", ".join(f"{count} of {name}" for name, count in sorted(projects.items()))
        for projects in found["projects"].values()
    )


def _says(arm: dict[str, Any]) -> str:
    low, high = arm["all"]["interval"]
    verdict = "gains" if low > 0 else "loses" if high < 0 else "is not told apart from no snippet:"
    return f"{language_name(arm['language'])}, {arm['name']}: {verdict} {_difference(arm['all'])} of edit similarity."


def _conclusion(found: dict[str, Any]) -> str:
    """The product's form decides: the other two choose anew for each place, and each choice costs a cold prompt."""
    sure = [arm["language"] for arm in found["arms"] if arm["name"] == LEFT and arm["all"]["interval"][0] > 0]
    if sure:
        return f"In the form that an editor can have, the last one, the gain is sure for {' and '.join(map(language_name, sure))}."
    return (
        "The first two forms choose the snippet for each place anew, and in an editor each choice would cost a cold prompt. In the form that an editor can have, the last one, "
        "no gain is sure. So Green Code's prompts have no snippets of other files."
    )


def _language(found: dict[str, Any], language: str) -> str:
    own = [arm for arm in found["arms"] if arm["language"] == language]
    kinds = [own[-1][kind]["rows"] if own[-1][kind] else 0 for kind in ("short", "long")]
    return "\n\n".join([
        f"## {language_name(language)}",
        paragraph(
            f"*With room*: the {kinds[0]} rows whose whole text before the cursor leaves room for a snippet; *without*: the {kinds[1]} others. Exact match in per cent, tokens of the prompt and millijoules as means over rows."
        ),
        table(
            ["", "edit similarity", "difference", "with room", "without", "exact match", "prompt", "mJ"],
            [_row(arm) for arm in own],
        ),
    ])  # fmt: skip


def _row(arm: dict[str, Any]) -> list[str]:
    differences = ("all", "short", "long")
    return [
        arm["name"],
        decimal(arm["edit_similarity"]),
        *("–" if arm["name"] == TODAY else _difference(arm[kind]) for kind in differences),
        decimal(arm["exact_match"] * 100),
        f"{arm['prompt_tokens']:.0f}",
        f"{arm['joules'] * 1e3:.0f}",
    ]


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    low, high = found["interval"]
    return f"{decimal(found['mean'], True)} [{decimal(low, True)}, {decimal(high, True)}]"
