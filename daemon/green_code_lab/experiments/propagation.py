"""What handing states on costs and loses against bringing positions up properly: one policy, two caches, row by row.

Every row is completed cold by a session of its own, once on the cache and once on the propagating cache; the weights,
the decoder, the policy and the prompt's treatment (full depth, see propagating_cache.py) are the same. The decoder is the one that serves: the CPU kernel writes an entry as well as torch does.
Joules are modelled: what was run, times the fitted costs; an entry that was handed on costs the share of its layer that the
projections of keys and values are.
Results are kept in WORK/experiments as they come, so that a cut run resumes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from green_code.decoding.exit_policies import LIKELIEST
from green_code.energy.costs import CostModel, Work, full_depth_work
from green_code.engine.bundle_contents import Parts
from green_code.engine.interfaces import Cancelled
from green_code.engine.runtime import BUDGET_SECONDS, Runtime, Session, load_runtime
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.models.backend import SMALL_BATCH
from green_code.models.families import ModelConfig
from green_code.models.weights import Model
from green_code.settings import default_settings
from green_code_lab.evaluation.datasets import rows_digest
from green_code_lab.evaluation.metrics import bootstrap_interval, mean
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.experiments.layers import plain, taught_layers
from green_code_lab.experiments.propagating_cache import PromptAtFullDepth, PropagatingCache
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.rows import by_policy, choose_rows, facts

FULL, AGENT, CONFIDENCE, FIXED = "full depth", "agent", "confidence", "fixed exit"
STAIRCASE, PROPAGATION = "cache", "propagation"
SCORES = ("edit_similarity", "exact_match", "same_as_full")
SPENT = ("evaluations", "propagated", "joules", "propagation_joules")
CACHES = {STAIRCASE: PromptAtFullDepth, PROPAGATION: PropagatingCache}
_CONFIDENCES = (0.5, 0.7, 0.9)
_DRAWS = 1000


@dataclass(frozen=True)
class Arm:
    """`family` and `setting` name the policy; `cache` is one of CACHES."""

    family: str
    setting: str
    policy: str
    threshold: float = 1.0
    decoding: Literal["full", "fast"] = "fast"
    cache: str = STAIRCASE

    @property
    def name(self) -> str:
        return f"{self.family} {self.setting}".strip() + f", {self.cache}"


def arms(depths: Sequence[int], has_agent: bool) -> list[Arm]:
    """In the order of the page: full depth, and each policy on the cache right before it is on the other cache."""
    thresholds = (default_settings().threshold, LIKELIEST) if has_agent else ()
    policies = [
        *(Arm(AGENT, f"T={t}", "agent", t) for t in thresholds),
        *(Arm(CONFIDENCE, f"τ={c}", f"confidence:{c}") for c in _CONFIDENCES),
        *(Arm(FIXED, str(depth), f"fixed:{depth}") for depth in depths),
    ]
    return [
        Arm(FULL, "", "full", decoding="full"),
        *(replace(arm, cache=cache) for arm in policies for cache in CACHES),
    ]


def run(
    model: str, data: Sequence[Path], work: Path, limit: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into propagation.json.

    Raises:
        Problem: the model, its bundle or the rows are missing or damaged.
    """
    report(f"loading {model}")
    shipped = load_runtime(model)
    served = plain(shipped)  # entries are for the prefill exit, and here states are handed on from any depth
    runtimes = {cache: CacheRuntime(served, cache) for cache in CACHES}
    rows, source = choose_rows(data, work / "corpus", served.vocabulary, limit, seed)
    kept = work / "experiments" / f"propagation-{rows_digest(rows, served.weights)}"
    chosen = arms(taught_layers(served), served.agent is not None)
    results: dict[Arm, list[dict[str, Any]]] = {}
    for arm in chosen:
        params = by_policy(model, arm.decoding, arm.policy, arm.threshold)
        folder = kept / arm.name.replace(", ", "-").replace(" ", "-")
        done = evaluate(runtimes[arm.cache], rows, params, lambda _: None, folder)
        results[arm] = [after_prompt(row, served.costs) for row in done]
        report(f"{arm.name:28} edit similarity {summarise(done)['all']['edit_similarity']:.1f}")
    options: dict[str, object] = {"model": Path(model), "data": data, "limit": limit, "seed": seed}
    return {
        **provenance(shipped, "propagation", options),
        **facts(rows, source, seed),
        "layers": served.layers_total,
        "exits": list(served.exits),
        "taught": list(taught_layers(served)),
        "key_value_share": key_value_share(served.decoder.config),
        "energy_source": served.energy_source,
        "arms": [
            {"family": arm.family, "setting": arm.setting, "cache": arm.cache, **summary}
            for arm in chosen
            for summary in summaries(results[arm], results[chosen[0]], results[replace(arm, cache=STAIRCASE)])
        ],
    }


def key_value_share(config: ModelConfig) -> float:
    """Of a layer's multiply-adds for one position, attention's own left out: those of its K and V projections."""
    both = 2 * config.kv_heads * config.head_width * config.width
    query_and_out = 2 * config.heads * config.head_width * config.width
    mlp = (3 if config.row.gated else 2) * config.mlp_width * config.width
    return both / (both + query_and_out + mlp)


# --- what runs ----------------------------------------------------------------------------------------------


class _Completion(CompletionResult):
    """`propagated` entries of the cache were handed on (0 on the cache), for `propagation_joules` of the joules."""

    propagated: int
    propagation_joules: float


class CacheRuntime(Runtime):
    """The runtime that serves, on another cache. `confidence` asks at all taught layers, the agent at its own.

    Args:
        cache: one of CACHES.
    """

    def __init__(self, served: Runtime, cache: str) -> None:
        opened = Model(served.decoder, served.vocabulary, served.weights)
        network = served.agent.network if served.agent is not None else None
        super().__init__(served.model, opened, None, Parts(network), served.costs)
        self.exits = taught_layers(served)
        self.cache = CACHES[cache]
        # An entry is priced as if its layer were run for this position, which is alone, but for these products only; those that
        # a cache's last layer makes are many at once, and cost what entries were measured at.
        one_layer = served.costs.joules(Work(runs=1, evaluations=1, few=1))
        self.entry_joules = key_value_share(served.decoder.config) * one_layer

    def new_session(self) -> _Session:
        return _Session(self)


class _Session(Session):
    """A session over its runtime's cache."""

    _runtime: CacheRuntime
    _cache: PromptAtFullDepth

    def __init__(self, runtime: CacheRuntime) -> None:
        super().__init__(runtime, lookup=False)

    def trim(self) -> None:
        super().trim()
        self._cache = self._runtime.cache(self._runtime.decoder)

    def complete(
        self, params: CompletionParams, cancelled: Cancelled, budget_seconds: float = BUDGET_SECONDS
    ) -> _Completion:
        """See `Session.complete`; the joules are those of handing on, too."""
        before = self._cache.propagated
        result = super().complete(params, cancelled, budget_seconds)
        propagated = self._cache.propagated - before
        joules = propagated * self._runtime.entry_joules
        return {
            **result,
            "energy_joules": result["energy_joules"] + joules,
            "propagated": propagated,
            "propagation_joules": joules,
        }


def after_prompt(row: dict[str, Any], costs: CostModel) -> dict[str, Any]:
    """A cold row with what it did after the prompt's pass, which is the same in all arms.

    `evaluations`: layer × position, of the positions that gave tokens (the prompt's last is the first of them), as far as
    their exits and as far as they were brought up later. `joules`: of these, of heads, of decisions and of handing on.
    """
    layers, before = row["layers_total"], row["prompt_tokens"] - 1
    if row["reason"] == "no_context":
        before = 0
    pass_ = full_depth_work(layers, before, int(before > 0), SMALL_BATCH)
    pass_ = replace(pass_, heads=0, head_rows=0)  # it says nothing
    evaluations = row["layers_run"] + row["prompt_layers_run"] - pass_.evaluations
    return {**row, "evaluations": evaluations, "joules": row["energy_joules"] - costs.joules(pass_)}


# --- what it comes to ---------------------------------------------------------------------------------------


def summaries(
    done: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]], cache: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A language each: scores, work a token after the prompt, and differences from `cache`, row by row.

    Args:
        full, stairs: the same rows at full depth, and by the same policy on the cache.
    """
    found = []
    for language in dict.fromkeys(row["language"] for row in done):
        own = [i for i, row in enumerate(done) if row["language"] == language]
        rows, there = ([_with_same(of[i], full[i]) for i in own] for of in (done, cache))
        pairs = list(zip(rows, there, strict=True))
        found.append({
            "language": language,
            **{name: mean([row[name] for row in rows]) for name in SCORES},
            **{f"{name}_interval": bootstrap_interval([row[name] for row in rows]) for name in SCORES},
            **{name: _a_token(rows, name) for name in SPENT},
            "mean_depth": mean([depth for row in rows for depth in row["exits"]]),
            "deeper": deeper([row["exits"] for row in rows]),
            "same_as_staircase": mean([a["text"] == b["text"] for a, b in pairs]),
            "from_staircase": {
                **{name: _difference([a[name] - b[name] for a, b in pairs]) for name in SCORES},
                "joules": _joules_difference(pairs),
            },
        })  # fmt: skip
    return found


def _with_same(row: dict[str, Any], full: dict[str, Any]) -> dict[str, Any]:
    return {**row, "same_as_full": row["text"] == full["text"]}


def deeper(completions: Sequence[Sequence[int]]) -> float:
    """Share of tokens whose exit is deeper than one before it in the same completion.

    These alone attend to entries that were handed on: up to layer E, the entries of positions that left at E or deeper
    are computed.
    """
    return mean([
        depth > min(depths[:i], default=depth) for depths in completions for i, depth in enumerate(depths)
    ])  # fmt: skip


def _a_token(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Sums over rows: completions are not equally long on both caches, and what a token costs is asked."""
    total: float = sum(row[name] for row in rows)
    tokens: int = sum(row["tokens"] for row in rows)
    return total / max(1, tokens)


def _joules_difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Of joules a token, with the 95 % bootstrap interval over pairs of rows."""

    def of(drawn: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> float:
        return _a_token([a for a, _ in drawn], "joules") - _a_token([b for _, b in drawn], "joules")

    generator = random.Random(0)
    means = sorted(of(generator.choices(pairs, k=len(pairs))) for _ in range(_DRAWS))
    return {"mean": of(pairs), "interval": (means[int(0.025 * _DRAWS)], means[int(0.975 * _DRAWS)])}


def _difference(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": mean(values), "interval": bootstrap_interval(values)}
