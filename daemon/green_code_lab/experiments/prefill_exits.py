"""Where a prompt should settle: what `fast` saves and loses for each prefill exit, on the same rows, paired with full depth.

Every row is completed cold by a session of its own, as `evaluate` does, by the agent at a few thresholds. Joules are
modelled: what was run, times the fitted costs. Results are kept in WORK/experiments as they come, so that a cut run resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from green_code.decoding.kv_cache import EXACT_TAIL
from green_code.engine.runtime import Runtime, load_runtime
from green_code.problems import Problem
from green_code_lab.evaluation.datasets import Row, rows_digest
from green_code_lab.evaluation.run import evaluate
from green_code_lab.experiments.layers import plain
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.quality import FULL, summaries
from green_code_lab.experiments.rows import by_policy, choose_rows, facts

RISES = "none"  # a prompt rises whole where a token does
_THRESHOLDS = (0.5, 0.7, 0.9, 0.99)
_BELOW = 3  # layers below the first exit that are tried


@dataclass(frozen=True)
class Arm:
    """`family` is the prefill exit, or RISES, or FULL; `setting` the threshold. `learned`: with the bundle's entries."""

    family: str
    setting: str
    prefill_exit: int | None
    threshold: float
    learned: bool = False


def arms(exit: int, learned: int | None) -> list[Arm]:
    """In the order of the page, full depth first; `exit` is the first at which the agent decides, `learned` the prefill exit for which
    the bundle has entries."""
    prefill_exits = [
        (None, False),
        *((prefill_exit, False) for prefill_exit in range(exit, max(0, exit - _BELOW - 1), -1)),
    ]
    if learned is not None:
        prefill_exits.append((learned, True))
    return [
        Arm(FULL, "", None, 1.0),
        *(
            Arm(_family(prefill_exit, with_entries), f"T={threshold}", prefill_exit, threshold, with_entries)
            for prefill_exit, with_entries in prefill_exits
            for threshold in _THRESHOLDS
        ),
    ]


def _family(prefill_exit: int | None, learned: bool) -> str:
    return RISES if prefill_exit is None else f"{prefill_exit}, learned" if learned else str(prefill_exit)


def run(
    model: str, data: Sequence[Path], work: Path, limit: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into prefill exits.json.

    Raises:
        Problem: the model, its bundle or the rows are missing or damaged, or the bundle has no agent.
    """
    report(f"loading {model}")
    runtime = load_runtime(model)
    without, served = plain(runtime), runtime.prefill_exit
    if runtime.agent is None:
        raise Problem("bundle_invalid", f"{model} has no agent; train one with `green-code train`.")
    rows, source = choose_rows(data, work / "corpus", runtime.vocabulary, limit, seed)
    kept = work / "experiments" / f"prefill exits-{rows_digest(rows, runtime.weights)}"
    results = dict[Arm, list[dict[str, Any]]]()
    for arm in arms(runtime.exits[0], served if without is not runtime else None):
        asked = runtime if arm.learned else without
        asked.prefill_exit = arm.prefill_exit
        results[arm] = _complete(asked, rows, arm, kept / f"{arm.family}-{arm.setting}".replace(" ", "-"))
        report(f"prefill exit {arm.family} {arm.setting}: {len(rows)} rows")
    full = next(iter(results.values()))
    options: dict[str, object] = {"model": Path(model), "data": data, "limit": limit, "seed": seed}
    return {
        **provenance(runtime, "prefill_exits", options),
        **facts(rows, source, seed),
        "layers": runtime.layers_total,
        "exits": list(runtime.exits),
        "prefill_exit": served,
        "rising": EXACT_TAIL,
        "energy_source": runtime.energy_source,
        "arms": [
            {"family": arm.family, "setting": arm.setting, **summary}
            for arm, done in results.items()
            for summary in summaries(done, full, full)
        ],
    }


def _complete(runtime: Runtime, rows: Sequence[Row], arm: Arm, folder: Path) -> list[dict[str, Any]]:
    params = by_policy(runtime.model, "full" if arm.family == FULL else "fast", "agent", arm.threshold)
    return evaluate(runtime, rows, params, lambda _: None, folder)
