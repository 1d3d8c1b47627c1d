"""How many joules does a cold completion cost where the agent, a fixed exit or the head's confidence decides when to stop, and
how good is its text?

Each row's line is completed by a session of its own with an empty cache. In `fast`, prompts stop at the prefill exit, and
deeper layers get keys and values projected from the states there. `exact` and every policy draft from the text around the
cursor; full depth does not. So what exits save comes on top of `exact`. *Untouched* is the base model with the bundle's
vocabulary.
"""

from __future__ import annotations

from green_code.engine.loading import Runtime
from green_code.link.messages import Decoding
from green_code_lab.evaluation.datasets import rows_digest
from green_code_lab.evaluation.metrics import mean
from green_code_lab.evaluation.parallel import cold, jobs_for, workers
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.experiments.common import UNTOUCHED, Scored, by_language, by_policy, choose_rows, untouched
from green_code_lab.experiments.experiment import ROWS, Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Curves

FULL = "full depth"
_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
_CONFIDENCES = (0.5, 0.7, 0.9)
Arm = tuple[str, str, Decoding, str, float]
"""Family, setting, and how rows are completed."""


def arms(runtime: Runtime) -> list[Arm]:
    """In the order of the page; the references first."""
    agent, thresholds = ("agent", _THRESHOLDS) if runtime.agent is not None else ("full", ())
    return [
        (UNTOUCHED, "", "full", "full", 1.0),
        (FULL, "", "full", "full", 1.0),
        ("exact", "", "exact", agent, 1.0),
        *(("agent", f" T={t}", "fast", "agent", t) for t in thresholds),
        *(("confidence", f" τ={c}", "fast", f"confidence:{c}", 1.0) for c in _CONFIDENCES),
        *(("fixed exit", f" {depth}", "fast", f"fixed:{depth}", 1.0) for depth in runtime.exits),
    ]


def measure(adapted: Runtime, args: Args, report: Report) -> Found:
    base = untouched(adapted)
    rows, settings = choose_rows(adapted, args)
    kept = args.work / "experiments" / f"quality-{rows_digest(rows, base.weights, adapted.weights)}"
    results: dict[tuple[str, str], Scored] = {}
    with workers(adapted, jobs_for(adapted)) as complete:
        for family, setting, decoding, policy, threshold in arms(adapted):
            runtime, by = (base, cold(base)) if family == UNTOUCHED else (adapted, complete)
            name, params = family + setting, by_policy(args.model, decoding, policy, threshold)
            done = evaluate(runtime, rows, params, lambda _: None, kept / name.replace(" ", "-"), by)
            results[family, name] = done
            report(f"{name}: edit similarity {summarise(done)['all']['edit_similarity']:.1f}")
    base_rows, full_rows, *_ = results.values()
    found = [
        {"family": family, "policy": name, **summary}
        for (family, name), done in results.items()
        for summary in summaries(done, full_rows, base_rows)
    ]
    return {"settings": settings, "arms": found}


def summaries(done: Scored, full: Scored, base: Scored) -> list[Found]:
    """Per language: scores, joules a completion, what they save of full depth's on the same rows, whatever their length, and
    paired differences of edit similarity."""
    found = []
    for language, (own, full_rows, base_rows) in by_language(done, full, base):
        means = summarise(own)[language]
        joules, full_joules = (sum(row["energy_joules"] for row in rows) / len(rows) for rows in (own, full_rows))  # fmt: skip
        found.append({
            "language": language, "edit_similarity": mean_figure([row["edit_similarity"] for row in own]),
            "from_full": None if done is full else _difference(own, full_rows),
            "from_untouched": None if done is base else _difference(own, base_rows),
            **{name: means[name] for name in ("exact_match", "rouge_l", "bleu", "chrf", "mean_depth")},
            "same": mean([a["text"] == b["text"] for a, b in zip(own, full_rows, strict=True)]),
            "joules": joules, "saved": 1 - joules / full_joules,
        })  # fmt: skip
    return found


def _difference(rows: Scored, others: Scored) -> list[float]:
    name = "edit_similarity"
    return mean_figure([a[name] - b[name] for a, b in zip(rows, others, strict=True)])


EXPERIMENT = Experiment(
    "quality", "What each exit policy saves and loses", __doc__, measure, ROWS,
    (
        Table(
            "arms", "Policies",
            "*From full depth*, *from untouched*: edit similarity less that of the same rows there. *Same*: share of texts that equal full depth's. "
            "*Saved*: of the joules of the same rows at full depth, whose texts may be shorter.",
            (
                ("policy", "policy", ""), ("edit similarity", "edit_similarity", "1"), ("from full depth", "from_full", "+1"),
                ("from untouched", "from_untouched", "+1"), ("exact match", "exact_match", "%"), ("ROUGE-L", "rouge_l", "2"),
                ("BLEU", "bleu", "1"), ("chrF", "chrf", "1"), ("depth", "mean_depth", "1"), ("same", "same", "%"), ("J", "joules", "2"),
                ("saved", "saved", "%"),
            ),
            ("language",),
        ),
    ),
    Curves("Edit similarity over joules a completion", "arms", "language", "joules", "edit_similarity", "J a completion", "edit similarity", "family" ),
)  # fmt: skip
