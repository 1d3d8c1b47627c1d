"""How many fewer joules does `exact` spend than full depth where n-grams draft (of the document: prompt lookup; of the training
corpus: the bundle's table), where exits draft, and where both do?

Each row's line is completed by a session of its own with an empty cache. The model was not trained on held-out projects, but
priors of drafts were chosen on them. Exits draft where the policy exits (an agent: where that is its likeliest action) and the
expected gain is positive.

The priors of drafts (decoding/prompt_lookup.py, price_book.py) are measured on held-out projects: a window of a document is
read at full depth, and at each of its last positions the draft is compared with the last layer's token. The text that follows
is the source's, not what the model would have written.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import CONFIDENCES
from green_code.decoding.prompt_lookup import LENGTHS, NEAR_TOKENS, SHARES, PromptLookup
from green_code.engine.loading import Runtime
from green_code.engine.session import Session
from green_code.models.backend import SMALL_BATCH
from green_code.work import full_depth_work
from green_code_lab.corpus import Corpus, open_corpus
from green_code_lab.evaluation.datasets import Row
from green_code_lab.experiments.common import by_policy, choose_rows, drafting_policy
from green_code_lab.experiments.experiment import ROWS, Args, Experiment, Found, Report, Table, ratio_figure
from green_code_lab.experiments.plots import Bars

_WINDOWS = 64  # a language
_CONTEXT, _SCORED = 512, 64  # tokens of a window, and those at its end that are scored
_FOLLOWED = ("the two latest differ", "one place", "two or three agree", "four agree")
Kind = tuple[str, str, str]
"""Where a draft is from, and its class."""
# By name: decoding, whether the exits of the bundle's policy draft, whether prompt lookup and the n-grams do.
ARMS: dict[str, tuple[Literal["full", "exact"], bool, bool]] = {
    "full depth": ("full", False, False),
    "n-grams": ("exact", False, True),
    "exits": ("exact", True, False),
    "n-grams and exits": ("exact", True, True),
}


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    corpus = args.work / "corpus"
    rows, settings = choose_rows(runtime, args)
    done: dict[str, list[dict[str, Any]]] = {}
    for name, arm in ARMS.items():
        done[name] = [complete(runtime, row, *arm) for row in rows]
        report(f"{name}: {len(rows)} rows")
    report("measuring priors on held-out projects")
    opened = open_corpus(corpus, runtime.vocabulary, 1, 1) if corpus.is_dir() else None
    windows = f"the last {_SCORED} positions of {_WINDOWS} windows a language, of at most {_CONTEXT} tokens"
    return {
        "settings": {**settings, "drafting policy": drafting_policy(runtime), "priors": windows},
        "arms": [summary(name, own, done["full depth"], args.seed) for name, own in done.items()],
        "kinds": priors(runtime, opened, args.seed) if opened is not None else [],
    }


def complete(
    runtime: Runtime, row: Row, decoding: Literal["full", "exact"], exits: bool, lookup: bool
) -> dict[str, Any]:
    """What a row took. In `exact`, the agent drafts at an exit where exiting is its likeliest action."""
    session = Session(runtime, lookup)
    params = by_policy(runtime.model, decoding, drafting_policy(runtime) if exits else "full")
    params["prefix"], params["suffix"] = row.prefix, row.suffix
    result = session.complete(params, lambda: None, math.inf)
    passes = result["tokens"] + (result["reason"] == "end_of_text")
    # All arms take the prompt to full depth: what its positions add to the first pass is the same in all.
    first = full_depth_work(runtime.layers_total, result["prompt_tokens"], min(1, passes), SMALL_BATCH)
    positions = replace(first, layer_batches=0, head_batches=0, head_positions=0)
    return {
        "tokens": result["tokens"], "passes": passes, "rounds": session.book.rounds, "texts": result["token_texts"],
        "joules": result["energy_joules"], "full": result["energy_full_joules"], "prompt": runtime.costs.prices.of(positions),
    }  # fmt: skip


def summary(name: str, rows: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]], seed: int) -> Found:
    """Sums over rows. `whole`, `after_prompt`: joules of full depth over those spent, with and without the prompt's positions."""
    tokens, passes, rounds = (sum(row[key] for row in rows) for key in ("tokens", "passes", "rounds"))
    after = [(row["full"] - row["prompt"], row["joules"] - row["prompt"]) for row in rows]
    return {
        "arm": name, "tokens": tokens, "passes": rounds or passes, "tokens_a_pass": passes / max(1, rounds or passes),
        "joules_per_token": sum(row["joules"] for row in rows) / max(1, tokens),
        "whole": ratio_figure([(row["full"], row["joules"]) for row in rows], seed),
        "after_prompt": ratio_figure(after, seed),
        "same": sum(a["texts"] == b["texts"] for a, b in zip(rows, full, strict=True)) / len(rows),
    }  # fmt: skip


@torch.inference_mode()
def priors(runtime: Runtime, corpus: Corpus, seed: int) -> list[Found]:
    """How often a draft of each kind is the last layer's token, in windows of which each position is as likely."""
    drafted, accepted, generator = Counter[Kind](), Counter[Kind](), random.Random(seed)
    for language in corpus.languages:
        shard = corpus.shards[language, "heldout"]
        starts = [int(start) for start in corpus.document_starts(language, "heldout")]
        usable = [(s, e) for s, e in zip(starts, [*starts[1:], len(shard)], strict=True) if e - s > 2 * _SCORED]  # fmt: skip
        sizes = [end - start for start, end in usable]
        for start, end in generator.choices(usable, sizes, k=_WINDOWS) if usable else ():
            at = generator.randrange(_SCORED, end - start - _SCORED + 1)
            for kind, right in outcomes(runtime, [int(token) for token in shard[start:end]], at):
                drafted[kind] += 1
                accepted[kind] += right
    return [
        {"source": source, "kind": kind, "class": name, "positions": times, "accepted": accepted[source, kind, name] / times}
        for (source, kind, name), times in sorted(drafted.items())
    ]  # fmt: skip


def outcomes(runtime: Runtime, document: Sequence[int], at: int) -> Iterator[tuple[Kind, bool]]:
    """The kind of each draft at the positions from `at` on, and whether it is the last layer's token."""
    cut, end, vocabulary = max(1, at + _SCORED - _CONTEXT), at + _SCORED, runtime.vocabulary
    prompt = [document[0], *document[cut:at]]  # the first token marks the document
    cache, tops = KVCache(runtime.decoder), {}
    cache.append([*prompt, *document[at : end - 1]])
    for depth in (*runtime.exits, runtime.layers_total):
        cache.advance(len(cache) - 1, depth)
        tops[depth] = cache.top_tokens(range(len(prompt) - 1, len(cache)), depth)
    final = [top.token for top in tops.pop(runtime.layers_total)]
    for depth, own in tops.items():
        for top, token in zip(own, final, strict=True):
            at_least = sum(top.probability >= bound for bound in CONFIDENCES)
            yield ("exit", f"layer {depth:2}", _between(CONFIDENCES, at_least)), top.token == token
    lookup = PromptLookup(vocabulary, runtime.layers_total, runtime.ngrams)
    kinds = {id(rate): ("text", f"{n} found", _FOLLOWED[i]) for (n, i), rate in lookup.rates.items()}
    kinds |= {id(rate): ("corpus", "share", _between(SHARES, i)) for i, rate in enumerate(lookup.corpus_rates)}  # fmt: skip
    lookup.document.follow(prompt)
    # The rest of the line under the cursor is left out: what follows begins behind the next line break.
    after = document[end : end + NEAR_TOKENS]
    line_ends = (i for i, token in enumerate(after) if b"\n" in vocabulary.token_bytes[token])
    lookup.around(document[max(1, cut - NEAR_TOKENS) : cut], after[next(line_ends, len(after)) + 1 :])
    for token, source in zip(final, document[at:end], strict=True):
        context = lookup.document.tokens[-LENGTHS[0] :]
        for draft in (lookup.from_session(context, b""), lookup.from_corpus(context, b"")):
            if draft is not None:
                yield kinds[id(draft.rate)], draft.token == token
        lookup.document.extend([source])


def _between(bounds: Sequence[float], index: int) -> str:
    low, high = (0.0, *bounds, 1.0)[index : index + 2]
    return f"{low:.1f} to {high:.1f}"


EXPERIMENT = Experiment(
    "drafts", "What drafts save while the text stays full depth's", __doc__, measure, ROWS,
    (
        Table(
            "arms", "Joules",
            "*Passes*: forward passes through the last layer. *Whole*: joules of full depth over those spent, prompt included. *After the prompt*: "
            "without what the prompt's positions cost in either. *Same*: rows whose tokens are those of full depth.",
            (
                ("drafts from", "arm", ""), ("tokens", "tokens", "0"), ("passes", "passes", "0"), ("tokens a pass", "tokens_a_pass", "2"),
                ("mJ a token", "joules_per_token", "m1"), ("whole", "whole", "x2"), ("after the prompt", "after_prompt", "x2"),
                ("same", "same", "%"),
            ),
        ),
        Table(
            "kinds", "Which drafts are accepted",
            "The priors. *Text*: prompt lookup, by how many of the last tokens were found before and by what followed there. *Corpus*: the bundle's "
            "n-grams, by the share of their occurrences that the draft followed. *Exit*: by the layer and the head's confidence.",
            (
                ("source", "source", ""), ("kind", "kind", ""), ("class", "class", ""), ("positions", "positions", "0"),
                ("accepted", "accepted", "%"),
            ),
        ),
    ),
    Bars("Joules of full depth over those spent", "arms", None, "arm", (("whole", "whole"), ("after_prompt", "after the prompt")), "full depth's joules over those spent"),
)  # fmt: skip
