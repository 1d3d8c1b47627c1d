"""What does the agent's threshold do to energy and to quality, measured as GREEN-CODE measures it: the first fifth of a file as
context, then a fixed number of tokens, no matter what ends there?

*Base*: the model as it was published, with the bundle's vocabulary. *Full*: the bundle at full depth. Completions are cold. As
in the paper, prompts go as deep as the tokens behind them need, and nothing is drafted. *As served*: prompts stop at the
prefill exit, and prompt lookup drafts.

CodeBLEU is given by its parts, which are not averaged. Its data flow is left out: so few tokens have hardly any, and the
published code counts full marks then.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from green_code.decoding.exit_policies import Full, Policy
from green_code.engine.loading import Runtime
from green_code.models.backend import SMALL_BATCH
from green_code.settings import PROMPT_TOKENS
from green_code.work import Work
from green_code_lab.evaluation.codebleu import syntax_match, weighted_bleu
from green_code_lab.evaluation.metrics import bleu, exact_match, mean, rouge_l, words
from green_code_lab.experiments.common import Mode, Scored, choose_files, stream, untouched
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Curves

CONTEXT, TOKENS = 0.2, 15
BASE, FULL = "Base", "Full"
_THRESHOLDS = (0.95, 0.92, 0.9, 0.8, 0.6)
_SERVED = (0.9, 0.8)  # as served, too
_MEANS = ("bleu", "weighted_bleu", "syntax_match", "rouge_l", "exact_match", "layers", "joules", "uncached")
_LEAST = 8  # tokens of a context
_ALL = "all languages"

PUBLISHED: Final[dict[str, tuple[tuple[str, float, float, float, float, float, float], ...]]] = {
    "Llama 3.2 3B, Java": (
        (BASE, 418.6, 1.677, 0.425, 0.446, 5.49, 28), (FULL, 427.2, 1.703, 0.430, 0.426, 4.60, 28),
        ("T=0.92", 328.8, 1.319, 0.407, 0.410, 4.10, 17.6), ("T=0.9", 288.2, 1.157, 0.395, 0.392, 4.30, 14.7),
        ("T=0.8", 220.7, 0.891, 0.368, 0.317, 3.20, 10.2), ("T=0.6", 176.8, 0.715, 0.356, 0.293, 1.30, 7.4),
    ),
    "Llama 3.2 3B, Python": (
        (BASE, 633.8, 2.828, 0.380, 0.497, 10.99, 28), (FULL, 600.6, 2.666, 0.404, 0.463, 12.60, 28),
        ("T=0.92", 424.9, 1.912, 0.356, 0.446, 10.08, 16.1), ("T=0.9", 378.5, 1.708, 0.351, 0.439, 9.07, 13.8),
        ("T=0.8", 291.4, 1.320, 0.336, 0.415, 6.45, 9.6), ("T=0.6", 215.7, 0.985, 0.291, 0.362, 4.03, 5.9),
    ),
    "OPT 2.7B, Java": (
        (BASE, 537.8, 2.438, 0.387, 0.384, 4.10, 32), (FULL, 543.7, 2.441, 0.392, 0.340, 2.60, 32),
        ("T=0.92", 390.4, 1.757, 0.391, 0.347, 3.00, 21.1), ("T=0.9", 349.4, 1.575, 0.361, 0.314, 1.30, 18.6),
        ("T=0.8", 267.9, 1.213, 0.331, 0.281, 0.40, 14.1), ("T=0.6", 208.2, 0.947, 0.312, 0.264, 0.10, 10.7),
    ),
    "OPT 2.7B, Python": (
        (BASE, 668.1, 2.993, 0.261, 0.342, 4.44, 32), (FULL, 625.9, 2.795, 0.281, 0.366, 5.54, 32),
        ("T=0.92", 374.1, 1.680, 0.242, 0.333, 2.62, 17.5), ("T=0.9", 339.3, 1.524, 0.229, 0.319, 1.92, 15.5),
        ("T=0.8", 283.9, 1.277, 0.207, 0.303, 1.41, 12.3), ("T=0.6", 230.3, 1.039, 0.204, 0.276, 1.11, 9.6),
    ),
}  # fmt: skip
"""What GREEN-CODE publishes (arXiv 2501.11006, result files of its repository), without a cache, on an RTX 8000 by its counter:
setting, joules and seconds of a completion with its prompt, CodeBLEU, ROUGE-L, exact match in per cent, layers run a token."""

File = tuple[str, list[int], list[int]]
"""Language, context and what follows it."""


def measure(adapted: Runtime, args: Args, report: Report) -> Found:
    files, settings = choose_files(adapted, args, partial(cut, adapted))
    arms: dict[str, tuple[Runtime, Policy, Mode | None]] = {
        BASE: (untouched(adapted), Full(), None), FULL: (adapted, Full(), None),
    }  # fmt: skip
    if (agent := adapted.agent) is not None:
        arms |= {f"T={t}": (adapted, replace(agent, threshold=t), None) for t in _THRESHOLDS}
        arms |= {f"as served, T={t}": (adapted, replace(agent, threshold=t), "fast") for t in _SERVED}
    results = {}
    for name, arm in arms.items():
        results[name] = [complete(*arm, file) for file in files]
        report(f"{name}: {len(files)} files")
    context = (
        f"the first {100 * CONTEXT:g} % of a file, of that the last {PROMPT_TOKENS} tokens; {TOKENS} tokens follow"
    )
    return {
        "settings": {**settings, "context": context},
        "arms": [{"setting": name, "language": _ALL, **point(done, results[FULL])} for name, done in results.items()],
        "published": published(),
    }  # fmt: skip


def cut(runtime: Runtime, language: str, text: str, _: random.Random) -> File | None:
    """A file's context and what follows it; None where it is too short."""
    tokens = runtime.vocabulary.encode(text)
    at = int(CONTEXT * len(tokens))
    if at < _LEAST or len(tokens) < at + TOKENS:
        return None
    return language, tokens[max(0, at - PROMPT_TOKENS) : at], tokens[at : at + TOKENS]


@torch.inference_mode()
def complete(runtime: Runtime, policy: Policy, served: Mode | None, file: File) -> dict[str, Any]:
    """TOKENS tokens after a context, cold; scored, and priced with a cache and without. `served`: see `stream`."""
    (language, context, reference), vocabulary = file, runtime.vocabulary
    prompt = [*([vocabulary.bos] if vocabulary.bos is not None else []), *context]
    cache, tokens = stream(runtime, prompt, policy, served, TOKENS)
    drawn = list(itertools.islice(tokens, TOKENS))
    text, wanted = vocabulary.decode([each.token for each in drawn]), vocabulary.decode(reference)
    exits, prices = [each.depth for each in drawn], runtime.costs.prices
    return {
        "language": language, "layers": mean(exits), "joules": prices.of(cache.work),
        "uncached": prices.of(uncached_work(len(prompt), exits, cache.work.decisions)),
        "bleu": bleu(text, wanted) / 100, "weighted_bleu": weighted_bleu(words(text), words(wanted), language) / 100,
        "syntax_match": syntax_match(text, wanted, language), "rouge_l": rouge_l(text, wanted), "exact_match": exact_match(text, wanted),
    }  # fmt: skip


def uncached_work(prompt: int, exits: Sequence[int], decisions: int) -> Work:
    """Of the same tokens, each computed from an empty cache, all positions as deep as its exit."""
    lengths = [(depth, prompt + i) for i, depth in enumerate(exits)]
    return Work(
        layer_batches=sum(exits), layer_positions=sum(depth * length for depth, length in lengths),
        small_batch_positions=sum(depth * min(SMALL_BATCH, length) for depth, length in lengths),
        head_batches=len(exits), head_positions=len(exits), decisions=decisions,
    )  # fmt: skip


def point(done: Scored, full: Scored) -> Found:
    """Means over files, joules against Full, and ROUGE-L's difference from it, file by file."""
    found: Found = {name: mean([row[name] for row in done if row[name] is not None]) for name in _MEANS}
    for name in ("joules", "uncached"):
        found[f"{name}_change"] = found[name] / mean([row[name] for row in full]) - 1
    changes = [a["rouge_l"] - b["rouge_l"] for a, b in zip(done, full, strict=True)]
    return {**found, "rouge_l_change": mean_figure(changes)}


def published() -> list[Found]:
    """The paper's rows, with joules against its full depth."""
    names = ("setting", "joules", "seconds", "codebleu", "rouge_l", "exact_match", "layers")
    return [
        {"model": model, **dict(zip(names, row, strict=True)), "joules_change": row[1] / rows[1][1] - 1}
        for model, rows in PUBLISHED.items()
        for row in rows
    ]


EXPERIMENT = Experiment(
    "paper", "The paper's table, with our model", __doc__, measure, {"limit": 200},
    (
        Table(
            "arms", "Ours",
            "*J*: of a completion with its prompt, with our cache. *J, no cache*: the same tokens and exits, as if every token began with an empty cache,"
            " as in the published figures. *Weighted*: BLEU in which keywords count five times. *Syntax*: the reference's subtrees that the text has.",
            (
                ("setting", "setting", "1"), ("J", "joules", "2"), ("against Full", "joules_change", "+%"), ("J, no cache", "uncached", "2"),
                ("against Full", "uncached_change", "+%"), ("BLEU", "bleu", "3"), ("weighted", "weighted_bleu", "3"),
                ("syntax", "syntax_match", "3"), ("ROUGE-L", "rouge_l", "3"), ("ROUGE-L from Full", "rouge_l_change", "+3"),
                ("exact", "exact_match", "%"), ("layers", "layers", "1"),
            ),
            ("language",),
        ),
        Table(
            "published", "Published (GREEN-CODE, no cache, GPU)",
            "From the paper's result files: other models, other files, joules of a GPU's counter. Only the course of the columns can be compared. All "
            "savings are against a baseline that computes every position anew for each token (see [baselines](baselines.md)).",
            (
                ("setting", "setting", "1"), ("J", "joules", "0"), ("against Full", "joules_change", "+%"), ("s", "seconds", "2"),
                ("CodeBLEU", "codebleu", "3"), ("ROUGE-L", "rouge_l", "3"), ("exact, %", "exact_match", "1"), ("layers", "layers", "1"),
            ),
            ("model",),
        ),
    ),
    Curves("ROUGE-L over joules", "arms", "language", "joules", "rouge_l", "J a completion", "ROUGE-L", "setting"),
)  # fmt: skip
