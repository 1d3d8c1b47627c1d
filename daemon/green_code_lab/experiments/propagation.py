"""What propagated keys and values cost and lose against computed ones: one policy, two caches, row by row.

A token that exits at layer E has no states above it. The exact cache computes them when a deeper layer is first needed. With
propagation, the state at E goes into the key and value projections of every layer above as soon as the next token comes
(state copying: CALM, arXiv 2207.07061; the paper's cached variant). Prompts go to full depth in both.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from green_code.engine.loading import Runtime
from green_code.work import Work

from green_code.decoding.exit_policies import LIKELIEST, Full, Policy, parse_policy
from green_code.decoding.generate import Generated, generate
from green_code.decoding.healing import heal
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_rules import Situation
from green_code.models.families import ModelConfig
from green_code.settings import PROMPT_TOKENS, TOKENS_PER_LINE, default_settings
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.metrics import mean
from green_code_lab.evaluation.run import score
from green_code_lab.experiments.experiment import (
    ROWS,
    Experiment,
    Found,
    Report,
    Table,
    interval_figure,
    mean_figure,
    ratio,
)
from green_code_lab.experiments.plots import Bars
from green_code_lab.experiments.rows import choose_rows
from green_code_lab.experiments.runtimes import facts, trained_exits, without_drafts, without_kv_projections

FULL = "full depth"
_CONFIDENCES = (0.5, 0.7, 0.9)
Rows = Sequence[dict[str, Any]]


class PromptAtFullDepth(KVCache):
    """The exact cache, on which all of a prompt but its last position goes to full depth at once."""

    propagated = 0
    """Layer × position keys and values that were made of a state of a layer below."""

    def append(self, tokens: Sequence[int]) -> None:
        """See `KVCache.append`."""
        super().append(tokens)
        if len(tokens) > 1:
            last = len(self) - 2
            self.advance(last, self.decoder.config.layers, first_output=last)


class PropagatingCache(PromptAtFullDepth):
    """Positions below full depth are propagated when others are added, and cannot be computed any more; without drafts only."""

    def append(self, tokens: Sequence[int]) -> None:
        """See `PromptAtFullDepth.append`. Earlier positions count as having been through all layers afterwards."""
        end, decoder, buffers = len(self), self.decoder, (self._keys, self._values)
        for layer in range(1, decoder.config.layers + 1):
            if (start := self.length(layer)) < end:
                decoder.project_kv(layer, layer, self._states, start, end, *buffers, propagated=False)
                self._extend(layer, layer, start, end, kv_only=False)
                self.propagated += end - start
        super().append(tokens)


def policies(runtime: Runtime) -> dict[str, Policy]:
    """By name, full depth first. Confidence decides at all trained exits, so that its tokens exit at very different depths."""
    trained = trained_exits(runtime)
    parse = partial(
        parse_policy, exits=trained, layers=runtime.layers_total, agent=runtime.agent, threshold=1.0
    )
    found: dict[str, Policy] = {FULL: Full()}
    if runtime.agent is not None:
        thresholds = (default_settings().threshold, LIKELIEST)
        found |= {f"agent T={t}": parse("agent", threshold=t) for t in thresholds}
    found |= {f"confidence τ={c}": parse(f"confidence:{c}") for c in _CONFIDENCES}
    return found | {f"fixed exit {depth}": parse(f"fixed:{depth}") for depth in trained}


def measure(runtime: Runtime, args: argparse.Namespace, report: Report) -> Found:
    """See `Measure`."""
    served = without_kv_projections(runtime)  # which are for the prefill exit; here any depth is propagated
    rows, settings = choose_rows(served, args)
    arms, full = list[Found](), list[dict[str, Any]]()
    for name, policy in policies(served).items():
        exact = [complete(served, policy, row, PromptAtFullDepth) for row in rows]
        full = full or exact
        other = [complete(served, policy, row, PropagatingCache) for row in rows] if policy.exits else []
        arms += [{"policy": name, **summary} for summary in summaries(exact, other, full)]
        report(f"{name}: {len(rows)} rows")
    key_value = f"{100 * key_value_share(served.decoder.config):.1f} % of a layer's weights"
    trained = ", ".join(map(str, trained_exits(served)))
    return {
        "settings": {**settings, **facts(served), "trained exits": trained, "keys and values": key_value},
        "arms": arms,
    }


def key_value_share(config: ModelConfig) -> float:
    """Of a layer's multiply-adds for one position, attention's own left out: those of its K and V projections."""
    both = 2 * config.kv_heads * config.head_width * config.width
    query_and_out = 2 * config.heads * config.head_width * config.width
    mlp = (3 if config.row.gated else 2) * config.mlp_width * config.width
    return both / (both + query_and_out + mlp)


def complete(
    runtime: Runtime, policy: Policy, row: Row, cache_type: type[PromptAtFullDepth]
) -> dict[str, Any]:
    """A row's line, cold, with its scores and what it took after the prompt.

    Propagating one key and value costs the share of running its layer for this position alone that the projections are.
    """
    vocabulary, prices = runtime.vocabulary, runtime.costs.prices
    start = [vocabulary.bos] if vocabulary.bos is not None else []
    prompt, required = heal([*start, *vocabulary.encode(row.prefix)[-PROMPT_TOKENS:]], vocabulary)
    cache, done = cache_type(runtime.decoder), Generated()
    cache.append(prompt)
    before = cache.work.copy()
    generate(
        done, without_drafts(cache, runtime, policy, required), vocabulary, required=required, max_tokens=TOKENS_PER_LINE,
        situation=Situation.at(row.prefix, row.suffix, True, 1), deadline=math.inf,
    )  # fmt: skip
    work, one_layer = cache.work - before, Work(layer_batches=1, layer_positions=1, small_batch_positions=1)
    propagating = cache.propagated * key_value_share(runtime.decoder.config) * prices.of(one_layer)
    return {
        "language": row.language, "text": done.text, "tokens": len(done.tokens), "exits": done.exits, "propagating": propagating,
        "layers": work.layer_positions, "joules": prices.of(work) + propagating, **score(done.text, row),
    }  # fmt: skip


def summaries(exact: Rows, other: Rows, full: Rows) -> list[Found]:
    """Per language: scores and work a token after the prompt on the exact cache, and what propagation changes.

    Args:
        exact, other: by one policy with computed and with propagated keys and values; `other` may be empty. full: at full depth.
    """
    found = []
    for language in dict.fromkeys(row["language"] for row in exact):
        own, there, last = (
            [row for row in rows if row["language"] == language] for rows in (exact, other, full)
        )
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


def _a_token(rows: Rows, name: str) -> float:
    """Sums over rows: completions are not equally long on both caches."""
    return ratio([(row[name], row["tokens"]) for row in rows])


def _joules_change(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> float:
    own, there = zip(*pairs, strict=True)
    return _a_token(there, "joules") - _a_token(own, "joules")


def deeper(completions: Sequence[Sequence[int]]) -> float:
    """Share of tokens whose exit is deeper than one before it in the same completion.

    These alone attend to propagated keys and values: up to layer E, those of positions that exited at E or deeper are computed.
    """
    return mean([d > min(exits[:i], default=d) for exits in completions for i, d in enumerate(exits)])


EXPERIMENT = Experiment(
    name="propagation",
    title="What propagated keys and values cost and lose",
    question="What becomes of the text and of the joules where keys and values above a token's exit are made of the state at that exit "
    "(propagation, the paper's cached variant), and not computed when a deeper layer is first needed (the exact cache)?",
    method="Each row's line is completed twice with an empty cache; weights, decoder and policy are the same on both caches. The bundle's KV "
    "projections are left out. All of a prompt but its last position goes to full depth in both, so that the caches differ in generated "
    "positions alone; the paper's prompts do the same. In service's `fast` it is the other way round: only prompts are propagated (see "
    "[prefill-exits](prefill-exits.md)).\n\nConfidence decides at every trained exit, so that its tokens exit at very different depths. The agent "
    "sees what going on would cost: less than in service, as the prompt is at full depth, and less again with propagation, where nothing is "
    "pending. What propagation costs is an estimate: one key and value is priced as the share of running its layer for one position that the "
    "projections are. It is computed when the next token comes, as in the paper, whether it will be read or not.",
    measure=measure,
    arguments=ROWS,
    tables=(
        Table(
            "arms",
            (
                ("policy", "policy", ""), ("edit similarity", "edit_similarity", "1"), ("change", "similarity_change", "+1"),
                ("exact match", "exact_match", "%"), ("same", "same", "%"), ("change", "same_change", "+%"), ("equal texts", "equal_texts", "%"),
                ("depth", "depth", "1"), ("deeper", "deeper", "%"), ("layers", "layers", "1"), ("propagated", "layers_propagated", "1"),
                ("mJ", "joules", "m1"), ("change", "joules_change", "+m1"), ("propagating", "propagating", "m1"),
            ),
            "Policies",
            "*Change*: propagation less the exact cache, of the column before, row by row. The other columns are of the exact cache. *Same*: texts "
            "that equal full depth's. *Equal texts*: completions that are equal on both caches. *Deeper*: tokens with propagation whose exit is deeper "
            "than one before it in their completion; these alone read what was propagated. *Layers*, *propagated*: layer × position evaluations a "
            "token, on either cache. *mJ*: a token, without the prompt; *propagating*: of it, with propagation.",
            each=("language",),
        ),
    ),
    plot=Bars(
        "Edit similarity, propagation less the exact cache", "arms", "language", "policy", (("similarity_change", "edit similarity"),),
        "edit similarity, propagation less exact",
    ),
)  # fmt: skip
