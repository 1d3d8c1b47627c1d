"""What a model's work costs on this machine: measured once, in pieces, then read from the cache."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import (
    default_rng,
)  # NumPy imports it late, when an engine that serves may lack memory (process.import_loader)

from green_code.decoding.exit_classifier import ExitClassifier, parameter_shapes
from green_code.decoding.exit_policies import ExitView, agent_for
from green_code.decoding.kv_cache import KVCache
from green_code.energy.costs import COSTS_FILES, IDLE, CostModel, Measurement, load_costs, save_costs
from green_code.energy.meters import pick_meter
from green_code.energy.rows import ASSUMED, UNKNOWN
from green_code.engine.assumed_costs import assumed_costs, layer_weights, token_work
from green_code.engine.interfaces import Progress
from green_code.folders import cache_dir
from green_code.models.backend import SMALL_BATCH, Backend
from green_code.problems import Problem
from green_code.work import Work

_COST_ROWS = 256  # a prompt
_COST_AGENTS = 48  # more than a core's cache holds
_WORKLOADS = 14  # raised when what is measured changes, or how
_SMALL = 1_000_000  # weights of a layer
_COST_DRAFTS = 8  # a verification
_IDLE_SECONDS = 0.05
_COST_KV_ONLY = 32  # positions of which only keys and values are computed: a few lines, or part of a prompt


log = logging.getLogger(__name__)


class Interrupted(Exception):
    """A request came in the middle of a piece."""


class CostMeasurement:
    """The costs of a decoder's shape on this machine, measured once, in pieces; other weights cost the same.

    Args:
        exits: the bundle's; decisions are measured at the first. Without any, they are measured without a lens.
        window_seconds: see `energy.costs.Measurement`.
    """

    def __init__(self, decoder: Backend, exits: Sequence[int], window_seconds: float) -> None:
        gpu, processor = decoder.gpu, processor_name()
        self._decoder, self._exit, self._window_seconds = decoder, next(iter(exits), 1), window_seconds
        self.meter = pick_meter(gpu)
        parts = (decoder.config.to_json(), decoder.build, gpu, processor, self.meter.describe(), _WORKLOADS)
        key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
        self._path = cache_dir() / COSTS_FILES.replace("*", key)
        self._measurement: Measurement | None = None
        self._interrupted: Callable[[], bool] = lambda: False

    def kept(self) -> CostModel | None:
        """What was measured at an earlier start."""
        return load_costs(self._path)

    def step(self, interrupted: Callable[[], bool] = lambda: False) -> float:
        """Measure a piece of a second or so; returns the share that is measured. An interrupted piece does not count.

        Args:
            interrupted: polled at least every tenth of a second or two.
        Raises:
            Problem: there is no meter.
        """
        if self.meter.source == UNKNOWN:
            raise Problem("internal_error", f"what work costs stays unknown: {self.meter.describe()}.")
        self._interrupted = interrupted
        with contextlib.suppress(Interrupted):
            if self._measurement is None:
                workloads = _workloads(self._decoder, self._exit, self._poll)
                self._measurement = Measurement(workloads, self.meter, self._window_seconds, self._decoder.synchronise)
            self._measurement.step()
        return self._measurement.share if self._measurement is not None else 0.0

    def costs(self) -> CostModel:
        """The costs, when all is measured; they are kept for later starts.

        Raises:
            Problem: the meter gave no readings.
        """
        assert self._measurement is not None
        costs, config = self._measurement.costs(), self._decoder.config
        if layer_weights(config) > _SMALL:  # what surrounds the arithmetic of a smaller one says nothing of others
            assumed = assumed_costs(self._decoder).prices.of(token_work(config.layers))
            costs = replace(costs, over_assumed=costs.prices.of(token_work(config.layers)) / assumed)
        save_costs(self._path, costs)
        return costs

    def _poll(self) -> None:
        if self._interrupted():
            raise Interrupted


def measured_costs(decoder: Backend, exits: Sequence[int], window_seconds: float, progress: Progress) -> CostModel:
    """The costs that were kept; otherwise measured now, in a minute or two. Arguments as of `CostMeasurement`.

    Where nothing can measure them they stay assumed, and their source says so: what is compared with them are ratios.

    Raises:
        Problem: the meter gives no readings.
    """
    measurement = CostMeasurement(decoder, exits, window_seconds)
    if (kept := measurement.kept()) is not None:
        return kept
    if measurement.meter.source == UNKNOWN:
        log.warning("%s; all joules are assumed, none is measured", measurement.meter.describe())
        return replace(assumed_costs(decoder), source=ASSUMED)
    share = 0.0
    while share < 1:
        progress("loading", "measuring energy per layer and token (once)", share)
        share = measurement.step()
    return measurement.costs()


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def token_seconds(decoder: Backend, tokens: int = 5) -> float:
    """How long a token at full depth takes: the median of a few."""
    cache, taken = KVCache(decoder), []
    cache.append([1])
    for _ in range(tokens):
        begin = time.perf_counter()
        cache.advance(len(cache) - 1, decoder.config.layers)
        cache.top_tokens((len(cache) - 1,), decoder.config.layers)
        taken.append(time.perf_counter() - begin)
        cache.append([1])
    return statistics.median(taken)


def _workloads(decoder: Backend, exit: int, poll: Callable[[], None]) -> dict[str, Callable[[], Work]]:
    """What `energy.costs.Measurement` repeats; decisions are made at `exit`. Positions follow 256 others, as in a real document.

    Args:
        poll: called before each of the decoder's calls; may raise.
    """
    layers, cache = decoder.config.layers, KVCache(decoder, poll)
    cache.append([1] * _COST_ROWS)
    few = decoder.new_buffers(_COST_KV_ONLY)
    decoder.embed_into(few, 0, [1] * _COST_KV_ONLY)
    # Any weights cost the same. In service the layers' weights are read between two decisions: many classifiers in turn, with
    # the head between them, are as cold.
    agents = itertools.cycle(
        [agent_for(_any_classifier(decoder.config.width, exit), decoder) for _ in range(_COST_AGENTS)]
    )

    def forward(cached: int, new: int) -> Work:
        """All layers over `new` positions after `cached` ones."""
        before = cache.work.copy()
        cache.truncate(cached)
        cache.append([1] * new)
        cache.advance(cached + new - 1, layers)
        decoder.synchronise()  # or a GPU would be thousands of calls behind
        return cache.work - before

    def head(rows: int) -> Work:
        poll()
        before = cache.work.copy()
        cache.top_tokens(range(_COST_ROWS - rows, _COST_ROWS), layers)
        return cache.work - before

    def decision() -> Work:
        poll()
        before = cache.work.copy()
        cache.work.decisions += 1
        next(agents).should_exit(ExitView(cache, _COST_ROWS - 1, exit, 1))
        return cache.work - before

    def kv_only() -> Work:
        poll()
        decoder.project_kv(1, layers, few, 0, _COST_KV_ONLY, propagated=True)
        decoder.synchronise()
        return Work(kv_only=layers * _COST_KV_ONLY)

    def idle() -> Work:
        poll()
        time.sleep(_IDLE_SECONDS)
        return Work()

    waits = {} if decoder.gpu is None else {IDLE: idle}
    return waits | {
        "layer": partial(forward, _COST_ROWS, 1),
        "layer_small_batch": partial(forward, _COST_ROWS, SMALL_BATCH),
        "layer_batch": partial(forward, 0, _COST_ROWS),
        "head": partial(head, 1),
        "head_batch": partial(head, _COST_DRAFTS),
        "decision": decision,
        "kv_only": kv_only,
    }


def _any_classifier(width: int, exit: int) -> ExitClassifier:
    generator = default_rng(0)
    shapes = parameter_shapes(width, 1)
    return ExitClassifier(
        (exit,), {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    )
