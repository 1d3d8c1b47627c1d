"""What this model's work costs on this machine: measured once, and kept in the cache."""

from __future__ import annotations

import hashlib
import itertools
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.decoding.exit_policies import View, agent_on
from green_code.decoding.kv_cache import KVCache
from green_code.energy.costs import COSTS_FILES, CostModel, Work, fit, load_costs, save_costs
from green_code.energy.meters import pick_meter
from green_code.engine.interfaces import Progress
from green_code.folders import cache_dir
from green_code.models.backend import SMALL_BATCH, Backend
from green_code.models.device import gpu_uuid
from green_code.models.weights import Model

THREADS = 1  # of torch, where a second one buys latency with energy; the kernel sees to its own
_COST_ROWS = 256  # a prompt
_COST_AGENTS = 48  # more than a core's cache holds
_WORKLOADS = 13  # changes when what is measured does, or how
_COST_DRAFTS = 8  # a verification
_COST_ENTRIES = 32  # positions that go for keys and values alone: a few lines, or part of a prompt


def measured_costs(
    opened: Model, exits: Sequence[int], window_seconds: float, progress: Progress
) -> CostModel:
    """The costs of this model's shape on this machine, measured once; another delta costs the same.

    Args:
        exits: the bundle's, at the first of which a decision is measured; without any it is one without a lens.

    Raises:
        Problem: the meter gives no readings.
    """
    decoder = opened.decoder
    gpu, processor = hardware(decoder.device)
    meter = pick_meter(gpu)
    parts = (
        decoder.config.to_json(),
        decoder.build,
        THREADS,
        gpu,
        processor,
        meter.describe(),
        _WORKLOADS,
    )
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
    path = cache_dir() / COSTS_FILES.replace("*", key)
    if (costs := load_costs(path)) is None:
        costs = fit(
            _workloads(decoder, next(iter(exits), 1)),
            meter,
            window_seconds,
            lambda s, part: progress("loading", s, part),
        )
        save_costs(path, costs)
    return costs


def hardware(device: torch.device) -> tuple[str | None, str]:
    """UUID of the GPU that computes, if one does, and the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return gpu_uuid(device), processor


def _workloads(decoder: Backend, exit: int) -> dict[str, Callable[[], Work]]:
    """What `energy.costs.fit` repeats; `exit` is one of those that are decided at. Positions are put in after 256 others, as in a real document."""
    layers, cache = decoder.config.layers, KVCache(decoder)
    cache.append([1] * _COST_ROWS)
    propagated = cache.advance(_COST_ROWS - 1, layers).repeat(_COST_ENTRIES, 1)

    def layer() -> Work:
        cache.truncate(_COST_ROWS)
        cache.append([1])
        cache.advance(_COST_ROWS, layers)
        return Work(runs=layers, evaluations=layers, few=layers)

    def layer_few() -> Work:
        cache.truncate(_COST_ROWS)
        cache.append([1] * SMALL_BATCH)
        cache.advance(_COST_ROWS + SMALL_BATCH - 1, layers)
        return Work(runs=layers, evaluations=layers * SMALL_BATCH, few=layers * SMALL_BATCH)

    def layer_batch() -> Work:
        cache.truncate(0)
        cache.append([1] * _COST_ROWS)
        cache.advance(_COST_ROWS - 1, layers)
        return Work(runs=layers, evaluations=layers * _COST_ROWS, few=layers * SMALL_BATCH)

    keys, values = (
        torch.zeros(
            layers,
            decoder.config.kv_heads,
            _COST_ENTRIES,
            width,
            dtype=decoder.cache_dtype,
            device=decoder.device,
        )
        for width in decoder.cache_widths
    )

    def entries() -> Work:
        decoder.project_kv(1, layers, propagated, 0, _COST_ENTRIES, keys, values, propagated=True)
        return Work(entries=layers * _COST_ENTRIES)

    @torch.inference_mode()
    def head() -> Work:
        cache.top_tokens((_COST_ROWS - 1,), layers)
        return Work(heads=1, head_rows=1)

    @torch.inference_mode()
    def head_batch() -> Work:
        cache.top_tokens(range(_COST_ROWS - _COST_DRAFTS, _COST_ROWS), layers)
        return Work(heads=1, head_rows=_COST_DRAFTS)

    # Any weights cost the same. In service the layers' weights come in between: taking turns, and with the head's in between,
    # these are cold as well.
    agents = itertools.cycle(
        [
            agent_on(ExitClassifier(decoder.config.width, (exit,)).to(decoder.device), decoder)
            for _ in range(_COST_AGENTS)
        ]
    )

    @torch.inference_mode()
    def decision() -> Work:
        next(agents).stop(View(cache, _COST_ROWS - 1, exit, 1))
        return Work(heads=1, head_rows=1, decisions=1)

    return {
        "layer": layer,
        "layer_few": layer_few,
        "layer_batch": layer_batch,
        "head": head,
        "head_batch": head_batch,
        "decision": decision,
        "kv_projections": entries,
    }
