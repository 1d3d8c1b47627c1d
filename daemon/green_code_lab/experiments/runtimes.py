"""The loaded model in the forms that experiments compare, and decoding of prompts of tokens as sessions do it, cold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from green_code.decoding.bundle_contents import read_contents
from green_code.decoding.propagation import EXACT_TAIL, PropagatingKVCache
from green_code.decoding.speculative import decode
from green_code.decoding.verifier import Verifier
from green_code.engine.loading import Runtime

from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Full, Policy
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import PriceBook
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.kernels.weight_format import weight_formats
from green_code.models.bundle import KV_PROJECTIONS, PARTS, VOCABULARY, Bundle, bundle_of
from green_code.models.catalog import find_model
from green_code.models.weights import open_model

UNTOUCHED = "untouched"
Mode = Literal["exact", "fast"]


def untouched(adapted: Runtime) -> Runtime:
    """The base model with the same vocabulary. Its costs are the same, since costs are those of the shape."""
    bare = bare_bundle(adapted.model)
    return adapted if bare is None else _with_bundle(adapted, bare)


def without_kv_projections(served: Runtime) -> Runtime:
    """The same model and bundle, but each layer's own projections make the keys and values that are propagated."""
    bundle = bundle_of(served.model)
    if bundle is None or bundle.part(KV_PROJECTIONS) is None:
        return served
    return _with_bundle(served, bundle.without(KV_PROJECTIONS))


def bare_bundle(model: str) -> Bundle | None:
    """A model's bundle with nothing of it but the vocabulary; None where it has no bundle."""
    if (bundle := bundle_of(model)) is None:
        return None
    return replace(bundle.without(*(part for part in PARTS if part != VOCABULARY)), calibration={})


def _with_bundle(served: Runtime, bundle: Bundle) -> Runtime:
    contents = read_contents(bundle)
    opened = open_model(find_model(served.model), bundle, contents.adapters, weight_formats())
    return Runtime(served.model, opened, contents, served.costs)


def trained_exits(adapted: Runtime) -> tuple[int, ...]:
    """The layers that adaptation trained as exits; an agent may decide at fewer. Of a bundle without training, its exits."""
    if (bundle := bundle_of(adapted.model)) is None:
        return adapted.exits
    recipe = bundle.manifest.get("training", {}).get("recipe", {})
    return tuple(sorted(itertools.chain(*recipe.get("exit_groups", [])))) or adapted.exits


def facts(runtime: Runtime) -> dict[str, Any]:
    """Settings for a page: what of the runtime shapes `fast`, and where joules are from."""
    return {
        "exits": f"{', '.join(map(str, runtime.exits))} of {runtime.layers_total} layers",
        "prefill exit": runtime.prefill_exit or "none",
        "joules": f"what was computed times fitted costs (source: {runtime.energy_source}), no reading of a meter",
    }


def drafting_policy(runtime: Runtime) -> str:
    """The agent where the bundle has one; else its first exit, else none."""
    if runtime.agent is not None:
        return "agent"
    return f"fixed:{runtime.exits[0]}" if runtime.exits else "full"


def without_drafts(
    cache: KVCache, runtime: Runtime, policy: Policy, required: bytes = b""
) -> Iterator[tuple[int, int]]:
    """(token, depth) behind the cache's last position, without end."""
    chooser = runtime.chooser
    drafter = Drafter.without_drafts(runtime.layers_total, chooser)
    return decode(cache, drafter, Verifier(policy, chooser), chooser, required)


def stream(
    runtime: Runtime, prompt: Sequence[int], policy: Policy, served: Mode | None, max_tokens: int
) -> tuple[KVCache, Iterator[tuple[int, int]]]:
    """Tokens behind a prompt, cold, which no stop rule ends.

    Args:
        served: None: without drafts, and the prompt goes as deep as the tokens. Else as a session completes: prompt lookup
            drafts, and in `fast` the prompt stops at the bundle's prefill exit.
    Returns:
        The cache, which counts the work, and (token, depth).
    """
    chooser, layers = runtime.chooser, runtime.layers_total
    cache = PropagatingKVCache(runtime.decoder, runtime.prefill_exit if served == "fast" else None)
    cache.append(prompt)
    if served is None:
        return cache, without_drafts(cache, runtime, policy)
    cache.propagate_before(len(prompt) - 1 - EXACT_TAIL)
    lookup = PromptLookup(runtime.vocabulary, layers, runtime.ngrams)
    lookup.document.follow(prompt)
    drafting, deciding = (policy, Full()) if served == "exact" else (Full(), policy)
    drafter = Drafter(PriceBook(runtime.costs.prices, layers), lookup, drafting, chooser)
    return cache, decode(cache, drafter, Verifier(deciding, chooser), chooser, max_tokens=max_tokens)
