"""A document's session: text in, completion out, with its joules. One cache, kept from request to request.

Must not know: connections, other sessions, editors.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Full, Policy
from green_code.decoding.generate import Generated, ends_completion, generate, refusal
from green_code.decoding.price_book import PriceBook
from green_code.decoding.prompt_lookup import NEAR_TOKENS, PromptLookup
from green_code.decoding.propagation import EXACT_TAIL, PropagatingKVCache
from green_code.decoding.speculative import decode
from green_code.decoding.stop_rules import Situation
from green_code.decoding.verifier import Decoded, Verifier
from green_code.energy.rows import UNKNOWN
from green_code.engine.accounting import Figures, FullDepthCache, RequestAccount
from green_code.engine.alternatives import alternatives
from green_code.engine.interfaces import Cancelled
from green_code.engine.prompts import Prompt, prompt_of
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.sequences import common
from green_code.work import Work

if TYPE_CHECKING:
    from green_code.engine.loading import Runtime

BUDGET_SECONDS = 5.0  # a later completion is of no use
_SUFFIX_CHARACTERS = 4 * NEAR_TOKENS  # a token of code has 3 to 4


class _Interrupted(Exception):
    """A request was cancelled or superseded between two calls of the decoder."""

    def __init__(self, refusal: str) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Session:
    """One document's cache. A request keeps the longest prefix of tokens that it shares with the last one.

    Args:
        lookup: whether prompt lookup drafts; without it only exits do, in `exact`, for experiments.
    """

    def __init__(self, runtime: Runtime, lookup: bool = True) -> None:
        self._runtime, self._with_lookup = runtime, lookup
        self.trim()

    @property
    def cache_bytes(self) -> int:
        """Memory of keys, values, states and the indexes of prompt lookup."""
        return self._cache.cache_bytes + (self.lookup.memory_bytes if self.lookup is not None else 0)

    @property
    def work(self) -> Work:
        """A copy of what was computed since the caches were dropped."""
        return self._cache.work.copy()

    def trim(self) -> None:
        """See `interfaces.Session`."""
        runtime = self._runtime
        self._cache = PropagatingKVCache(runtime.decoder, runtime.prefill_exit)
        self.book = PriceBook(runtime.costs.prices, runtime.layers_total)
        self.lookup = (
            PromptLookup(runtime.vocabulary, runtime.layers_total, runtime.ngrams) if self._with_lookup else None
        )
        self._suffix: tuple[str, list[int]] = "", []
        self._full_depth = FullDepthCache()

    def complete(
        self, params: CompletionParams, cancelled: Cancelled, budget_seconds: float = BUDGET_SECONDS
    ) -> CompletionResult:
        """See `interfaces.Session`. An interrupted request gives an empty text with the refusal as reason.

        Args:
            budget_seconds: no token is begun later than this.
        """
        runtime, cache = self._runtime, self._cache
        self.book.use(runtime.costs.prices)
        policy = runtime.policy(params)
        wall, cpu = time.monotonic(), time.process_time()
        situation = Situation.at(
            params["prefix"], params["suffix"], params["single_line"], params["max_lines"], params["language"]
        )
        read = self.prompt(params, situation)
        prompt, required = read.tokens, read.required
        blank = not params["prefix"].strip()
        propagates = bool(policy.exits) and params["decoding"] != "exact"
        shared = common(cache.tokens, prompt)
        behind = cache.tokens[shared:] if shared == len(prompt) else []
        if not (propagates or blank):
            cache.drop_propagated()
        reused, resumed = 0, None
        if not blank:
            exits = policy.exits if propagates else ()
            reused, resumed = self._held(prompt, shared, required, exits, params["max_tokens"])
        held = behind if resumed is None else resumed
        account = RequestAccount(cache, len(prompt), shared, held, reused, self._full_depth)
        generated, others = Generated(), list[Generated]()
        drafter, verifier = self._decoders(params, policy, situation)
        if blank:
            generated.reason = "no_context"
        else:
            cache.interrupt = lambda: _raise_if(cancelled())
            try:
                cache.truncate(reused + len(resumed or ()))
                cache.append(prompt[reused:])
                if propagates:
                    cache.propagate_before(len(prompt) - EXACT_TAIL)
                if params["decoding"] != "full":
                    self._index(read, params["suffix"])
                stop = runtime.stop(params)
                refuses = refusal(generated, cache, stop)
                stream = decode(cache, drafter, verifier, required, params["max_tokens"], resumed, refuses)
                finish = partial(
                    generate,
                    counting=cache,
                    vocabulary=runtime.vocabulary,
                    situation=situation,
                    stop=stop,
                    deadline=wall + budget_seconds,
                )
                finish(generated, stream=account.observed(stream), required=required, max_tokens=params["max_tokens"])
                if params["alternatives"] and generated.text.strip():
                    others += self._others(params, policy, situation, read, generated, finish)
            except _Interrupted as interruption:
                generated.reason = interruption.refusal
                cache.truncate(cache.length(1))  # positions that no layer has run over count anew
            finally:
                cache.interrupt = lambda: None
                if self.lookup is not None and params["decoding"] != "full":
                    self.lookup.remember(read.text, generated.tokens)
        interrupted = generated.reason in ("cancelled", "superseded")
        unfinished = interrupted or generated.refused
        figures = account.close(
            runtime.costs.prices,
            not blank,
            generated.passes,
            generated.tokens,
            unfinished,
            [other.passes for other in others],
        )
        self._full_depth = account.full_depth
        seconds = time.monotonic() - wall, time.process_time() - cpu
        result = self._result(generated, figures, read, reused, interrupted, *seconds)
        result["passes"] = verifier.passes
        if not interrupted:
            result["alternatives"] = [other.text for other in others if other.text]
        return result

    def _others(
        self,
        params: CompletionParams,
        policy: Policy,
        situation: Situation,
        read: Prompt,
        first: Generated,
        finish: Callable[..., None],
    ) -> Iterator[Generated]:
        """See `alternatives`: decoded as the first completion is."""
        cache, runtime = self._cache, self._runtime

        def go_on(spelled: list[int], begun: Decoded, before: bytes, left: bytes) -> Generated:
            other, most = Generated(), params["max_tokens"] - len(spelled)
            if self.lookup is not None and params["decoding"] != "full":
                self.lookup.document.follow([*read.text, *spelled, begun.token])
            behind = decode(cache, *self._decoders(params, policy, situation), left, most - 1)
            finish(other, stream=itertools.chain([begun], behind), required=before, max_tokens=most)
            return other

        beginning = len(read.tokens), read.required
        return alternatives(
            cache, runtime.vocabulary, runtime.chooser, *beginning, first, params["alternatives"], go_on
        )

    def _held(
        self, prompt: Sequence[int], shared: int, required: bytes, exits: Sequence[int], max_tokens: int
    ) -> tuple[int, list[int] | None]:
        """How many positions of a prompt are kept; and `resumed` of `speculative.decode`, which are kept behind it.

        While a word is typed, token healing takes it back each time, so that the prompt stays the same.

        Args:
            required: bytes that the first tokens must spell. exits: those that decide the tokens.
        """
        cache, vocabulary, last = self._cache, self._runtime.vocabulary, len(prompt) - 1
        layers = self._runtime.layers_total
        if min(shared, len(cache)) <= last:
            return min(shared, len(cache)), None
        if cache.is_propagated(last):
            return last, None
        depth, depths = cache.depth(last), {*exits, layers}
        if depth not in depths:
            if exits and depth > exits[0]:
                return last, None  # it went deeper for a later token; the exits must decide anew
            return len(prompt), [] if depth == layers - 1 else None  # only the last layer's output is missing, or more
        resumed = list[int]()
        for position in range(last + 1, min(len(cache), last + max_tokens)):
            token = cache.tokens[position]
            if cache.depth(position) not in depths or cache.is_propagated(position):
                break
            if required and not vocabulary.is_compatible(token, required):
                break
            required = self._runtime.chooser.left(required, token)
            resumed.append(token)
        return len(prompt), resumed

    def _decoders(self, params: CompletionParams, policy: Policy, situation: Situation) -> tuple[Drafter, Verifier]:
        """Of the tokens behind the prompt. In `exact` the policy's exits draft, in `fast` they decide."""
        runtime, vocabulary, chooser = self._runtime, self._runtime.vocabulary, self._runtime.chooser
        drafting, deciding = (policy, Full()) if params["decoding"] == "exact" else (Full(), policy)
        if params["decoding"] == "full":
            drafter = Drafter.without_drafts(runtime.layers_total, chooser)
        else:
            drafter = Drafter(
                self.book, self.lookup, drafting, chooser, lambda token: ends_completion(token, vocabulary, situation)
            )
        return drafter, Verifier(deciding, chooser)

    def _index(self, read: Prompt, suffix: str) -> None:
        """Bring prompt lookup's indexes up to date. Typing leaves the lines after the cursor's as they are."""
        if self.lookup is None:
            return
        text = suffix.partition("\n")[2][:_SUFFIX_CHARACTERS]
        if text != self._suffix[0]:
            self._suffix = text, self._runtime.vocabulary.encode(text)
        self.lookup.document.follow(read.text)
        self.lookup.around(read.earlier, self._suffix[1])

    def prompt(self, params: CompletionParams, situation: Situation) -> Prompt:
        """What the model reads for a request."""
        runtime = self._runtime
        return prompt_of(params, situation, runtime.vocabulary, runtime.layout, runtime.positions)

    def _result(
        self,
        generated: Generated,
        figures: Figures,
        read: Prompt,
        reused: int,
        interrupted: bool,
        wall: float,
        cpu: float,
    ) -> CompletionResult:
        runtime = self._runtime
        text = "" if interrupted else generated.text
        known = runtime.energy_source != UNKNOWN
        joules, full_joules = (figures.joules, figures.full_joules) if known else (0.0, 0.0)
        empty = not text.strip() and generated.reason not in ("no_context", "unlikely", "cancelled", "superseded")
        return {
            "id": "",
            "text": "" if empty else text,
            "tokens": len(generated.tokens),
            "token_texts": [runtime.vocabulary.decode([token]) for token in generated.tokens],
            "exits": generated.exits,
            "drafts": [draft or "" for draft in generated.drafts],
            "passes": 0,
            "layers_run": figures.layers_run,
            "layers_total": runtime.layers_total,
            "prompt": read.form,
            "prompt_tokens": len(read.tokens),
            "prompt_reused": reused,
            "prompt_layers_run": figures.prompt_layers_run,
            "energy_joules": joules,
            "energy_full_joules": full_joules,
            "energy_source": runtime.energy_source,
            "saving": 1 - joules / full_joules if full_joules else 0.0,
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "reason": "empty" if empty else generated.reason,
            "confidence": generated.confidence if text.strip() else 0.0,
            "alternatives": [],
        }


def _raise_if(refusal: str | None) -> None:
    if refusal is not None:
        raise _Interrupted(refusal)
