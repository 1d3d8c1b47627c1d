"""What each policy saves on real completions, and what it loses: all on the same rows, paired.

Every row is completed cold by a session of its own, as `evaluate` does. Two references: the bundle at full depth, and the
untouched model. Results are kept in WORK/experiments as they come, so that a cut run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from green_code.engine.loading import Runtime

from green_code_lab.evaluation.datasets import rows_digest
from green_code_lab.evaluation.parallel import cold, jobs_for, workers
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.experiments.experiment import ROWS, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Curves
from green_code_lab.experiments.rows import by_policy, choose_rows
from green_code_lab.experiments.runtimes import UNTOUCHED, facts, untouched

FULL = "full depth"
_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
_CONFIDENCES = (0.5, 0.7, 0.9)


class Arm(NamedTuple):
    """How rows are completed; the untouched model's is a family of its own."""

    family: str
    setting: str
    decoding: Literal["full", "fast", "exact"]
    policy: str = "full"
    threshold: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.family} {self.setting}".strip()


def arms(exits: Sequence[int], has_agent: bool) -> list[Arm]:
    """In the order of the page; the references first."""
    return [
        Arm(UNTOUCHED, "", "full"),
        Arm(FULL, "", "full"),
        Arm("exact", "", "exact", "agent" if has_agent else "full"),
        *(Arm("agent", f"T={t}", "fast", "agent", t) for t in (_THRESHOLDS if has_agent else ())),
        *(Arm("confidence", f"τ={c}", "fast", f"confidence:{c}") for c in _CONFIDENCES),
        *(Arm("fixed exit", str(depth), "fast", f"fixed:{depth}") for depth in exits),
    ]


def measure(adapted: Runtime, args: argparse.Namespace, report: Report) -> Found:
    """See `Measure`."""
    base = untouched(adapted)
    rows, settings = choose_rows(adapted, args)
    kept = args.work / "experiments" / f"quality-{rows_digest(rows, base.weights, adapted.weights)}"
    results: dict[Arm, list[dict[str, Any]]] = {}
    with workers(adapted, jobs_for(adapted)) as complete:
        for arm in arms(adapted.exits, adapted.agent is not None):
            runtime, by = (base, cold(base)) if arm.family == UNTOUCHED else (adapted, complete)
            params = by_policy(args.model, arm.decoding, arm.policy, arm.threshold)
            folder = kept / arm.name.replace(" ", "-")
            results[arm] = evaluate(runtime, rows, params, lambda _: None, folder, by)
            report(f"{arm.name}: edit similarity {summarise(results[arm])['all']['edit_similarity']:.1f}")
    base_rows, full_rows, *_ = results.values()
    found = [
        {"family": arm.family, "policy": arm.name, **summary}
        for arm, done in results.items()
        for summary in summaries(done, full_rows, base_rows)
    ]
    return {"settings": {**settings, **facts(adapted)}, "arms": found}


def summaries(
    done: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]
) -> list[Found]:
    """Per language: scores, joules a completion, what they save of full depth's on the same rows, whatever their length, and
    paired differences of edit similarity."""
    found = []
    for language in dict.fromkeys(row["language"] for row in done):
        mine, theirs, bare = ([r for r in of if r["language"] == language] for of in (done, full, base))
        means = summarise(mine)[language]
        joules, joules_full = (
            sum(row["energy_joules"] for row in rows) / len(rows) for rows in (mine, theirs)
        )
        found.append({
            "language": language, "edit_similarity": mean_figure([row["edit_similarity"] for row in mine]),
            "from_full": None if done is full else _difference(mine, theirs),
            "from_untouched": None if done is base else _difference(mine, bare),
            **{name: means[name] for name in ("exact_match", "rouge_l", "bleu", "chrf", "mean_depth")},
            "same": sum(a["text"] == b["text"] for a, b in zip(mine, theirs, strict=True)) / len(mine),
            "joules": joules, "saved": 1 - joules / joules_full,
        })  # fmt: skip
    return found


def _difference(rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> list[float]:
    name = "edit_similarity"
    return mean_figure([a[name] - b[name] for a, b in zip(rows, others, strict=True)])


EXPERIMENT = Experiment(
    name="quality",
    title="What each exit policy saves and loses",
    question="How many joules does a cold completion cost where the agent, a fixed exit or the head's confidence decides when to stop, and how "
    "good is its text?",
    method="Each row's line is completed by a session of its own with an empty cache. In `fast`, prompts stop at the prefill exit, and deeper "
    "layers get keys and values projected from the states there. `exact` and every policy draft from the text around the cursor; full depth "
    "does not. So what exits save comes on top of `exact`. *Untouched* is the base model with the bundle's vocabulary.",
    measure=measure,
    arguments=ROWS,
    tables=(
        Table(
            "arms",
            (
                ("policy", "policy", ""), ("edit similarity", "edit_similarity", "1"), ("from full depth", "from_full", "+1"),
                ("from untouched", "from_untouched", "+1"), ("exact match", "exact_match", "%"), ("ROUGE-L", "rouge_l", "2"),
                ("BLEU", "bleu", "1"), ("chrF", "chrf", "1"), ("depth", "mean_depth", "1"), ("same", "same", "%"), ("J", "joules", "2"),
                ("saved", "saved", "%"),
            ),
            "Policies",
            "*From full depth*, *from untouched*: edit similarity less that of the same rows there. *Same*: share of texts that equal full "
            "depth's. *Saved*: of the joules of the same rows at full depth, whose texts may be shorter.",
            each=("language",),
        ),
    ),
    plot=Curves(
        "Edit similarity over joules a completion", "arms", "language", "joules", "edit_similarity", "J a completion", "edit similarity", "family"
    ),
)  # fmt: skip
