"""What becomes of the text and of the joules where keys and values above a token's exit are made of the state at that exit
(propagation, the paper's cached variant; CALM, arXiv 2207.07061), and not computed when a deeper layer is first needed (the
exact cache)?

Each row's line is completed twice with an empty cache; weights, decoder and policy are the same on both caches. The bundle's
KV projections are left out. All of a prompt but its last position goes to full depth in both, so that the caches differ in
generated positions alone; the paper's prompts do the same. In service's `fast` it is the other way round: only prompts are
propagated (see [prefill-exits](prefill-exits.md)).

Confidence decides at every trained exit, so that its tokens exit at very different depths. The agent sees what going on would
cost: less than in service, as the prompt is at full depth, and less again with propagation, where nothing is pending. What
propagation costs is an estimate: one key and value is priced as the share of running its layer for one position that the
projections are. It is computed when the next token comes, as in the paper, whether it will be read or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from green_code.decoding.exit_policies import LIKELIEST
from green_code.decoding.propagation import PropagatingKVCache
from green_code.engine.loading import Runtime
from green_code.engine.session import Session
from green_code.link.messages import CompletionParams
from green_code.models.config import ModelConfig
from green_code.settings import default_settings
from green_code.work import Work
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.metrics import mean
from green_code_lab.evaluation.run import score
from green_code_lab.experiments.common import (
    Scored,
    by_language,
    by_policy,
    choose_rows,
    trained_exits,
    without_kv_projections,
)
from green_code_lab.experiments.experiment import (
    ROWS,
    Args,
    Experiment,
    Found,
    Report,
    Table,
    interval_figure,
    mean_figure,
)
from green_code_lab.experiments.plots import Bars

FULL = "full depth"
_CONFIDENCES = (0.5, 0.7, 0.9)


class PromptAtFullDepth(PropagatingKVCache):
    """An exact cache, on which all of a prompt but its last position goes to full depth at once."""

    propagated = 0
    """Layer × position keys and values that were made of a state of a layer below."""
    prompt_work = Work()

    def append(self, tokens: Sequence[int]) -> None:
        """See `KVCache.append`."""
        super().append(tokens)
        if len(tokens) > 1:
            last = len(self) - 2
            self.advance(last, self.decoder.config.layers, first_output=last)
            self.prompt_work = self.work.copy()


class PropagatingCache(PromptAtFullDepth):
    """Positions below full depth are propagated when others are added, and cannot be computed any more; without drafts only."""

    def append(self, tokens: Sequence[int]) -> None:
        """See `PromptAtFullDepth.append`. Earlier positions count as having been through all layers afterwards."""
        end, decoder = len(self), self.decoder
        for layer in range(1, decoder.config.layers + 1):
            if (start := self.length(layer)) < end:
                decoder.project_kv(layer, layer, self.buffers, start, end, propagated=False)
                self._extend(layer, layer, start, end, kv_only=False)
                self.propagated += end - start
        super().append(tokens)


class _Session(Session):
    """A session of its own cache, without drafts."""

    def __init__(self, runtime: Runtime, cache: PromptAtFullDepth) -> None:
        super().__init__(runtime, lookup=False)
        self._cache = cache


def policies(runtime: Runtime) -> dict[str, CompletionParams]:
    """By name, full depth first. Confidence decides at all trained exits, so that its tokens exit at very different depths."""
    found = {FULL: by_policy(runtime.model, "full", "full")}
    thresholds = (default_settings().threshold, LIKELIEST) if runtime.agent is not None else ()
    asked = [(f"agent T={t}", "agent", t) for t in thresholds]
    asked += [(f"confidence τ={c}", f"confidence:{c}", 1.0) for c in _CONFIDENCES]
    asked += [(f"fixed exit {depth}", f"fixed:{depth}", 1.0) for depth in trained_exits(runtime)]
    return found | {name: by_policy(runtime.model, "fast", policy, t) for name, policy, t in asked}


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    served = without_kv_projections(runtime)  # which are for the prefill exit; here any depth is propagated
    served.prefill_exit = None
    rows, settings = choose_rows(served, args)
    served.exits = trained_exits(served)  # the agent has its own
    arms, full = list[Found](), list[dict[str, Any]]()
    for name, params in policies(served).items():
        exact = [complete(served, params, row, PromptAtFullDepth) for row in rows]
        full = full or exact
        other = [complete(served, params, row, PropagatingCache) for row in rows] if name != FULL else []
        arms += [{"policy": name, **summary} for summary in summaries(exact, other, full)]
        report(f"{name}: {len(rows)} rows")
    settings["trained exits"] = ", ".join(map(str, served.exits))
    settings["keys and values"] = f"{100 * key_value_share(served.decoder.config):.1f} % of a layer's weights"
    return {"settings": settings, "arms": arms}


def key_value_share(config: ModelConfig) -> float:
    """Of a layer's multiply-adds for one position, attention's own left out: those of its K and V projections."""
    both = 2 * config.kv_heads * config.head_width * config.width
    query_and_out = 2 * config.heads * config.head_width * config.width
    mlp = (3 if config.row.gated else 2) * config.mlp_width * config.width
    return both / (both + query_and_out + mlp)


def complete(
    runtime: Runtime, params: CompletionParams, row: Row, cache_type: type[PromptAtFullDepth]
) -> dict[str, Any]:
    """A row's line, cold, with its scores and what it took after the prompt.

    Propagating one key and value costs the share of running its layer for this position alone that the projections are.
    """
    prices, cache = runtime.costs.prices, cache_type(runtime.decoder, None)
    asked: CompletionParams = {**params, "prefix": row.prefix, "suffix": row.suffix}
    done = _Session(runtime, cache).complete(asked, lambda: None, math.inf)
    work, one_layer = cache.work - cache.prompt_work, Work(1, 1, 1)
    propagating = cache.propagated * key_value_share(runtime.decoder.config) * prices.of(one_layer)
    return {
        "language": row.language, "text": done["text"], "tokens": done["tokens"], "exits": done["exits"], "propagating": propagating,
        "layers": work.layer_positions, "joules": prices.of(work) + propagating, **score(done["text"], row),
    }  # fmt: skip


def summaries(exact: Scored, other: Scored, full: Scored) -> list[Found]:
    """Per language: scores and work a token after the prompt on the exact cache, and what propagation changes.

    Args:
        exact, other: by one policy with computed and with propagated keys and values; `other` may be empty. full: at full depth.
    """
    found = []
    for language, (own, there, last) in by_language(exact, other, full):
        same = [a["text"] == b["text"] for a, b in zip(own, last, strict=True)]
        summary: Found = {
            "language": language, **{name: mean([row[name] for row in own]) for name in ("edit_similarity", "exact_match")},
            "same": mean(same), "depth": mean([depth for row in own for depth in row["exits"]]),
            "layers": _a_token(own, "layers"), "joules": _a_token(own, "joules"),
        }  # fmt: skip
        if there:
            pairs = list(zip(own, there, strict=True))
            same_there = [a["text"] == b["text"] for a, b in zip(there, last, strict=True)]
            summary |= {
                "similarity_change": mean_figure([b["edit_similarity"] - a["edit_similarity"] for a, b in pairs]),
                "same_change": mean_figure([float(b) - float(a) for a, b in zip(same, same_there, strict=True)]),
                "equal_texts": mean([a["text"] == b["text"] for a, b in pairs]), "deeper": deeper([row["exits"] for row in there]),
                "layers_propagated": _a_token(there, "layers"), "joules_change": interval_figure(pairs, _joules_change),
                "propagating": _a_token(there, "propagating"),
            }  # fmt: skip
        found.append(summary)
    return found


def _a_token(rows: Scored, name: str) -> float:
    """Sums over rows: completions are not equally long on both caches."""
    return float(sum(row[name] for row in rows) / max(1, sum(row["tokens"] for row in rows)))


def _joules_change(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> float:
    own, there = zip(*pairs, strict=True)
    return _a_token(there, "joules") - _a_token(own, "joules")


def deeper(completions: Sequence[Sequence[int]]) -> float:
    """Share of tokens whose exit is deeper than one before it in the same completion.

    These alone attend to propagated keys and values: up to layer E, those of positions that exited at E or deeper are computed.
    """
    return mean([d > min(exits[:i], default=d) for exits in completions for i, d in enumerate(exits)])


EXPERIMENT = Experiment(
    "propagation", "What propagated keys and values cost and lose", __doc__, measure, ROWS,
    (
        Table(
            "arms", "Policies",
            "*Change*: propagation less the exact cache, of the column before, row by row. The other columns are of the exact cache. *Same*: texts that "
            "equal full depth's. *Equal texts*: completions that are equal on both caches. *Deeper*: tokens with propagation whose exit is deeper than "
            "one before it in their completion; these alone read what was propagated. *Layers*, *propagated*: layer × position evaluations a token, on "
            "either cache. *mJ*: a token, without the prompt; *propagating*: of it, with propagation.",
            (
                ("policy", "policy", ""), ("edit similarity", "edit_similarity", "1"), ("change", "similarity_change", "+1"),
                ("exact match", "exact_match", "%"), ("same", "same", "%"), ("change", "same_change", "+%"), ("equal texts", "equal_texts", "%"),
                ("depth", "depth", "1"), ("deeper", "deeper", "%"), ("layers", "layers", "1"), ("propagated", "layers_propagated", "1"),
                ("mJ", "joules", "m1"), ("change", "joules_change", "+m1"), ("propagating", "propagating", "m1"),
            ),
            ("language",),
        ),
    ),
    Bars("Edit similarity, propagation less the exact cache", "arms", "language", "policy", (("similarity_change", "edit similarity"),), "edit similarity, propagation less exact"),
)  # fmt: skip
