"""A loaded model and its sessions: text in, completion out, with its joules.

Here the parts meet: the bundle and the decoder, the cache of each document, the policy and the stop rules, the
cost model. It runs on the engine's one compute thread, or in the process of a command.

Must not know: connections, other sessions, editors.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from green_code.decoding.exit_policies import LIKELIEST, Agent, Full, Policy, agent_on, parse_policy
from green_code.decoding.generate import Generated, generate
from green_code.decoding.healing import Chooser, heal
from green_code.decoding.kv_cache import EXACT_TAIL, KVCache
from green_code.decoding.price_book import PriceBook, Prices
from green_code.decoding.prompt_lookup import NEAR_TOKENS, PromptLookup
from green_code.decoding.stop_rules import Situation
from green_code.energy.costs import CostModel, Work, full_depth_work, prompt_evaluations
from green_code.energy.meters import SHORT_WINDOW_SECONDS
from green_code.engine.bundle_contents import Parts, load_parts
from green_code.engine.interfaces import Cancelled, Progress
from green_code.engine.measured_costs import THREADS, measured_costs
from green_code.kernels.weight_format import weight_formats
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.models.backend import SMALL_BATCH
from green_code.models.bundle import Bundle, bundle_of
from green_code.models.catalog import TINY, find_model
from green_code.models.weights import Model, open_model
from green_code.problems import Problem
from green_code.sequences import common

BUDGET_SECONDS = 5.0  # a completion that takes longer is of no use to anyone
_AFTER_CHARACTERS = 4 * NEAR_TOKENS  # a token of code has 3 to 4


class _Interrupted(Exception):
    """A request was cancelled or superseded between two of the decoder's pieces of work."""

    def __init__(self, refusal: str) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def load_runtime(model: str, progress: Progress = lambda *_: None) -> Runtime:
    """Find, convert if need be, and load a model with its bundle; measure its costs once per machine.

    Raises:
        Problem: the model or its bundle is missing or damaged, or the cache cannot be written.
    """
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)
    found = find_model(model)
    bundle = bundle_of(model)
    opened = open_model(
        found, bundle, weight_formats(), lambda sentence, part: progress("loading", sentence, part)
    )
    parts = Parts()
    if bundle is not None:
        parts = load_parts(bundle, opened.decoder.config, opened.vocabulary)
    exits = bundle.exits if bundle is not None else ()
    costs = measured_costs(opened, exits, 0.2 if model == TINY else SHORT_WINDOW_SECONDS, progress)
    runtime = Runtime(model, opened, bundle, parts, costs)
    _give_back_memory()
    return runtime


def _give_back_memory() -> None:
    """What was freed, glibc would keep: after loading some tens of megabytes, most of them the tokenizer's JSON."""
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another system's C library
        ctypes.CDLL(None).malloc_trim(0)


class Runtime:
    """A loaded model. Its sessions share the weights; only one of them computes at a time."""

    def __init__(
        self,
        model: str,
        opened: Model,
        bundle: Bundle | None,
        parts: Parts,
        costs: CostModel,
    ) -> None:
        self.model = model
        self.bundle = bundle.name if bundle else ""
        self.weights = bundle.digest if bundle else opened.key
        self.calibration: Mapping[str, Any] = bundle.calibration if bundle else {}
        self.exits = bundle.exits if bundle else ()
        self.prefill_exit = bundle.prefill_exit if bundle else None
        self.layers_total = opened.decoder.config.layers
        self.energy_source = costs.source
        self.decoder, self.vocabulary = opened.decoder, opened.vocabulary
        network = parts.network
        self.agent = agent_on(network.to(self.decoder.device), self.decoder) if network else None
        self.ngrams, self.costs = parts.ngrams, costs
        self.chooser = Chooser(opened.vocabulary)

    def new_session(self) -> Session:
        return Session(self)

    def close(self) -> None:
        """Let go of the model, whoever still knows this runtime; its sessions must be gone."""
        on_gpu = self.decoder.device.type == "cuda"
        del self.decoder, self.vocabulary, self.agent, self.ngrams, self.chooser
        if on_gpu:
            torch.cuda.empty_cache()
        _give_back_memory()

    def policy(self, params: CompletionParams) -> Policy:
        """Who decides for this request. Without a bundle there is nothing to decide by: full depth."""
        asks_agent = params["policy"] == "agent"
        if params["decoding"] == "full" or (asks_agent and self.agent is None and not self.exits):
            return Full()
        threshold = 1.0  # in `exact`, what keeps quality is verification
        if asks_agent and params["decoding"] == "fast":
            threshold = self.threshold(params["threshold"])
            if threshold >= 1:
                return Full()  # no probability is greater: there is nothing to ask
        return parse_policy(params["policy"], self.exits, self.layers_total, self.agent, threshold)

    def threshold(self, threshold: float | str) -> float:
        """A number, or the number of a named stop in the bundle's calibration."""
        if not isinstance(threshold, str):
            return threshold
        stops = self.calibration.get("presets", {})
        if threshold not in stops:
            raise Problem(
                "bad_request",
                f"threshold {threshold!r} is not calibrated for {self.model}; use a number from 0.5 to 1 or one of: {', '.join(stops) or 'none'}.",
            )
        return float(stops[threshold]["threshold"])


@dataclass(frozen=True)
class _FullDepth:
    """What the same requests at full depth would have in their cache of the cache's first positions.

    `paid` of them whole. Of the `begun` ones behind, requests that were overtaken before their first token made
    `evaluations`; full depth would have been overtaken as well, so that these are booked, and the others are not yet.
    """

    paid: int = 0
    begun: int = 0
    evaluations: float = 0.0

    def first(self, length: int) -> _FullDepth:
        """The same of the first `length` positions."""
        paid = min(length, self.paid)
        begun = min(length - paid, self.begun)
        return _FullDepth(paid, begun, self.evaluations * begun / self.begun if begun else 0.0)

    def unpaid(self, layers: int) -> int:
        """Layer × position evaluations that are not booked."""
        return max(0, prompt_evaluations(layers, self.begun) - round(self.evaluations))


@dataclass(frozen=True)
class _Before:
    """State of the cache before a request's work, for the difference."""

    runs: int
    evaluations: int
    few: int
    prompt_evaluations: int
    entries: int
    shared: int  # positions of the prompt that were in the cache
    full_depth: _FullDepth  # of these


class Session:
    """One document's cache. A request keeps the longest prefix of tokens that it shares with the last one.

    Args:
        lookup: whether text drafts; without it exits alone do, in `exact`, for experiments.
    """

    def __init__(self, runtime: Runtime, lookup: bool = True) -> None:
        self._runtime, self._lookup = runtime, lookup
        self.trim()

    @property
    def cache_bytes(self) -> int:
        """Keys, values and states, and what drafts are looked up in."""
        lookup = self.price_book.lookup
        return self._cache.cache_bytes + (lookup.memory_bytes if lookup is not None else 0)

    def trim(self) -> None:
        runtime, costs = self._runtime, self._runtime.costs
        self._cache = KVCache(runtime.decoder, prefill_exit=runtime.prefill_exit)
        prices = Prices(
            runtime.layers_total,
            costs.run_joules,
            costs.few_joules,
            costs.evaluation_joules,
            costs.head_joules,
            costs.head_row_joules,
            costs.decision_joules,
        )
        lookup = (
            PromptLookup(runtime.vocabulary, runtime.layers_total, runtime.ngrams) if self._lookup else None
        )
        self.price_book = PriceBook(prices, lookup)
        self._after: tuple[str, list[int]] = "", []
        self._full_depth = _FullDepth()

    def complete(
        self, params: CompletionParams, cancelled: Cancelled, budget_seconds: float = BUDGET_SECONDS
    ) -> CompletionResult:
        """See `contract.Session`. Cancelled requests give an empty text with the refusal as reason.

        `budget_seconds`: no token is begun later than this; what is measured for figures gives no limit.
        """
        runtime, cache = self._runtime, self._cache
        policy = runtime.policy(params)
        exactly, drafting = params["decoding"] == "exact", params["decoding"] != "full"
        if exactly and isinstance(policy, Agent):
            # The threshold keeps quality, and here verification does: whether an exit pays is a matter of prices.
            policy = replace(policy, threshold=LIKELIEST)
        wall, cpu = time.monotonic(), time.process_time()
        earlier, tokens = self._prompt(params["prefix"], params["max_prompt_tokens"])
        keep, required = heal(tokens, runtime.vocabulary)
        blank, propagates = not params["prefix"].strip(), bool(policy.exits) and not exactly
        shared = common(cache.tokens, keep[:-1])
        if not (propagates or blank):
            cache.drop_propagated()
        reused = min(shared, len(cache))
        before = _Before(
            cache.runs,
            cache.evaluations,
            cache.few,
            cache.evaluations_below(reused),
            cache.entries,
            shared,
            self._full_depth.first(shared),
        )
        generated = Generated()
        if blank:
            generated.reason = "no_context"
        else:
            cache.interrupt = lambda: _raise_if(cancelled())
            try:
                cache.truncate(reused)
                cache.append(keep[reused:])
                if propagates:
                    cache.propagate_before(len(keep) - 1 - EXACT_TAIL)
                if drafting:
                    self._look_into(earlier, keep, params["suffix"])
                generate(
                    generated,
                    cache,
                    runtime.vocabulary,
                    runtime.chooser,
                    policy,
                    exactly=exactly,
                    required=required,
                    situation=Situation.at(
                        params["prefix"], params["suffix"], params["single_line"], params["max_lines"]
                    ),
                    max_tokens=params["max_tokens"],
                    deadline=wall + budget_seconds,
                    price_book=self.price_book if drafting else None,
                )
            except _Interrupted as interruption:
                generated.reason = interruption.refusal
                cache.truncate(cache.reached(1))  # what no layer has seen is not cached, and counts anew
            finally:
                cache.interrupt = lambda: None
                if self.price_book.lookup is not None and drafting:
                    self.price_book.lookup.remember(keep, generated.tokens)
        return self._result(
            generated, keep, reused, before, time.monotonic() - wall, time.process_time() - cpu
        )

    def _look_into(self, earlier: Sequence[int], keep: Sequence[int], suffix: str) -> None:
        """What drafts are looked up in: the document. Typing leaves the lines after the cursor's as they are."""
        if (lookup := self.price_book.lookup) is None:
            return
        text = suffix.partition("\n")[2][:_AFTER_CHARACTERS]
        if text != self._after[0]:
            self._after = text, self._runtime.vocabulary.encode(text)
        lookup.document.follow(keep)
        lookup.around(earlier, self._after[1])

    def _prompt(self, prefix: str, limit: int) -> tuple[list[int], list[int]]:
        """Tokens before the window, and those of the window, which ends at the cursor.

        Where the text is cut, the cut moves in steps of half a window.
        """
        vocabulary = self._runtime.vocabulary
        limit = min(limit, self._runtime.decoder.config.max_positions // 2)
        tokens, cut = vocabulary.encode(prefix), 0
        if len(tokens) > limit:
            step = max(1, limit // 2)
            start = -(-(len(tokens) - limit) // step) * step
            line_starts = (
                i + 1
                for i in range(start, min(start + step // 2, len(tokens) - 1))
                if vocabulary.token_bytes[tokens[i]].endswith(b"\n")
            )
            cut = next(line_starts, start)
        bos = [vocabulary.bos] if vocabulary.bos is not None else []
        return tokens[:cut], [*bos, *tokens[cut:]]

    def _result(
        self, generated: Generated, keep: Sequence[int], reused: int, before: _Before, wall: float, cpu: float
    ) -> CompletionResult:
        runtime, cache = self._runtime, self._cache
        evaluations = cache.evaluations - before.evaluations
        prompt_evaluations = cache.evaluations_below(len(keep)) - before.prompt_evaluations
        if generated.reason == "no_context":
            prompt_evaluations = 0  # the cache is as it was, and holds another prompt
        work = Work(
            cache.runs - before.runs,
            evaluations,
            cache.few - before.few,
            generated.effort.heads,
            generated.effort.head_rows,
            generated.effort.decisions,
            cache.entries - before.entries,
        )
        joules, passes = runtime.costs.joules(work), generated.effort.passes
        interrupted = generated.reason in ("cancelled", "superseded")
        layers, known = runtime.layers_total, before.full_depth
        full_work = full_depth_work(layers, len(keep) - before.shared, passes, SMALL_BATCH)
        if passes:
            full_work = replace(full_work, evaluations=full_work.evaluations + known.unpaid(layers))
            self._full_depth = _FullDepth(paid=len(cache))
        elif interrupted:
            begun = max(0, len(cache) - known.paid)
            self._full_depth = _FullDepth(known.paid, begun, known.evaluations + evaluations)
        full = runtime.costs.joules(full_work)
        if interrupted:
            full = max(full, joules)  # full depth would have been interrupted as well: no loss is booked
        text = "" if interrupted else generated.text
        empty = not text.strip() and not interrupted and generated.reason != "no_context"
        return {
            "id": "",
            "text": "" if empty else text,
            "tokens": len(generated.tokens),
            "token_texts": [runtime.vocabulary.decode([token]) for token in generated.tokens],
            "exits": generated.exits,
            "layers_run": evaluations - prompt_evaluations,
            "layers_total": runtime.layers_total,
            "prompt_tokens": len(keep),
            "prompt_reused": reused,
            "prompt_layers_run": prompt_evaluations,
            "energy_joules": joules,
            "energy_full_joules": full,
            "energy_source": runtime.energy_source,
            "saving": 1 - joules / full if full else 0.0,
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "reason": "empty" if empty else generated.reason,
        }


def _raise_if(refusal: str | None) -> None:
    if refusal is not None:
        raise _Interrupted(refusal)
