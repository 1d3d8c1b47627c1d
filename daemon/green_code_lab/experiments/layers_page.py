"""The page of the experiment `layers`. Every sentence about a result is made from the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from green_code_lab.experiments.layers import ADAPTED, EXAMPLES, UNTOUCHED
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

_CLIP = 72


def page(found: dict[str, Any]) -> str:
    """Markdown of layers.json's content."""
    languages, layers = list(found["rows"]), found["layers"]
    parts = [
        "# What each layer says when it has to speak",
        paragraph(
            f"Asked: what {found['model']} completes when its final norm and its one head are put on the hidden state after each of its {layers} layers, "
            "as it was published (*untouched*); and what the bundle's exits complete after the adaptation (*adapted*)."
        ),
        "## How it was measured",
        paragraph(
            f"Data: {found['rows_from']}; {counted(found['rows'])}, drawn with seed {found['seed']}. Each row's line is completed greedily with every token from one fixed layer, "
            f"by the sessions that serve editors (`fast`, `fixed:LAYER`): at most {found['max_tokens']} tokens, after at most {found['max_prompt_tokens']} tokens of prompt, "
            "which goes through no more layers than the tokens. The untouched model has the bundle's vocabulary and none of its delta. "
            f"{machine(found)}"
        ),
        paragraph(
            "*Exact*: share of completions that equal the reference. *Edit similarity*: Levenshtein ratio, 0 to 100, with the 95 % bootstrap interval over rows. "
            f"*ROUGE-L*: F over words and marks of punctuation, 0 to 1. *As layer {layers}*: share of completions that equal those of the same model's last layer. "
            f"*Token right*, *token as {layers}*: of the tokens of the rows' own text ({_predicted(found)}), each after the true text before it (teacher-forced, in float32), the share whose next token is guessed, "
            "and the share where the guess is the same model's last layer's."
        ),
        f"![Edit similarity by layer](layers.svg)\n\n## The untouched model at every layer\n\n{_bullets(_untouched(found, name) for name in languages)}",
        *(f"{language_name(name)}:\n\n{_scores(found, UNTOUCHED, name)}" for name in languages),
        "## The adapted model at its exits",
        paragraph(
            "Its edit similarity against the untouched model's at the same layer, told apart where the 95 % bootstrap interval of the difference, row by row, excludes 0 "
            "(*against untouched* in the tables):"
        ),
        _bullets(_adapted(found, name) for name in languages),
        *(f"{language_name(name)}:\n\n{_scores(found, ADAPTED, name)}" for name in languages),
        "## Examples",
        paragraph(
            f"The first {EXAMPLES} rows of each language as they were drawn, not chosen. ▌ is the cursor; a completion is in quotes, and … marks where it is cut for this page."
        ),
        *(_example(example) for example in found["examples"]),
        reproduce(
            found, "The full form is the command without `--limit`; a cut run resumes where it stopped."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(bullet(sentence) for sentence in sentences)


def _points(found: dict[str, Any], model: str, language: str) -> dict[int, dict[str, Any]]:
    return {p["layer"]: p for p in found["points"] if (p["model"], p["language"]) == (model, language)}


def _untouched(found: dict[str, Any], language: str) -> str:
    own, layers = _points(found, UNTOUCHED, language), found["layers"]
    right = [layer for layer, p in own.items() if p["exact_match"] > 0]
    last = own[layers]["edit_similarity_interval"]
    near = [layer for layer, p in own.items() if p["edit_similarity_interval"][1] >= last[0]]
    first = (
        f"the first layer that completes a line exactly is {right[0]} ({percent(own[right[0]]['exact_match'])} of the rows)"
        if right
        else "no layer completes a line exactly"
    )
    return (
        f"{language_name(language)}: {first}; the first whose interval of edit similarity meets that of layer {layers} is {near[0]} "
        f"({_similarity(own[near[0]])} against {_similarity(own[layers])}). Layer 1 has {_similarity(own[1])}."
    )


def _adapted(found: dict[str, Any], language: str) -> str:
    changes = [d for d in found["differences"] if d["language"] == language]
    above = [d["layer"] for d in changes if d["interval"][0] > 0]
    below = [d["layer"] for d in changes if d["interval"][1] < 0]
    rest = [d["layer"] for d in changes if d["layer"] not in (*above, *below)]
    said = [
        f"{words} {layers_named(which)}"
        for which, words in ((above, "higher at"), (below, "lower at"), (rest, "not told apart at"))
        if which
    ]
    own = _points(found, ADAPTED, language)
    first = min(own)
    return (
        f"{language_name(language)}: {', '.join(said)}. "
        f"The first exit, layer {first}, completes {percent(own[first]['exact_match'])} of the rows exactly and {percent(own[first]['same_as_full'])} as layer {found['layers']} does."
    )


def _scores(found: dict[str, Any], model: str, language: str) -> str:
    heads = ["layer", "exact", "edit similarity", "ROUGE-L", f"as layer {found['layers']}"]
    heads += ["token right", f"token as {found['layers']}"]
    guessed = found["predictions"][model]["scores"][language]
    rows = [
        [
            str(layer),
            percent(p["exact_match"]),
            _similarity(p),
            f"{p['rouge_l']:.3f}",
            percent(p["same_as_full"]),
            percent(guessed["accuracy"][str(layer)]),
            percent(guessed["agreement"][str(layer)]),
        ]
        for layer, p in _points(found, model, language).items()
    ]
    if model == ADAPTED:
        heads.append("against untouched")
        changes = {d["layer"]: d for d in found["differences"] if d["language"] == language}
        for row in rows:
            change = changes[int(row[0])]
            row.append(_with_interval(change["edit_similarity"], change["interval"], sign=True))
    return table(heads, rows)


def _predicted(found: dict[str, Any]) -> str:
    return counted(found["predictions"][UNTOUCHED]["tokens"])


def _similarity(point: dict[str, Any]) -> str:
    return _with_interval(point["edit_similarity"], point["edit_similarity_interval"])


def _with_interval(value: float, interval: Sequence[float], sign: bool = False) -> str:
    low, high = interval
    return f"{decimal(value, sign)} [{decimal(low, sign)}, {decimal(high, sign)}]"


def _example(example: dict[str, Any]) -> str:
    line = example["line"]
    shown = line if len(line) <= _CLIP else "…" + line[-_CLIP:]
    lines = [f"{shown}▌", f"{'reference':13}{_clipped(example['reference'])}"]
    lines += [f"{c['model']:10}{c['layer']:2} {_clipped(c['text'])}" for c in example["completions"]]
    fence = "`" * 6  # a line of code may begin with three
    return (
        f"{language_name(example['language'])}, `{example['id']}`:\n\n{fence}text\n"
        + "\n".join(lines)
        + f"\n{fence}"
    )


def _clipped(text: str) -> str:
    return repr(text) if len(text) <= _CLIP else f"{text[:_CLIP]!r}…"
