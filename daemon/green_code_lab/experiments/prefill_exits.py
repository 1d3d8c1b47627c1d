"""How many joules does a cold completion in `fast` cost, and how good is its text, for each prefill exit and without one?

Each row's line is completed by a session of its own with an empty cache; the agent decides. All of a prompt but its exact tail
stops at the prefill exit: layers above are not run over these positions, and their keys and values are propagated from the
states there. *None*: no prefill exit; a prompt goes as deep as the first token that needs it. *Learned*: with the bundle's KV
projections; elsewhere each layer's own projections make the keys and values.
"""

from __future__ import annotations

from green_code.decoding.propagation import EXACT_TAIL
from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.evaluation.datasets import rows_digest
from green_code_lab.evaluation.run import evaluate
from green_code_lab.experiments.common import by_policy, choose_rows, without_kv_projections
from green_code_lab.experiments.experiment import ROWS, Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves
from green_code_lab.experiments.quality import FULL, summaries

_THRESHOLDS = (0.5, 0.7, 0.9, 0.99)
_BELOW = 3  # layers below the first exit that are tried


def arms(exit: int, learned: int | None) -> list[tuple[int | None, bool]]:
    """Prefill exits, and whether with the bundle's KV projections.

    Args:
        exit: the first at which the agent decides. learned: the prefill exit for which the bundle has KV projections.
    """
    layers = (None, *range(exit, max(0, exit - _BELOW - 1), -1))
    return [*((layer, False) for layer in layers), *([(learned, True)] if learned is not None else [])]


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    if runtime.agent is None:
        raise Problem("bundle_invalid", f"{args.model} has no agent; train one with `green-code train`.")
    plain, served = without_kv_projections(runtime), runtime.prefill_exit
    rows, settings = choose_rows(runtime, args)
    kept = args.work / "experiments" / f"prefill-exits-{rows_digest(rows, runtime.weights)}"
    full = evaluate(plain, rows, by_policy(args.model, "full", "full"), lambda _: None, kept / "full")
    found = [{"prefill_exit": FULL, "threshold": None, **summary} for summary in summaries(full, full, full)]
    for prefill_exit, learned in arms(runtime.exits[0], served if plain is not runtime else None):
        own, name = runtime if learned else plain, f"{prefill_exit or 'none'}{', learned' * learned}"
        own.prefill_exit = prefill_exit
        for threshold in _THRESHOLDS:
            params = by_policy(args.model, "fast", "agent", threshold)
            folder = kept / f"{name.replace(', ', '-')}-{threshold}"
            done = evaluate(own, rows, params, lambda _: None, folder)
            found += [{"prefill_exit": name, "threshold": threshold, **s} for s in summaries(done, full, full)]  # fmt: skip
            report(f"prefill exit {name}, T={threshold}: {len(rows)} rows")
    unshown = {"from_untouched", "rouge_l", "bleu", "chrf"}
    shown = [{key: figure for key, figure in arm.items() if key not in unshown} for arm in found]
    return {"settings": {**settings, "exact tail of a prompt": f"{EXACT_TAIL} positions"}, "arms": shown}


EXPERIMENT = Experiment(
    "prefill-exits", "At which layer a prompt should stop", __doc__, measure, ROWS,
    (
        Table(
            "arms", "Prefill exits",
            "*From full depth*: edit similarity less that of the same rows there. *Same*: share of texts that equal full depth's. *Saved*: of the joules "
            "of the same rows at full depth.",
            (
                ("prefill exit", "prefill_exit", ""), ("threshold", "threshold", "2"), ("edit similarity", "edit_similarity", "1"),
                ("from full depth", "from_full", "+1"), ("exact match", "exact_match", "%"), ("depth", "mean_depth", "1"), ("same", "same", "%"),
                ("J", "joules", "2"), ("saved", "saved", "%"),
            ),
            ("language",),
        ),
    ),
    Curves("Edit similarity over joules a completion", "arms", "language", "joules", "edit_similarity", "J a completion", "edit similarity", "prefill_exit" ),
)  # fmt: skip
