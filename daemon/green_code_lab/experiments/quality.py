"""What each policy saves on real completions, and what it loses: every rival on the same rows, paired.

Every row is completed cold by a session of its own, as `evaluate` does. Two references: the bundle at full depth, and
the untouched model (the base model with the bundle's vocabulary). Joules are modelled: what was run, times the fitted
costs. Results are kept in WORK/experiments as they come, so that a cut run resumes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from green_code.engine.runtime import Runtime, load_runtime
from green_code_lab.evaluation.datasets import rows_digest
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.evaluation.parallel import Complete, cold, jobs_for, workers
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.evaluation.words import KEYWORDS
from green_code_lab.experiments.layers import untouched
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.rows import by_policy, choose_rows, facts

UNTOUCHED, FULL, EXACT = "untouched", "full depth", "exact"
AGENT, FIXED, CONFIDENCE = "agent", "fixed exit", "confidence"
SCORES = ("edit_similarity", "exact_match", "rouge_l", "bleu", "chrf")
_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
KINDS_AT = 0.8  # of these, where tokens are told apart by kind
_CONFIDENCES = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Arm:
    """`family` and `setting` name it; the untouched model's is a family of its own."""

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
    thresholds = _THRESHOLDS if has_agent else ()
    return [
        Arm(UNTOUCHED, "", "full"),
        Arm(FULL, "", "full"),
        Arm(EXACT, "", "exact", "agent" if has_agent else "full"),
        *(Arm(AGENT, f"T={t}", "fast", "agent", t) for t in thresholds),
        *(Arm(CONFIDENCE, f"τ={c}", "fast", f"confidence:{c}") for c in _CONFIDENCES),
        *(Arm(FIXED, str(depth), "fast", f"fixed:{depth}") for depth in exits),
    ]


def run(
    model: str, data: Sequence[Path], work: Path, limit: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into quality.json.

    Raises:
        Problem: the model, its bundle or the rows are missing or damaged.
    """
    report(f"loading {model}, adapted and untouched")
    adapted = load_runtime(model)
    base = untouched(adapted)
    rows, source = choose_rows(data, work / "corpus", adapted.vocabulary, limit, seed)
    kept = work / "experiments" / f"quality-{rows_digest(rows, base.weights, adapted.weights)}"
    chosen = arms(adapted.exits, adapted.agent is not None)
    results: dict[str, list[dict[str, Any]]] = {}
    with workers(adapted, jobs_for(adapted)) as complete:
        for arm in chosen:
            runtime, who = (base, cold(base)) if arm.family == UNTOUCHED else (adapted, complete)
            results[arm.name] = _complete(runtime, rows, arm, kept / arm.name.replace(" ", "-"), who)
            means = summarise(results[arm.name])["all"]
            report(
                f"{arm.name:16} edit similarity {means['edit_similarity']:.1f}, {means['saving']:.0%} saved"
            )
    options: dict[str, object] = {"model": Path(model), "data": data, "limit": limit, "seed": seed}
    return {
        **provenance(adapted, "quality", options),
        **facts(rows, source, seed),
        "layers": adapted.layers_total,
        "exits": list(adapted.exits),
        "prefill_exit": adapted.prefill_exit,
        "energy_source": adapted.energy_source,
        "arms": [
            {"family": arm.family, "setting": arm.setting, **summary}
            for arm in chosen
            for summary in summaries(results[arm.name], results[FULL], results[UNTOUCHED])
        ],
        "exit_counts": {
            arm.setting: exit_counts(results[arm.name], adapted.layers_total)
            for arm in chosen
            if arm.family == AGENT
        },
        "kinds": kinds(results.get(f"{AGENT} T={KINDS_AT}", [])),
    }


def _complete(
    runtime: Runtime, rows: Any, arm: Arm, folder: Path, complete: Complete
) -> list[dict[str, Any]]:
    params = by_policy(runtime.model, arm.decoding, arm.policy, arm.threshold)
    return evaluate(runtime, rows, params, lambda _: None, folder, complete)


def summaries(
    done: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A language each: scores, joules a completion, what they save of full depth's on the same rows, whatever their length,
    and paired differences of edit similarity with their intervals."""
    found = []
    for language in dict.fromkeys(row["language"] for row in done):
        own = [i for i, row in enumerate(done) if row["language"] == language]
        means = summarise([done[i] for i in own])[language]
        joules, joules_full = (sum(rows[i]["energy_joules"] for i in own) / len(own) for rows in (done, full))
        found.append({
            "language": language,
            **{name: means[name] for name in (*SCORES, "edit_similarity_interval", "mean_depth")},
            "joules": joules,
            "saving": 1 - joules / joules_full,
            "same_as_full": sum(done[i]["text"] == full[i]["text"] for i in own) / len(own),
            **_difference("full", done, full, own),
            **_difference("untouched", done, base, own),
        })  # fmt: skip
    return found


def _difference(
    name: str, done: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], own: Sequence[int]
) -> dict[str, Any]:
    values = [done[i]["edit_similarity"] - other[i]["edit_similarity"] for i in own]
    return {f"from_{name}": sum(values) / len(values), f"from_{name}_interval": bootstrap_interval(values)}


# --- layers by kind of token ------------------------------------------------------------------------------


def exit_counts(done: Sequence[dict[str, Any]], layers: int) -> dict[str, int]:
    """Tokens by the layer that gave them, the last layer's always among them."""
    counts = Counter(depth for row in done for depth in row["exits"])
    return {str(depth): counts[depth] for depth in sorted({*counts, layers})}


def kinds(done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many tokens of each kind left at which depth."""
    counts: Counter[tuple[str, int]] = Counter()
    for row in done:
        for text, depth in zip(row["token_texts"], row["exits"], strict=True):
            counts[kind(text, row["language"]), depth] += 1
    depths = sorted({depth for _, depth in counts})
    return [
        {"kind": name, "depths": {str(depth): counts[name, depth] for depth in depths}}
        for name in sorted({name for name, _ in counts})
    ]


def kind(text: str, language: str) -> str:
    """Of a token by its own text: a piece of a word counts as an identifier."""
    word = text.strip()
    if not word:
        return "layout"
    if word in KEYWORDS.get(language, ()):
        return "keyword"
    if re.fullmatch(r"\d[\w.]*|[\"'].*", word, re.DOTALL):
        return "literal"
    return "identifier" if re.search(r"\w", word) else "punctuation"
