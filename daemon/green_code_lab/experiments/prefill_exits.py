"""At which layer a prompt should stop: what `fast` saves and loses for each prefill exit, on the same rows, paired.

Every row is completed cold by a session of its own, as `evaluate` does, by the agent at a few thresholds. Results are kept
in WORK/experiments as they come, so that a cut run resumes.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from green_code.decoding.propagation import EXACT_TAIL
from green_code.engine.loading import Runtime

from green_code.problems import Problem
from green_code_lab.evaluation.datasets import rows_digest
from green_code_lab.evaluation.run import evaluate
from green_code_lab.experiments.experiment import ROWS, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves
from green_code_lab.experiments.quality import FULL, summaries
from green_code_lab.experiments.rows import by_policy, choose_rows
from green_code_lab.experiments.runtimes import facts, without_kv_projections

_THRESHOLDS = (0.5, 0.7, 0.9, 0.99)
_BELOW = 3  # layers below the first exit that are tried


class Arm(NamedTuple):
    """A threshold of None is full depth. `learned`: with the bundle's KV projections."""

    threshold: float | None
    prefill_exit: int | None = None
    learned: bool = False

    @property
    def name(self) -> str:
        return (
            FULL if self.threshold is None else f"{self.prefill_exit or 'none'}{', learned' * self.learned}"
        )


def arms(exit: int, learned: int | None) -> list[Arm]:
    """Args: exit: the first at which the agent decides. learned: the prefill exit for which the bundle has KV projections."""
    layers = (None, *range(exit, max(0, exit - _BELOW - 1), -1))
    tried = [*((layer, False) for layer in layers), *([(learned, True)] if learned is not None else [])]
    return [Arm(None), *(Arm(threshold, *prefill) for prefill in tried for threshold in _THRESHOLDS)]


def measure(runtime: Runtime, args: argparse.Namespace, report: Report) -> Found:
    """See `Measure`."""
    if runtime.agent is None:
        raise Problem("bundle_invalid", f"{args.model} has no agent; train one with `green-code train`.")
    plain, served, shown = without_kv_projections(runtime), runtime.prefill_exit, facts(runtime)
    rows, settings = choose_rows(runtime, args)
    kept = args.work / "experiments" / f"prefill-exits-{rows_digest(rows, runtime.weights)}"
    results: dict[Arm, list[dict[str, Any]]] = {}
    for arm in arms(runtime.exits[0], served if plain is not runtime else None):
        own = runtime if arm.learned else plain
        own.prefill_exit = arm.prefill_exit
        params = by_policy(args.model, "fast", "agent", arm.threshold or 1.0)
        if arm.threshold is None:
            params = by_policy(args.model, "full", "full")
        folder = kept / f"{arm.name}-{arm.threshold}".replace(", ", "-").replace(" ", "-")
        results[arm] = evaluate(own, rows, params, lambda _: None, folder)
        report(f"prefill exit {arm.name}, T={arm.threshold}: {len(rows)} rows")
    full = next(iter(results.values()))
    left_out = {"from_untouched", "rouge_l", "bleu", "chrf"}
    found = [
        {"prefill_exit": arm.name, "threshold": arm.threshold}
        | {key: figure for key, figure in summary.items() if key not in left_out}
        for arm, done in results.items()
        for summary in summaries(done, full, full)
    ]
    tail = f"{EXACT_TAIL + 1} positions"
    return {"settings": {**settings, **shown, "exact tail of a prompt": tail}, "arms": found}


EXPERIMENT = Experiment(
    name="prefill-exits",
    title="At which layer a prompt should stop",
    question="How many joules does a cold completion in `fast` cost, and how good is its text, for each prefill exit and without one?",
    method="Each row's line is completed by a session of its own with an empty cache; the agent decides. All of a prompt but its exact tail "
    "stops at the prefill exit: layers above are not run over these positions, and their keys and values are propagated from the states there. "
    "*None*: no prefill exit; a prompt goes as deep as the first token that needs it. *Learned*: with the bundle's KV projections; elsewhere each "
    "layer's own projections make the keys and values.",
    measure=measure,
    arguments=ROWS,
    tables=(
        Table(
            "arms",
            (
                ("prefill exit", "prefill_exit", ""), ("threshold", "threshold", "2"), ("edit similarity", "edit_similarity", "1"),
                ("from full depth", "from_full", "+1"), ("exact match", "exact_match", "%"), ("depth", "mean_depth", "1"),
                ("same", "same", "%"), ("J", "joules", "2"), ("saved", "saved", "%"),
            ),
            "Prefill exits",
            "*From full depth*: edit similarity less that of the same rows there. *Same*: share of texts that equal full depth's. *Saved*: of "
            "the joules of the same rows at full depth.",
            each=("language",),
        ),
    ),
    plot=Curves(
        "Edit similarity over joules a completion", "arms", "language", "joules", "edit_similarity", "J a completion", "edit similarity", "prefill_exit"
    ),
)  # fmt: skip
