"""Where a run starts, and the record of the runs behind a bundle.

A bundle of the same recipe that was exported part way resumes at its step. Otherwise a run starts from the bundle's own
weights, else from those the model is served with, else from the untouched ones. A manifest's tokens and joules are sums
over all runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from green_code.models.bundle import DELTA, Bundle
from green_code.models.catalog import Found
from green_code.models.weights import adapted_weights
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.trainer import Start


def starting_point(
    found: Found, own: Bundle | None, served: Bundle | None, recipe: Recipe
) -> tuple[Start, str]:
    """Where a run of `recipe` for the bundle `own` starts, and a sentence for the log."""
    for bundle in (own, served):
        if bundle is None or bundle.part(DELTA) is None:
            continue
        training = bundle.manifest["training"]
        weights, earlier = adapted_weights(found, bundle)[1], training["earlier"]
        same = json.dumps(training["recipe"]) == json.dumps(asdict(recipe))
        if bundle is own and same and training["step"] < recipe.steps:
            return (
                Start(weights, training["step"], _own(training, "joules"), earlier),
                f"resuming from bundle {bundle.name} at step {training['step']} of {recipe.steps}",
            )
        record = {name: training[name] for name in ("recipe", "energy_source")}
        run = {**record, **{name: _own(training, name) for name in ("tokens", "joules")}}
        return (
            Start(weights, earlier=[*earlier, run]),
            f"starting from bundle {bundle.name}, trained on {training['tokens']:,} tokens",
        )
    return Start(None), "starting from the untouched weights"


def _own(training: Mapping[str, Any], name: str) -> Any:
    """A sum of a training record without the earlier runs."""
    return training[name] - sum(run[name] for run in training["earlier"])


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
