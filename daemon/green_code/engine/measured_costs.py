"""What a model's work costs on this machine: measured once, then read from the cache."""

from __future__ import annotations

import hashlib
import itertools
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.decoding.exit_policies import ExitView, agent_for
from green_code.decoding.kv_cache import KVCache
from green_code.energy.costs import COSTS_FILES, CostModel, fit, load_costs, save_costs
from green_code.energy.meters import pick_meter
from green_code.engine.interfaces import Progress
from green_code.folders import cache_dir
from green_code.models.backend import SMALL_BATCH, Backend
from green_code.models.device import gpu_uuid
from green_code.models.weights import Model
from green_code.work import Work

THREADS = 1  # of torch, where a second one buys latency with energy; the kernel has its own thread pool
_COST_ROWS = 256  # a prompt
_COST_AGENTS = 48  # more than a core's cache holds
_WORKLOADS = 14  # raised when what is measured changes, or how
_COST_DRAFTS = 8  # a verification
_COST_KV_ONLY = 32  # positions of which only keys and values are computed: a few lines, or part of a prompt


def measured_costs(opened: Model, exits: Sequence[int], window_seconds: float, progress: Progress) -> CostModel:
    """The costs of this model's shape on this machine; other weights cost the same.

    Args:
        exits: the bundle's; decisions are measured at the first. Without any, they are measured without a lens.

    Raises:
        Problem: the meter gives no readings.
    """
    decoder = opened.decoder
    gpu, processor = hardware(decoder.device)
    meter = pick_meter(gpu)
    parts = (decoder.config.to_json(), decoder.build, THREADS, gpu, processor, meter.describe(), _WORKLOADS)
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
    """What `energy.costs.fit` repeats; decisions are made at `exit`. Positions follow 256 others, as in a real document."""
    layers, cache = decoder.config.layers, KVCache(decoder)
    cache.append([1] * _COST_ROWS)
    states = cache.advance(_COST_ROWS - 1, layers).repeat(_COST_KV_ONLY, 1)
    keys, values = (
        torch.zeros(
            layers, decoder.config.kv_heads, _COST_KV_ONLY, width, dtype=decoder.cache_dtype, device=decoder.device
        )
        for width in decoder.cache_widths
    )
    # Any weights cost the same. In service the layers' weights are read between two decisions: many classifiers in turn, with
    # the head between them, are as cold.
    agents = itertools.cycle(
        [
            agent_for(ExitClassifier(decoder.config.width, (exit,)).to(decoder.device), decoder)
            for _ in range(_COST_AGENTS)
        ]
    )

    def forward(cached: int, new: int) -> Work:
        """All layers over `new` positions after `cached` ones."""
        before = cache.work.copy()
        cache.truncate(cached)
        cache.append([1] * new)
        cache.advance(cached + new - 1, layers)
        return cache.work - before

    @torch.inference_mode()
    def head(rows: int) -> Work:
        before = cache.work.copy()
        cache.top_tokens(range(_COST_ROWS - rows, _COST_ROWS), layers)
        return cache.work - before

    @torch.inference_mode()
    def decision() -> Work:
        before = cache.work.copy()
        cache.work.decisions += 1
        next(agents).should_exit(ExitView(cache, _COST_ROWS - 1, exit, 1))
        return cache.work - before

    def kv_only() -> Work:
        decoder.project_kv(1, layers, states, 0, _COST_KV_ONLY, keys, values, propagated=True)
        return Work(kv_only=layers * _COST_KV_ONLY)

    return {
        "layer": partial(forward, _COST_ROWS, 1),
        "layer_small_batch": partial(forward, _COST_ROWS, SMALL_BATCH),
        "layer_batch": partial(forward, 0, _COST_ROWS),
        "head": partial(head, 1),
        "head_batch": partial(head, _COST_DRAFTS),
        "decision": decision,
        "kv_only": kv_only,
    }
