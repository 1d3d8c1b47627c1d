"""Where a run begins, and what a bundle's manifest says of the runs that made it.

A bundle of the same recipe that was exported part way goes on at its step. Otherwise the bundle's own weights are the
beginning, else those that the model is served with, else the untouched ones: early layers that speak need not learn
it again. A manifest's tokens and joules are sums over all runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from green_code.models.bundle import DELTA, MANIFEST, Bundle, bundle_of, load_bundle
from green_code.models.catalog import Found
from green_code.models.weights import adapted_weights
from green_code_lab.lite.checkpoint import as_stored
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.trainer import Start


def served_bundle(model: str, base_sha256: str) -> Bundle | None:
    """The bundle that a model is served with; None where there is none, or one of that name for another base."""
    bundle = bundle_of(model)
    return bundle if bundle and bundle.manifest["base"]["sha256"] == base_sha256 else None


def beginning(found: Found, own: Path, served: Bundle | None, recipe: Recipe) -> tuple[Start, str]:
    """Where a run of `recipe` for the bundle folder `own` begins, and a sentence that says so."""
    mine = load_bundle(own) if (own / MANIFEST).is_file() else None
    for bundle in (mine, served):
        if bundle is None or bundle.part(DELTA) is None:
            continue
        training = bundle.manifest["training"]
        weights = adapted_weights(found, bundle)[1]
        same = json.dumps(training["recipe"]) == json.dumps(as_stored(recipe))
        if bundle is mine and same and training["step"] < recipe.steps:
            earlier = training["earlier"]
            joules = training["joules"] - sum(run["joules"] for run in earlier)
            return Start(
                weights, training["step"], joules, earlier
            ), f"going on from bundle {bundle.name} at step {training['step']} of {recipe.steps}"
        return Start(weights, earlier=runs_of(training)), (
            f"beginning from bundle {bundle.name}, which has seen {training['tokens']:,} tokens"
        )
    return Start(None), "beginning from the untouched weights"


def runs_of(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that a bundle's training record stands for."""
    earlier = training["earlier"]
    own = {name: training[name] - sum(run[name] for run in earlier) for name in ("tokens", "joules")}
    return [*earlier, {"recipe": training["recipe"], "energy_source": training["energy_source"], **own}]


def training_record(state: Mapping[str, Any], recipe: Recipe, corpus: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's `training` for a checkpoint. `corpus`: the shards of corpus.json."""
    earlier = state["earlier"]
    return {
        "method": "LITE",
        "recipe": state["recipe"],
        "step": state["step"],
        "tokens": state["step"] * recipe.tokens_per_step + sum(run["tokens"] for run in earlier),
        "joules": round(state["joules"] + sum(run["joules"] for run in earlier)),
        "energy_source": state["energy_source"],
        "earlier": earlier,
        "corpus": corpus,
    }
