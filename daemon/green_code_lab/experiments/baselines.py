"""How much of the energy that early exits save is there only because the baseline has no key-value cache? GREEN-CODE's published
code computes every position anew for every token, in its baseline as with its agent.

Prompts are completed by a fixed number of tokens, cold, over and over; the arms take turns. All have the same weights, number
format, threads and decoder. *No cache*: each token begins with an empty cache, and all positions go as deep as the exit of
that token. *Cache*: what was computed is kept, and positions that wait below a layer are filled when it is needed. *As
served*: drafts come from the text, too, and in `fast` prompts stop at the prefill exit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

import torch

from green_code.cli.demo import samples
from green_code.decoding.drafter import advance_by_policy
from green_code.decoding.exit_policies import LIKELIEST, Full, Policy
from green_code.decoding.kv_cache import KVCache
from green_code.engine.loading import Runtime
from green_code.settings import default_settings
from green_code_lab.experiments.common import Mode, stream
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Bars
from green_code_lab.experiments.windows import Spent, take_turns

TOKENS = 12
"""Of a completion; nothing ends one before."""
PROMPT_TOKENS = 256

Complete = Callable[[Sequence[int]], list[int]]
"""Completes a prompt, cold; returns the tokens."""


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    prompts, chosen = _prompts(runtime), arms(runtime)

    def complete_all(name: str) -> int:  # whatever the time: the arms' work is the same
        return len([chosen[name](prompt) for prompt in prompts])

    works = {name: partial(partial, complete_all, name) for name in chosen}
    windows, settings = take_turns(runtime, works, args, report)
    texts = {name: [complete(prompt) for prompt in prompts] for name, complete in chosen.items()}
    completions = (
        f"{TOKENS} tokens after each of {len(prompts)} prompts of {PROMPT_TOKENS} tokens from the demo's files"
    )
    return {"settings": {**settings, "completions": completions}, "arms": figures(windows, texts)}


def arms(runtime: Runtime) -> dict[str, Complete]:
    """How each completes. The paper's baseline first, ours second."""
    usual, agent = default_settings().threshold, runtime.agent
    policies: dict[str, Policy] = {"full depth": Full()}
    if agent is not None:
        policies |= {f"agent, T={t}": replace(agent, threshold=t) for t in (usual, LIKELIEST)}
    found: dict[str, Complete] = {}
    for name, policy in policies.items():
        found[f"no cache, {name}"] = partial(_uncached, runtime, policy)
        found[f"cache, {name}"] = partial(_cached, runtime, policy, None)
    drafting = policies.get(f"agent, T={LIKELIEST}", Full())
    found["cache, exact as served"] = partial(_cached, runtime, drafting, "exact")
    if agent is not None:
        served = partial(_cached, runtime, policies[f"agent, T={usual}"], "fast")
        found[f"cache, fast as served, T={usual}"] = served
    return found


@torch.inference_mode()
def _cached(runtime: Runtime, policy: Policy, served: Mode | None, prompt: Sequence[int]) -> list[int]:
    return [each.token for each in itertools.islice(stream(runtime, prompt, policy, served, TOKENS)[1], TOKENS)]  # fmt: skip


@torch.inference_mode()
def _uncached(runtime: Runtime, policy: Policy, prompt: Sequence[int]) -> list[int]:
    tokens = list(prompt)
    for _ in range(TOKENS):
        cache = KVCache(runtime.decoder)
        cache.append(tokens)
        # Without a cache, all positions are computed as deep, as the paper's code does.
        view, _reads = advance_by_policy(cache, policy, first_output=0)
        tokens.append(runtime.chooser.choose(view, b"").token)
    return tokens[len(prompt) :]


def _prompts(runtime: Runtime) -> list[list[int]]:
    """PROMPT_TOKENS tokens before each place of the demo where something is completed, with as many of other files before."""
    vocabulary = runtime.vocabulary
    start = [vocabulary.bos] if vocabulary.bos is not None else []
    before, texts = "", list[list[int]]()
    for _, prefix, rest, after in samples():
        texts.append(vocabulary.encode(before + prefix))
        before += prefix + rest + after + "\n"
    return [[*start, *text[len(start) - PROMPT_TOKENS :]] for text in texts if len(text) >= PROMPT_TOKENS]


def figures(windows: dict[str, list[Spent]], texts: dict[str, list[list[int]]]) -> list[Found]:
    """Means over windows; savings against both full depths, repetition by repetition; tokens up to the first other one."""
    uncached, cached = list(windows)[:2]

    def saving(name: str, baseline: str) -> list[float]:
        pairs = zip(windows[name], windows[baseline], strict=True)
        return mean_figure([1 - own.joules / other.joules for own, other in pairs])

    return [
        {
            "arm": name, "joules": mean_figure([w.joules for w in own]),
            "from_uncached": saving(name, uncached), "from_cached": saving(name, cached),
            "cpu_seconds": fmean(w.cpu_seconds for w in own), "wall_seconds": fmean(w.wall_seconds for w in own),
            "same_tokens": fmean(_same(a, b) for a, b in zip(texts[name], texts[cached], strict=True)),
        }
        for name, own in windows.items()
    ]  # fmt: skip


def _same(tokens: Sequence[int], full: Sequence[int]) -> float:
    """Share of tokens before the first that is not full depth's."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, full, strict=True))
    return sum(1 for _ in same) / len(full)


EXPERIMENT = Experiment(
    "baselines", "What a saving is measured against", __doc__, measure, {"window-seconds": 10.0, "repetitions": 6},
    (
        Table(
            "arms", "Joules of a completion",
            "*Saved against*: share of the joules of the same repetition's window. *As full depth*: share of the tokens before the first that is not full"
            " depth's, mean over prompts. [quality](quality.md) has the quality on real rows.",
            (
                ("arm", "arm", "1"), ("J a completion", "joules", "2"), ("saved against no cache, full depth", "from_uncached", "%"),
                ("saved against cache, full depth", "from_cached", "%"), ("CPU-ms", "cpu_seconds", "m0"), ("ms", "wall_seconds", "m0"),
                ("as full depth", "same_tokens", "%"),
            ),
        ),
    ),
    Bars("Joules of a completion", "arms", None, "arm", (("joules", "J"),), "J a completion"),
)  # fmt: skip
