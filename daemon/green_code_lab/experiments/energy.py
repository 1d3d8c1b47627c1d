"""What a token costs at each fixed exit, after the prompt, in windows of repeated decoding.

A window decodes the same few tokens after the same prompt over and over; the prompt is computed before it, at the
depth of the exit. So each token counted is one position through as many layers as the exit is deep, one head and one
choice of a token. Exits take turns (windows.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from green_code.cli.demo import samples
from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import Policy, parse_policy
from green_code.decoding.generate import fast
from green_code.decoding.kv_cache import KVCache
from green_code.energy.meters import Meter, pick_meter
from green_code.engine.measured_costs import hardware
from green_code.engine.runtime import Runtime, load_runtime
from green_code.models.vocabulary import Vocabulary
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.experiments.line import Line, fit_line
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.windows import meter_in_words, orders, spend

CONTEXT_TOKENS = 256
ROUND_TOKENS = 8


@dataclass(frozen=True)
class Measured:
    """One window, per token."""

    repetition: int
    layer: int
    tokens: int
    joules: float
    cpu_seconds: float
    wall_seconds: float


def run(
    model: str, window_seconds: float, repetitions: int, seed: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; returns what goes into energy.json.

    Raises:
        Problem: the model is missing or damaged, or the meter gives no readings.
    """
    report(f"loading {model}")
    runtime = load_runtime(model)
    meter = pick_meter(hardware(runtime.decoder.device)[0])
    windows = measure(runtime, meter, window_seconds, repetitions, seed, report)
    layers = list(range(1, runtime.layers_total + 1))
    costs = np.empty((repetitions, len(layers)))
    for window in windows:
        costs[window.repetition, window.layer - 1] = window.joules
    line = fit_line(layers, costs, seed)
    options: dict[str, object] = {
        "model": Path(model), "window-seconds": window_seconds, "repetitions": repetitions, "seed": seed,
    }  # fmt: skip
    return {
        **provenance(runtime, "energy", options),
        "source": meter.source,
        "meter": meter_in_words(meter),
        "context_tokens": CONTEXT_TOKENS,
        "round_tokens": ROUND_TOKENS,
        "window_seconds": window_seconds,
        "repetitions": repetitions,
        "seed": seed,
        "layers": runtime.layers_total,
        "line": asdict(line),
        "points": [_point(layer, windows, line) for layer in layers],
        "windows": [asdict(window) for window in windows],
    }


def measure(
    runtime: Runtime,
    meter: Meter,
    window_seconds: float,
    repetitions: int,
    seed: int,
    report: Callable[[str], None],
) -> list[Measured]:
    """Windows in the order in which they were measured, after one at full depth that does not count."""
    prompt = _prompt(runtime.vocabulary)
    layers = range(1, runtime.layers_total + 1)
    _window(runtime, prompt, layers[-1], meter, window_seconds, repetition=-1)
    windows = []
    for repetition, order in enumerate(orders(layers, repetitions, seed)):
        windows += [_window(runtime, prompt, layer, meter, window_seconds, repetition) for layer in order]
        report(f"repetition {repetition + 1} of {repetitions}")
    return windows


def _prompt(vocabulary: Vocabulary) -> list[int]:
    """CONTEXT_TOKENS tokens of the demo's files, over again where they are fewer."""
    text = "\n".join(before + rest + after for _, before, rest, after in samples())
    start = [vocabulary.bos] if vocabulary.bos is not None else []
    return list(
        itertools.islice(itertools.chain(start, itertools.cycle(vocabulary.encode(text))), CONTEXT_TOKENS)
    )


@torch.inference_mode()
def _window(
    runtime: Runtime, prompt: Sequence[int], layer: int, meter: Meter, seconds: float, repetition: int
) -> Measured:
    policy = parse_policy(f"fixed:{layer}", (), runtime.layers_total, None, 1.0)
    cache = KVCache(runtime.decoder)
    cache.append(prompt[:-1])
    cache.advance(len(prompt) - 2, layer)
    _round(runtime, cache, prompt[-1], policy)  # warm
    return Measured(
        repetition, layer, *spend(meter, seconds, lambda: _round(runtime, cache, prompt[-1], policy))
    )


def _round(runtime: Runtime, cache: KVCache, last: int, policy: Policy) -> int:
    """ROUND_TOKENS tokens, and how many these are; the prompt's last position is computed with the first one, as a position is with each."""
    cache.truncate(CONTEXT_TOKENS - 1)
    cache.append([last])
    for _ in itertools.islice(fast(cache, policy, runtime.chooser, b"", Effort()), ROUND_TOKENS):
        pass
    return ROUND_TOKENS


def _point(layer: int, windows: Sequence[Measured], line: Line) -> dict[str, Any]:
    own = [window for window in windows if window.layer == layer]
    joules = [window.joules for window in own]
    return {
        "layer": layer,
        "joules": sum(joules) / len(joules),
        "joules_interval": bootstrap_interval(joules),
        "cpu_seconds": sum(window.cpu_seconds for window in own) / len(own),
        "wall_seconds": sum(window.wall_seconds for window in own) / len(own),
        "line_joules": line.intercept + line.slope * layer,
    }
