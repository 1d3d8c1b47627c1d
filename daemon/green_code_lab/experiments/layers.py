"""What does the model complete when its final norm and its one head are put on the hidden state after each layer: as it was
published (*untouched*), and with the bundle at its trained exits (*adapted*)?

Each row's line is completed greedily, with every token from one fixed layer, by the sessions that serve editors (`fast`,
`fixed:LAYER`). The prompt goes through as many layers as the tokens. The untouched model has the bundle's vocabulary and none
of its delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from green_code.engine.loading import Runtime
from green_code_lab.evaluation.datasets import Row, rows_digest
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.experiments.common import UNTOUCHED, by_policy, choose_rows, trained_exits, untouched
from green_code_lab.experiments.experiment import ROWS, Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves, language_name
from green_code_lab.experiments.quality import summaries

ADAPTED = "adapted"
_CLIP = 72  # characters of an example
Results = dict[tuple[str, int], list[dict[str, Any]]]
"""Scored completions by model and layer, in the order of the rows."""


def measure(adapted: Runtime, args: Args, report: Report) -> Found:
    adapted.prefill_exit = None  # each layer decodes behind a prompt that has been through it
    base, layers, trained = untouched(adapted), adapted.layers_total, trained_exits(adapted)
    rows, settings = choose_rows(adapted, args)
    kept = args.work / "experiments" / f"layers-{rows_digest(rows, base.weights, adapted.weights)}"
    results: Results = {}
    tried = [(UNTOUCHED, base, depth) for depth in range(1, layers + 1)]
    for name, runtime, depth in [*tried, *((ADAPTED, adapted, depth) for depth in (*trained, layers))]:
        params, folder = by_policy(args.model, "fast", f"fixed:{depth}"), kept / f"{name}-{depth:02}"
        results[name, depth] = done = evaluate(runtime, rows, params, lambda _: None, folder)
        report(f"{name}, layer {depth}: edit similarity {summarise(done)['all']['edit_similarity']:.1f}")
    return {
        "settings": {**settings, "trained exits": ", ".join(map(str, trained))},
        "arms": arms(results, layers),
        "examples": examples(results, rows),
    }


def arms(results: Results, layers: int) -> list[Found]:
    """Scores by model, language and layer. `same`: share of texts that equal those of the same model's last layer."""
    keys = ("language", "exact_match", "edit_similarity", "rouge_l", "same", "from_untouched")
    found = [
        {"model": model, "layer": layer, **{key: summary[key] for key in keys}}
        for (model, layer), done in results.items()
        for summary in summaries(done, results[model, layers], results[UNTOUCHED, layer])
    ]
    return sorted(found, key=lambda arm: (arm["model"] == ADAPTED, arm["language"]))


def examples(results: Results, rows: Sequence[Row]) -> list[Found]:
    """What each layer makes of the first row of each language as they were drawn."""
    found = []
    for language in dict.fromkeys(row.language for row in rows):
        at = next(i for i, row in enumerate(rows) if row.language == language)
        line = rows[at].prefix.rpartition("\n")[2].strip() + "▌"
        title = f"{language_name(language)}, line {code(line)}, reference {code(rows[at].reference)}"
        for layer in sorted({layer for _, layer in results}):
            texts = {m: code(done[at]["text"]) for (m, depth), done in results.items() if depth == layer}
            found.append({"row": title, "layer": str(layer), **texts})
    return found


def code(text: str) -> str:
    """As Markdown code on one line; … marks a cut."""
    shown = repr(text)[1:-1]
    shown = shown if len(shown) <= _CLIP else shown[:_CLIP] + "…"
    fence = "``" if "`" in shown else "`"
    return f"{fence}{shown}{fence}" if shown else ""


EXPERIMENT = Experiment(
    "layers", "What each layer decodes", __doc__, measure, ROWS,
    (
        Table(
            "arms", "Scores",
            "*Exact*: completions that equal the reference. *Edit similarity*: Levenshtein ratio, 0 to 100. *ROUGE-L*: F over words and punctuation. *As "
            "the last layer*: completions that equal those of the same model's last layer. *Against untouched*: edit similarity less the untouched "
            "model's at the same layer, row by row.",
            (
                ("layer", "layer", "0"), ("exact", "exact_match", "%"), ("edit similarity", "edit_similarity", "1"), ("ROUGE-L", "rouge_l", "3"),
                ("as the last layer", "same", "%"), ("against untouched", "from_untouched", "+1"),
            ),
            ("model", "language"),
        ),
        Table(
            "examples", "Examples",
            "The first row of each language as they were drawn. ▌ is the cursor; … marks where a completion is cut for this page.",
            (
                ("layer", "layer", "1"), ("untouched", UNTOUCHED, "1"), ("adapted", ADAPTED, "1"),
            ),
            ("row",),
        ),
    ),
    Curves("Edit similarity by layer", "arms", "language", "layer", "edit_similarity", "layer", "edit similarity", "model"),
)  # fmt: skip
