"""What each layer says when it has to speak: the untouched model at every layer, the bundle at its exits.

Every row is completed with each fixed exit, by the sessions that serve editors; prompt positions, too, go no deeper
than the exit. Untouched means the base model with the bundle's vocabulary and without its delta. Results are kept in
WORK/experiments as they come, so that a cut run resumes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from green_code.engine.bundle_contents import Parts, load_parts
from green_code.engine.runtime import Runtime, load_runtime
from green_code.kernels.weight_format import weight_formats
from green_code.models.bundle import KV_PROJECTIONS, PARTS, VOCABULARY, Bundle, bundle_of
from green_code.models.catalog import find_model
from green_code.models.weights import open_model
from green_code_lab.evaluation.datasets import Row, rows_digest
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.experiments.predictions import predictions
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.rows import choose_rows, facts, from_layer

EXAMPLES = 3  # rows per language whose completions are shown
UNTOUCHED, ADAPTED = "untouched", "adapted"
Results = dict[tuple[str, int], list[dict[str, Any]]]
"""Scored completions by model and layer, in the order of the rows."""


def run(
    model: str, data: Sequence[Path], work: Path, limit: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into layers.json.

    Raises:
        Problem: the model, its bundle or the rows are missing or damaged.
    """
    report(f"loading {model}, adapted and untouched")
    adapted = load_runtime(model)
    adapted.prefill_exit = None  # a layer is to speak for itself, over a prompt that it has been through
    base = untouched(adapted)
    rows, source = choose_rows(data, work / "corpus", adapted.vocabulary, limit, seed)
    kept = work / "experiments" / f"layers-{rows_digest(rows, base.weights, adapted.weights)}"
    layers, taught = adapted.layers_total, taught_layers(adapted)
    results: Results = {}
    for name, runtime, depths in (
        (UNTOUCHED, base, range(1, layers + 1)),
        (ADAPTED, adapted, (*taught, layers)),
    ):
        for depth in depths:
            results[name, depth] = done = evaluate(
                runtime, rows, from_layer(model, depth), lambda _: None, kept / f"{name}-{depth:02}"
            )
            report(
                f"{name}, layer {depth:2}: edit similarity {summarise(done)['all']['edit_similarity']:.1f}"
            )
    report("every token of the rows, from each layer")
    bare, own = bare_bundle(model), bundle_of(model)
    guessed = {
        UNTOUCHED: predictions(model, bare, rows, adapted.vocabulary, range(1, layers)),
        ADAPTED: predictions(model, own, rows, adapted.vocabulary, taught),
    }
    options: dict[str, object] = {"model": Path(model), "data": data, "limit": limit, "seed": seed}
    return {
        **provenance(adapted, "layers", options),
        **facts(rows, source, seed),
        "layers": layers,
        "exits": list(taught),
        "points": points(results, layers),
        "predictions": guessed,
        "differences": differences(results),
        "examples": examples(results, rows),
    }


def taught_layers(adapted: Runtime) -> tuple[int, ...]:
    """The layers that adaptation taught to speak; an agent may decide at fewer. Of a bundle without a training, its exits."""
    if (bundle := bundle_of(adapted.model)) is None:
        return adapted.exits
    recipe = bundle.manifest.get("training", {}).get("recipe", {})
    return tuple(sorted(itertools.chain(*recipe.get("exit_groups", [])))) or adapted.exits


def untouched(adapted: Runtime) -> Runtime:
    """The base model with the same vocabulary. Its costs are the same, since costs are those of the shape."""
    bare = bare_bundle(adapted.model)
    if bare is None:
        return adapted
    opened = open_model(find_model(adapted.model), bare, weight_formats())
    return Runtime(adapted.model, opened, bare, Parts(), adapted.costs)


def plain(served: Runtime) -> Runtime:
    """The same model and bundle, but for entries: a layer's own projections make keys and values of states that are handed on."""
    bundle = bundle_of(served.model)
    if bundle is None or bundle.part(KV_PROJECTIONS) is None:
        return served
    bundle = bundle.without(KV_PROJECTIONS)
    opened = open_model(find_model(served.model), bundle, weight_formats())
    parts = load_parts(bundle, opened.decoder.config, opened.vocabulary)
    return Runtime(served.model, opened, bundle, parts, served.costs)


def bare_bundle(model: str) -> Bundle | None:
    """A model's bundle with nothing of it but the vocabulary; None where it has no bundle."""
    if (bundle := bundle_of(model)) is None:
        return None
    return replace(bundle.without(*(part for part in PARTS if part != VOCABULARY)), calibration={})


def points(results: Results, layers: int) -> list[dict[str, Any]]:
    """Scores per model, layer and language; `same_as_full` is the share of texts that equal layer `layers`'."""
    found = []
    for (model, layer), done in results.items():
        for language in _languages(done):
            own = [
                (a, b) for a, b in zip(done, results[model, layers], strict=True) if a["language"] == language
            ]
            means = summarise([a for a, _ in own])[language]
            kept = ("rows", "exact_match", "edit_similarity", "edit_similarity_interval", "rouge_l")
            found.append({
                "model": model, "layer": layer, "language": language, **{key: means[key] for key in kept},
                "same_as_full": sum(a["text"] == b["text"] for a, b in own) / len(own),
            })  # fmt: skip
    return found


def differences(results: Results) -> list[dict[str, Any]]:
    """Edit similarity of the bundle less that of the untouched model at the same layer, row by row."""
    found = []
    for (model, layer), done in results.items():
        if model == ADAPTED:
            for language in _languages(done):
                values = [
                    a["edit_similarity"] - b["edit_similarity"]
                    for a, b in zip(done, results[UNTOUCHED, layer], strict=True)
                    if a["language"] == language
                ]
                found.append({
                    "layer": layer, "language": language,
                    "edit_similarity": sum(values) / len(values), "interval": bootstrap_interval(values),
                })  # fmt: skip
    return found


def examples(results: Results, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The first rows of each language as they were drawn, with what each model and layer made of them."""
    chosen = [
        i
        for language in dict.fromkeys(row.language for row in rows)
        for i in [j for j, row in enumerate(rows) if row.language == language][:EXAMPLES]
    ]
    return [
        {
            "id": rows[i].id,
            "language": rows[i].language,
            "line": rows[i].prefix.rpartition("\n")[2],
            "reference": rows[i].reference,
            "completions": [
                {"model": model, "layer": layer, "text": done[i]["text"]}
                for (model, layer), done in results.items()
            ],
        }
        for i in chosen
    ]


def _languages(done: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(result["language"] for result in done))
