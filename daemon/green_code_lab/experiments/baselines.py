"""What a saving is against: whole completions with a key-value cache and without one, in windows of the meter.

The paper's code computes all positions anew for each token, at full depth in its baseline and up to the exit with its agent.
Here that is done with our model, beside decoding with a cache. A window completes the same prompts over and over, each of
them cold. Arms take turns (windows.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from green_code.cli.demo import samples
from green_code.decoding.drafter import climb
from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import LIKELIEST, Full, Policy
from green_code.decoding.generate import fast
from green_code.decoding.kv_cache import KVCache
from green_code.energy.meters import Meter, pick_meter
from green_code.engine.measured_costs import hardware
from green_code.engine.runtime import Runtime, load_runtime
from green_code.settings import default_settings
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.served import as_served
from green_code_lab.experiments.windows import meter_in_words, orders, spend

TOKENS = 12
"""Of a completion; nothing ends one before."""
PROMPT_TOKENS = 256

Complete = Callable[[Sequence[int]], list[int]]
"""Completes a prompt, cold; returns the tokens."""


@dataclass(frozen=True)
class Measured:
    """One window, per completion."""

    repetition: int
    arm: str
    completions: int
    joules: float
    cpu_seconds: float
    wall_seconds: float


def run(
    model: str, window_seconds: float, repetitions: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into baselines.json.

    Raises:
        Problem: the model is missing or damaged, or the meter gives no readings.
    """
    report(f"loading {model}")
    runtime = load_runtime(model)
    meter = pick_meter(hardware(runtime.decoder.device)[0])
    prompts, chosen = _prompts(runtime), arms(runtime)
    windows = measure(chosen, prompts, meter, window_seconds, repetitions, seed, report)
    texts = {name: [complete(prompt) for prompt in prompts] for name, (_, complete) in chosen.items()}
    options: dict[str, object] = {
        "model": Path(model), "window-seconds": window_seconds, "repetitions": repetitions, "seed": seed,
    }  # fmt: skip
    return {
        **provenance(runtime, "baselines", options),
        "source": meter.source,
        "meter": meter_in_words(meter),
        "prompts": len(prompts),
        "prompt_tokens": PROMPT_TOKENS,
        "tokens": TOKENS,
        "window_seconds": window_seconds,
        "repetitions": repetitions,
        "seed": seed,
        "arms": points(chosen, windows, texts),
        "windows": [asdict(window) for window in windows],
    }


def arms(runtime: Runtime) -> dict[str, tuple[bool, Complete]]:
    """By name: whether it has a cache, and how it completes. The paper's baseline first, ours second."""
    decoder, chooser = runtime.decoder, runtime.chooser
    policies: dict[str, Policy] = {"full depth": Full()}
    if runtime.agent is not None:
        for threshold in (default_settings().threshold, LIKELIEST):
            policies[f"agent, T={threshold}"] = replace(runtime.agent, threshold=threshold)

    def cached(policy: Policy) -> Complete:
        def complete(prompt: Sequence[int]) -> list[int]:
            cache = KVCache(decoder)
            cache.append(prompt)
            return _take(fast(cache, policy, chooser, b"", Effort()))

        return complete

    def uncached(policy: Policy) -> Complete:
        def complete(prompt: Sequence[int]) -> list[int]:
            tokens = list(prompt)
            for _ in range(TOKENS):
                cache = KVCache(decoder)
                cache.append(tokens)
                # Without a cache, all positions are computed as deep, as the paper's code does.
                tokens.append(chooser.choose(climb(cache, policy, Effort(), wanted=0), b""))
            return tokens[len(prompt) :]

        return complete

    def served(exactly: bool, threshold: float) -> Complete:
        policy = replace(runtime.agent, threshold=threshold) if runtime.agent is not None else Full()

        def complete(prompt: Sequence[int]) -> list[int]:
            return _take(as_served(runtime, prompt, policy, exactly=exactly, max_tokens=TOKENS)[2])

        return complete

    found: dict[str, tuple[bool, Complete]] = {}
    for name, policy in policies.items():
        found[f"no cache, {name}"] = False, uncached(policy)
        found[f"cache, {name}"] = True, cached(policy)
    found["cache, exact as served"] = True, served(True, LIKELIEST)
    if runtime.agent is not None:
        usual = default_settings().threshold
        found[f"cache, fast as served, T={usual}"] = True, served(False, usual)
    return found


def _take(stream: Iterator[tuple[int, int]]) -> list[int]:
    return [token for token, _ in itertools.islice(stream, TOKENS)]


def _prompts(runtime: Runtime) -> list[list[int]]:
    """PROMPT_TOKENS tokens before each place of the demo where something is completed, with as many of other files before."""
    vocabulary = runtime.vocabulary
    start = [vocabulary.bos] if vocabulary.bos is not None else []
    before, prompts = "", []
    for _, prefix, rest, after in samples():
        tokens = vocabulary.encode(before + prefix)
        if len(tokens) >= PROMPT_TOKENS:
            prompts.append([*start, *tokens[-PROMPT_TOKENS + len(start) :]])
        before += prefix + rest + after + "\n"
    return prompts or [[*start, *itertools.islice(itertools.cycle(vocabulary.encode(before)), PROMPT_TOKENS)]]


def measure(
    chosen: dict[str, tuple[bool, Complete]],
    prompts: Sequence[Sequence[int]],
    meter: Meter,
    window_seconds: float,
    repetitions: int,
    seed: int,
    report: Callable[[str], None],
) -> list[Measured]:
    """Windows in the order in which they were measured; each arm completes a prompt before its window begins."""
    windows = []
    for repetition, order in enumerate(orders(list(chosen), repetitions, seed)):
        windows += [_window(arm, chosen[arm][1], prompts, meter, window_seconds, repetition) for arm in order]
        report(f"repetition {repetition + 1} of {repetitions}")
    return windows


@torch.inference_mode()
def _window(
    arm: str,
    complete: Complete,
    prompts: Sequence[Sequence[int]],
    meter: Meter,
    seconds: float,
    repetition: int,
) -> Measured:
    def all_prompts() -> int:
        for prompt in prompts:  # whatever the time: the arms' work is the same
            complete(prompt)
        return len(prompts)

    complete(prompts[0])
    return Measured(repetition, arm, *spend(meter, seconds, all_prompts))


def points(
    chosen: dict[str, tuple[bool, Complete]],
    windows: Sequence[Measured],
    texts: dict[str, list[list[int]]],
) -> list[dict[str, Any]]:
    """Means over windows; savings against both full depths, repetition by repetition; tokens up to the first other one."""
    uncached, cached = list(chosen)[:2]
    joules = {name: [w.joules for w in windows if w.arm == name] for name in chosen}

    def saving(name: str, baseline: str) -> dict[str, Any]:
        shares = [1 - a / b for a, b in zip(joules[name], joules[baseline], strict=True)]
        return {"mean": sum(shares) / len(shares), "interval": bootstrap_interval(shares)}

    return [
        {
            "arm": name,
            "cache": has_cache,
            "joules": sum(joules[name]) / len(joules[name]),
            "joules_interval": bootstrap_interval(joules[name]),
            "cpu_seconds": fmean([w.cpu_seconds for w in windows if w.arm == name]),
            "wall_seconds": fmean([w.wall_seconds for w in windows if w.arm == name]),
            "from_uncached": saving(name, uncached),
            "from_cached": saving(name, cached),
            "agreement": fmean([_agreed(a, b) for a, b in zip(texts[name], texts[cached], strict=True)]),
        }
        for name, (has_cache, _) in chosen.items()
    ]


def _agreed(tokens: Sequence[int], full: Sequence[int]) -> float:
    """Share of tokens before the first that is not full depth's."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, full, strict=True))
    return sum(1 for _ in same) / len(full)
