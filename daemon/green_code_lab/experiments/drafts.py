"""What drafts save while the tokens stay those of full depth: text alone, exits alone, and both.

Every row is completed cold by a session of its own, as `evaluate` does. Joules are modelled: what was run, times the
fitted costs. So this counts work, and needs no quiet machine; a batch's true cost lies a little beside the model's.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from green_code.decoding.draft import AcceptanceRate
from green_code.decoding.exit_policies import LIKELIEST
from green_code.decoding.price_book import ExitRecord, PriceBook
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.energy.costs import full_depth_work
from green_code.engine.runtime import Runtime, Session, load_runtime
from green_code.link.messages import CompletionParams
from green_code.models.backend import SMALL_BATCH
from green_code_lab.corpus import open_corpus
from green_code_lab.evaluation.datasets import Row
from green_code_lab.experiments import draft_priors
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.rows import by_policy, choose_rows, facts

FULL, TEXT, EXITS, BOTH = "full depth", "n-grams", "exits", "n-grams and exits"
_DRAWS = 1000
Interval = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """`asks`: whether the bundle's policy decides where exits draft. `lookup`: whether text drafts."""

    name: str
    decoding: Literal["full", "exact"]
    asks: bool
    lookup: bool


ARMS = (
    Arm(FULL, "full", False, False),
    Arm(TEXT, "exact", False, True),
    Arm(EXITS, "exact", True, False),
    Arm(BOTH, "exact", True, True),
)


@dataclass
class Counts:
    """What the sessions of an arm did. By kind: (asked, right) of drafts that verification reached."""

    rows: list[dict[str, Any]]
    verifications: int
    text: Counter[tuple[int, int, str]]
    corpus: Counter[tuple[int, int, str]]
    exits: Counter[tuple[int, int, str]]


def run(
    model: str, data: Sequence[Path], work: Path, limit: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into drafts.json.

    Raises:
        Problem: the model, its bundle or the rows are missing or damaged.
    """
    report(f"loading {model}")
    runtime = load_runtime(model)
    rows, source = choose_rows(data, work / "corpus", runtime.vocabulary, limit, seed)
    counted: dict[str, Counts] = {}
    for arm in ARMS:
        counted[arm.name] = complete(runtime, rows, arm)
        report(f"{arm.name}: {_ratio(counted[arm.name].rows):.2f}x fewer joules than full depth")
    corpus = work / "corpus"
    if corpus.is_dir():
        report("measuring priors on held-out projects")
        priors = draft_priors.measure(runtime, open_corpus(corpus, runtime.vocabulary, 1, 1), seed)
    else:
        priors = None
    options: dict[str, object] = {"model": Path(model), "data": data, "limit": limit, "seed": seed}
    return {
        **provenance(runtime, "drafts", options),
        **facts(rows, source, seed),
        "policy": policy(runtime),
        "layers": runtime.layers_total,
        "energy_source": runtime.energy_source,
        "arms": [summary(name, counts, counted[FULL].rows, seed) for name, counts in counted.items()],
        "text": _by_kind(counted[TEXT].text, ("length", "agreement")),
        "corpus": _by_kind(counted[TEXT].corpus, ("share", "")),
        "exits": _by_kind(counted[EXITS].exits, ("depth", "confidence")),
        "priors": priors,
    }


def policy(runtime: Runtime) -> str:
    """The agent where the bundle has one; else its first exit, else none."""
    if runtime.agent is not None:
        return "agent"
    return f"fixed:{runtime.exits[0]}" if runtime.exits else "full"


def complete(runtime: Runtime, rows: Sequence[Row], arm: Arm) -> Counts:
    """Complete each row. The agent offers an exit where that is its most likely action: what it drafts is verified."""
    params = by_policy(runtime.model, arm.decoding, policy(runtime) if arm.asks else "full", LIKELIEST)
    counts = Counts([], 0, Counter(), Counter(), Counter())
    for row in rows:
        session = Session(runtime, arm.lookup)
        asked: CompletionParams = {**params, "prefix": row.prefix, "suffix": row.suffix}
        result = session.complete(asked, lambda: None, math.inf)
        # Every arm takes the prompt to full depth: its positions' own part is the same in all.
        passes = result["tokens"] + (result["reason"] == "end_of_text")
        first = full_depth_work(runtime.layers_total, result["prompt_tokens"], min(1, passes), SMALL_BATCH)
        prompt = runtime.costs.joules(replace(first, runs=0, heads=0, head_rows=0))
        counts.rows.append({
            "id": row.id, "language": row.language, "tokens": result["tokens"],
            "passes": passes, "texts": result["token_texts"],
            "joules": result["energy_joules"], "full_joules": result["energy_full_joules"], "prompt_joules": prompt,
        })  # fmt: skip
        counts.verifications += session.price_book.verifications
        _count(session.price_book, runtime, counts)
    return counts


def _count(price_book: PriceBook, runtime: Runtime, counts: Counts) -> None:
    """A rate's counts less its prior's are what verification said."""

    def add(
        into: Counter[tuple[int, int, str]],
        kind: tuple[int, int],
        rate: AcceptanceRate,
        before: AcceptanceRate,
    ) -> None:
        into[kind[0], kind[1], "asked"] += round(rate.asked - before.asked)
        into[kind[0], kind[1], "right"] += round(rate.right - before.right)

    if price_book.lookup is not None:
        fresh = PromptLookup(runtime.vocabulary, runtime.layers_total)
        for kind, rate in price_book.lookup.rates.items():
            add(counts.text, kind, rate, fresh.rates[kind])
        for i, (rate, before) in enumerate(
            zip(price_book.lookup.corpus_rates, fresh.corpus_rates, strict=True)
        ):
            add(counts.corpus, (i, 0), rate, before)
    for depth, record in price_book.exits.items():
        for i, (rate, before) in enumerate(zip(record.rates, ExitRecord().rates, strict=True)):
            add(counts.exits, (depth, i), rate, before)


def summary(name: str, counts: Counts, full: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Sums over rows, with 95 % bootstrap intervals of the ratios."""
    rows, tokens = counts.rows, sum(row["tokens"] for row in counts.rows)
    return {
        "name": name,
        "tokens": tokens,
        "passes": sum(row["passes"] for row in rows),  # at full depth
        "verifications": counts.verifications,
        "same_rows": sum(a["texts"] == b["texts"] for a, b in zip(rows, full, strict=True)) / len(rows),
        "joules_per_token": sum(row["joules"] for row in rows) / tokens if tokens else None,
        "ratio": _ratio(rows),
        "ratio_interval": _interval(rows, False, seed),
        "ratio_after_prompt": _ratio(rows, True),
        "ratio_after_prompt_interval": _interval(rows, True, seed),
    }


def _ratio(rows: Sequence[dict[str, Any]], after_prompt: bool = False) -> float:
    """Joules of full depth over those that were spent; `after_prompt`: both without the prompt positions' own."""
    prompt = sum(row["prompt_joules"] for row in rows) if after_prompt else 0.0
    spent = sum(row["joules"] for row in rows) - prompt
    return (sum(row["full_joules"] for row in rows) - prompt) / spent if spent > 0 else 1.0


def _interval(rows: Sequence[dict[str, Any]], after_prompt: bool, seed: int) -> Interval:
    generator = random.Random(seed)
    drawn = sorted(_ratio(generator.choices(rows, k=len(rows)), after_prompt) for _ in range(_DRAWS))
    return drawn[int(0.025 * _DRAWS)], drawn[int(0.975 * _DRAWS)]


def _by_kind(counts: Counter[tuple[int, int, str]], names: tuple[str, str]) -> list[dict[str, int]]:
    kinds = sorted({(a, b) for a, b, _ in counts})
    return [
        {
            names[0]: a,
            **({names[1]: b} if names[1] else {}),
            "asked": counts[a, b, "asked"],
            "right": counts[a, b, "right"],
        }
        for a, b in kinds
    ]
