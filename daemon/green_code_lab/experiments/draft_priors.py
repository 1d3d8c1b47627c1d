"""How often drafts are right before a session has learned anything: the priors of `decoding/lookup.py` and `price_book.py`.

Measured on the corpus' held-out projects. A window of a document is read at full depth; at each of its last positions
the draft is compared with the last layer's token. The text that follows is the source's, as in a document, and not
what the model would have written.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import CONFIDENCES
from green_code.decoding.prompt_lookup import LENGTHS, NEAR_TOKENS, SHARES, PromptLookup
from green_code.engine.runtime import Runtime
from green_code_lab.corpus import Corpus

WINDOWS = 64  # per language
CONTEXT, SCORED = 512, 64  # tokens of a window, and its last positions that are compared


@dataclass(frozen=True)
class _Window:
    """A part of a document: what the prompt's window cut off, the prompt, and the source that follows it."""

    earlier: list[int]
    prompt: list[int]
    scored: list[int]
    after: list[int]


def windows(corpus: Corpus, language: str, generator: random.Random) -> list[_Window]:
    """Drawn over documents that are long enough, each position of them as likely."""
    shard = corpus.shards[language, "heldout"]
    starts = [int(s) for s in corpus.document_starts(language, "heldout")]
    ends = [*starts[1:], len(shard)]
    usable = [(s, e) for s, e in zip(starts, ends, strict=True) if e - s > 2 * SCORED]
    chosen = generator.choices(usable, [e - s for s, e in usable], k=WINDOWS) if usable else []
    found = []
    for start, end in chosen:
        cursor = generator.randrange(start + SCORED, end - SCORED + 1)
        document = [int(token) for token in shard[start:end]]
        at = cursor - start
        cut = max(1, at + SCORED - CONTEXT)
        found.append(
            _Window(
                document[max(1, cut - NEAR_TOKENS) : cut],
                [document[0], *document[cut:at]],
                document[at : at + SCORED],
                document[at + SCORED : at + SCORED + NEAR_TOKENS],
            )
        )
    return found


def measure(runtime: Runtime, corpus: Corpus, seed: int) -> dict[str, Any]:
    """Counts of (asked, right): by run length and agreement, by the share in the corpus, by exit and confidence."""
    generator = random.Random(seed)
    text, exits = Counter[tuple[int, int, bool]](), Counter[tuple[int, int, bool]]()
    shares = Counter[tuple[int, bool]]()
    positions = 0
    for language in corpus.languages:
        for window in windows(corpus, language, generator):
            final = _exits(runtime, window, exits)
            _text(runtime, window, final, text, shares)
            positions += len(final)
    return {
        "positions": positions,
        "text": [
            {"length": n, "agreement": a, "asked": text[n, a, True] + text[n, a, False], "right": text[n, a, True]}
            for n in LENGTHS
            for a in range(4)
        ],
        "corpus": [
            {"share": c, "asked": shares[c, True] + shares[c, False], "right": shares[c, True]} for c in range(len(SHARES) + 1)
        ],
        "exits": [
            {"depth": d, "confidence": c, "asked": exits[d, c, True] + exits[d, c, False], "right": exits[d, c, True]}
            for d in runtime.exits
            for c in range(len(CONFIDENCES) + 1)
        ],
    }  # fmt: skip


@torch.inference_mode()
def _exits(runtime: Runtime, window: _Window, counts: Counter[tuple[int, int, bool]]) -> list[int]:
    """The last layer's tokens at the scored positions; counts the exits' beside them."""
    cache = KVCache(runtime.decoder)
    cache.append([*window.prompt, *window.scored[:-1]])
    first, end = len(window.prompt) - 1, len(cache)
    said = {}
    for depth in (*runtime.exits, runtime.layers_total):
        cache.advance(end - 1, depth)
        tops = cache.top_tokens(range(first, end), depth)
        said[depth] = [top.token for top in tops], [top.probability for top in tops]
    final: list[int] = said[runtime.layers_total][0]
    for depth in runtime.exits:
        for token, confidence, last in zip(*said[depth], final, strict=True):
            counts[depth, sum(confidence >= bound for bound in CONFIDENCES), token == last] += 1
    return final


def _text(
    runtime: Runtime,
    window: _Window,
    final: list[int],
    counts: Counter[tuple[int, int, bool]],
    shares: Counter[tuple[int, bool]],
) -> None:
    lookup = PromptLookup(runtime.vocabulary, runtime.layers_total, runtime.ngrams)
    kinds = {id(rate): kind for kind, rate in lookup.rates.items()}
    classes = {id(rate): i for i, rate in enumerate(lookup.corpus_rates)}
    lookup.document.follow(window.prompt)
    # The rest of the line under the cursor is not looked into: it begins after the next line break.
    breaks = (i for i, t in enumerate(window.after) if b"\n" in runtime.vocabulary.token_bytes[t])
    lookup.around(window.earlier, window.after[next(breaks, len(window.after)) + 1 :])
    for last, source in zip(final, window.scored, strict=True):
        context = lookup.document.tokens[-LENGTHS[0] :]
        if (draft := lookup.guess_here(context, b"")) is not None:
            length, agreement = kinds[id(draft.rate)]
            counts[length, agreement, draft.token == last] += 1
        if (draft := lookup.guess_everywhere(context, b"")) is not None:
            shares[classes[id(draft.rate)], draft.token == last] += 1
        lookup.document.extend([source])
