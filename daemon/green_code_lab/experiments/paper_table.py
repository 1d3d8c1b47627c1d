"""The paper's table of results, with our model: a file's first fifth as context, 15 tokens, one threshold after the other.

Nothing ends a completion early, as there. Joules are what was run times the fitted costs, counted twice: with the cache that
we have, and as if each token began without one, which is how the published figures were made.
Files are those of held-out projects of the corpus. Thresholds are compared on the same files.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from green_code.cli.demo import samples
from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import Full, Policy
from green_code.decoding.generate import fast
from green_code.decoding.kv_cache import KVCache
from green_code.energy.costs import CostModel, Work
from green_code.engine.runtime import Runtime, load_runtime
from green_code.models.backend import SMALL_BATCH
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS
from green_code_lab.agent.calibrate import held_out_documents
from green_code_lab.corpus import open_corpus
from green_code_lab.evaluation.codebleu import syntax_match, weighted_bleu
from green_code_lab.evaluation.metrics import bleu, bootstrap_interval, exact_match, mean, rouge_l, words
from green_code_lab.experiments.layers import untouched
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.served import as_served

CONTEXT, TOKENS = 0.2, 15
THRESHOLDS = (0.95, 0.92, 0.9, 0.8, 0.6)
SERVED = (0.9, 0.8)  # as served, too
BASE, FULL = "Base", "Full"
SCORES = ("bleu", "weighted_bleu", "syntax_match", "rouge_l", "exact_match")
_LEAST = 8  # tokens of a context

File = tuple[str, list[int], list[int]]
"""Language, context and what follows it."""


def run(model: str, work: Path, limit: int, seed: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure; returns what goes into paper.json.

    Raises:
        Problem: the model, its bundle or the corpus are missing or damaged, or no file is long enough.
    """
    report(f"loading {model}, adapted and untouched")
    adapted = load_runtime(model)
    base = untouched(adapted)
    files, source = _files(work, adapted.vocabulary, limit, seed)
    arms: dict[str, tuple[Runtime, Policy]] = {BASE: (base, Full()), FULL: (adapted, Full())}
    if adapted.agent is not None:
        for threshold in THRESHOLDS:
            arms[f"T={threshold}"] = adapted, replace(adapted.agent, threshold=threshold)
        for threshold in SERVED:
            arms[served_name(threshold)] = adapted, replace(adapted.agent, threshold=threshold)
    served, results = {served_name(threshold) for threshold in SERVED}, {}
    for name, (runtime, policy) in arms.items():
        results[name] = [complete(runtime, policy, file, name in served) for file in files]
        report(f"{name}: ROUGE-L {mean([row['rouge_l'] for row in results[name]]):.3f}")
    options: dict[str, object] = {"model": Path(model), "limit": limit, "seed": seed}
    return {
        **provenance(adapted, "paper", options),
        "files": dict(Counter(language for language, _, _ in files)),
        "files_from": source,
        "seed": seed,
        "context": CONTEXT,
        "tokens": TOKENS,
        "prompt_tokens": PROMPT_TOKENS,
        "layers": adapted.layers_total,
        "exits": list(adapted.exits),
        "energy_source": adapted.energy_source,
        "arms": [
            {"setting": name, "language": language, **_point(done, results[FULL], language)}
            for name, done in results.items()
            for language in dict.fromkeys(row["language"] for row in done)
        ],
    }


def _files(work: Path, vocabulary: Vocabulary, limit: int, seed: int) -> tuple[list[File], str]:
    """At most `limit` files a language, drawn with `seed`, and a phrase that says where they are from."""
    if (work / "corpus").is_dir():
        documents = list(held_out_documents(open_corpus(work / "corpus", vocabulary, 1, 1), vocabulary))
        source = "files of the corpus' held-out projects"
    else:
        documents = [
            ("java" if name.endswith(".java") else "python", before + rest + after)
            for name, before, rest, after in samples()
        ]
        source = "the demo's files (too few for figures)"
    random.Random(seed).shuffle(documents)
    found: dict[str, list[File]] = {}
    for language, text in documents:
        own = found.setdefault(language, [])
        tokens = vocabulary.encode(text) if len(own) < limit else []
        cut = int(CONTEXT * len(tokens))
        if cut >= _LEAST and len(tokens) >= cut + TOKENS:
            own.append((language, tokens[max(0, cut - PROMPT_TOKENS) : cut], tokens[cut : cut + TOKENS]))
    files = list(itertools.chain.from_iterable(found[language] for language in sorted(found, reverse=True)))
    if not files:
        raise Problem("bad_request", f"There are no {source} that are long enough.")
    return files, source


def served_name(threshold: float) -> str:
    return f"as served, T={threshold}"


@torch.inference_mode()
def complete(runtime: Runtime, policy: Policy, file: File, served: bool = False) -> dict[str, Any]:
    """TOKENS tokens after a context, cold; scored, and priced with a cache and without.

    Args:
        served: as sessions complete: tokens are guessed from the text, and prompts settle.
    """
    language, context, reference = file
    vocabulary, costs = runtime.vocabulary, runtime.costs
    prompt = [*([vocabulary.bos] if vocabulary.bos is not None else []), *context]
    if served:
        cache, effort, stream = as_served(runtime, prompt, policy, exactly=False, max_tokens=TOKENS)
    else:
        cache, effort = KVCache(runtime.decoder), Effort()
        cache.append(prompt)
        stream = fast(cache, policy, runtime.chooser, b"", effort)
    drawn = list(itertools.islice(stream, TOKENS))
    text, wanted = vocabulary.decode([token for token, _ in drawn]), vocabulary.decode(reference)
    exits = [depth for _, depth in drawn]
    done = Work(
        cache.runs,
        cache.evaluations,
        cache.few,
        effort.heads,
        effort.head_rows,
        effort.decisions,
        cache.entries,
    )
    return {
        "language": language,
        "layers": mean(exits),
        "joules": costs.joules(done),
        "uncached_joules": uncached_joules(costs, len(prompt), exits, effort.decisions),
        "bleu": bleu(text, wanted) / 100,
        "weighted_bleu": weighted_bleu(words(text), words(wanted), language) / 100,
        "syntax_match": syntax_match(text, wanted, language),
        "rouge_l": rouge_l(text, wanted),
        "exact_match": exact_match(text, wanted),
    }


def uncached_joules(costs: CostModel, prompt: int, exits: Sequence[int], decisions: int) -> float:
    """Of the same tokens, each computed from an empty cache, all positions as deep as its exit."""
    work = Work(
        runs=sum(exits),
        evaluations=sum(depth * (prompt + i) for i, depth in enumerate(exits)),
        few=sum(depth * min(SMALL_BATCH, prompt + i) for i, depth in enumerate(exits)),
        heads=len(exits),
        head_rows=len(exits),
        decisions=decisions,
    )
    return costs.joules(work)


def _point(done: Sequence[dict[str, Any]], full: Sequence[dict[str, Any]], language: str) -> dict[str, Any]:
    """Means over a language's files, and ROUGE-L's difference from Full, file by file."""
    pairs = [(a, b) for a, b in zip(done, full, strict=True) if a["language"] == language]
    own = [a for a, _ in pairs]
    changes = [a["rouge_l"] - b["rouge_l"] for a, b in pairs]
    return {
        **{name: mean([row[name] for row in own]) for name in ("joules", "uncached_joules", "layers")},
        **{name: mean([row[name] for row in own if row[name] is not None]) for name in SCORES},
        "rouge_l_from_full": mean(changes),
        "rouge_l_from_full_interval": bootstrap_interval(changes),
    }  # fmt: skip
