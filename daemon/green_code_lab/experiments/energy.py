"""Is the energy of a token linear in the layers that it runs, and what does it cost whatever the exit?

At each fixed exit, the same few tokens after the same prompt are decoded over and over; the exits take turns. The prompt is
computed outside the windows, at the depth of the exit. So a token is one position through as many layers as the exit is deep,
one head and one choice. Where joules are estimated from CPU-seconds, the line is one of CPU-seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from green_code.cli.demo import samples
from green_code.decoding.exit_policies import parse_policy
from green_code.decoding.kv_cache import KVCache
from green_code.engine.loading import Runtime
from green_code_lab.experiments.common import without_drafts
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Curves
from green_code_lab.experiments.windows import Spent, Work, take_turns

CONTEXT_TOKENS = 256
ROUND_TOKENS = 8
_DRAWS = 2000


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    arms = {layer: partial(_prepare, runtime, layer) for layer in range(1, runtime.layers_total + 1)}
    windows, settings = take_turns(runtime, arms, args, report)
    tokens = f"{ROUND_TOKENS} after {CONTEXT_TOKENS} of prompt, over and over"
    return {"settings": {**settings, "tokens": tokens}, **figures(windows, args.seed)}


def _prepare(runtime: Runtime, layer: int) -> Work:
    text = "\n".join(before + rest + after for _, before, rest, after in samples())
    start = [runtime.vocabulary.bos] if runtime.vocabulary.bos is not None else []
    tokens = itertools.chain(start, itertools.cycle(runtime.vocabulary.encode(text)))
    *prompt, last = itertools.islice(tokens, CONTEXT_TOKENS)
    policy = parse_policy(f"fixed:{layer}", (), runtime.layers_total, None, 1.0)
    cache = KVCache(runtime.decoder)

    @torch.inference_mode()
    def decode_round() -> int:
        """ROUND_TOKENS tokens; the prompt's last position is computed with the first one."""
        if not len(cache):
            cache.append(prompt)
            cache.advance(len(prompt) - 1, layer)
        cache.truncate(len(prompt))
        cache.append([last])
        return len(list(itertools.islice(without_drafts(cache, runtime, policy), ROUND_TOKENS)))

    return decode_round


def figures(windows: dict[int, list[Spent]], seed: int) -> Found:
    """Per layer, from equally many windows each; and the line through their means."""
    layers = list(windows)
    costs = np.array([[window.joules for window in own] for own in windows.values()]).T
    line = fit_line(layers, costs, seed)
    arms = [
        {
            "layer": layer, "skipped": layers[-1] - layer, "joules": mean_figure([w.joules for w in own]),
            "line": line["intercept"][0] + line["slope"][0] * layer,
            "of_full": sum(w.joules for w in own) / sum(w.joules for w in windows[layers[-1]]),
            "cpu_seconds": sum(w.cpu_seconds for w in own) / len(own), "wall_seconds": sum(w.wall_seconds for w in own) / len(own),
        }
        for layer, own in windows.items()
    ]  # fmt: skip
    return {"line": [line], "arms": arms}


def fit_line(layers: Sequence[int], costs: NDArray[np.float64], seed: int) -> Found:
    """joules = intercept + slope · layer, by least squares, with percentile bootstrap intervals over repetitions.

    Args:
        layers: (X,), at least three. costs: (R, X). Repetitions are drawn whole, so drift between them widens the intervals.
    Returns:
        `fixed_share`: the intercept as a share of the line at the last layer. `bend`: how far a parabola's middle lies
        above the chord between its ends, as a share of the same. `r_squared`: over single windows.
    """
    depths = np.asarray(layers, np.float64)

    def coefficients(some: NDArray[np.float64]) -> tuple[float, ...]:
        means = some.mean(0)
        slope, intercept = np.polyfit(depths, means, 1)
        last = intercept + slope * depths[-1]
        # a + b·x + c·x² lies −c·(half the range)² above its chord in the middle.
        above = -np.polyfit(depths, means, 2)[0] * ((depths[-1] - depths[0]) / 2) ** 2
        return float(slope), float(intercept), float(intercept / last), float(above / last)

    draws = np.random.default_rng(seed).integers(len(costs), size=(_DRAWS, len(costs)))
    low, high = np.percentile([coefficients(costs[draw]) for draw in draws], [2.5, 97.5], axis=0)
    found = coefficients(costs)
    names = ("slope", "intercept", "fixed_share", "bend")
    line: Found = {n: [v, float(a), float(b)] for n, v, a, b in zip(names, found, low, high, strict=True)}
    left = ((costs - found[1] - found[0] * depths) ** 2).sum()
    return {**line, "r_squared": float(1 - left / ((costs - costs.mean()) ** 2).sum())}


EXPERIMENT = Experiment(
    "energy", "Energy against layers", __doc__, measure, {"window-seconds": 10.0, "repetitions": 6},
    (
        Table(
            "line", "The least-squares line",
            "*mJ a layer*: its slope. *mJ whatever the exit*: its intercept, and that as a share of the line at full depth. *Bend*: how far the middle of"
            " a parabola in its place lies above the chord between its ends, as the same share; 0 for a straight line. *R²*: over single windows.",
            (
                ("mJ a layer", "slope", "m2"), ("mJ whatever the exit", "intercept", "m2"), ("of full depth", "fixed_share", "%"),
                ("bend", "bend", "+%"), ("R²", "r_squared", "4"),
            ),
        ),
        Table(
            "arms", "A token at each exit",
            "Means over windows. *CPU-ms* and *ms*: processor and wall time.",
            (
                ("exit after layer", "layer", "0"), ("layers skipped", "skipped", "0"), ("mJ per token", "joules", "m2"),
                ("on the line", "line", "m2"), ("of full depth", "of_full", "%"), ("CPU-ms", "cpu_seconds", "m2"), ("ms", "wall_seconds", "m2"),
            ),
        ),
    ),
    Curves("Joules per token by layer", "arms", None, "layer", "joules", "layers run", "J per token"),
)  # fmt: skip
