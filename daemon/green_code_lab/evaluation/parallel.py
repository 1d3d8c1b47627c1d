"""Rows completed by several processes, each with its own model; results come in the rows' order.

Completions and joules are the same as of one process, since joules are counted from the work done.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import SimpleQueue

from green_code.engine.loading import Runtime, load_runtime
from green_code.kernels.thread_pool import usable_cores
from green_code.link.messages import CompletionParams, CompletionResult

Complete = Callable[[Iterable[CompletionParams]], Iterable[CompletionResult]]

_runtime: Runtime | None = None  # of a worker


def cold(runtime: Runtime) -> Complete:
    """In this process, each request in a fresh session."""
    return lambda requests: (_complete_cold(runtime, params) for params in requests)


def _complete_cold(runtime: Runtime, params: CompletionParams) -> CompletionResult:
    return runtime.new_session().complete(params, lambda: None, math.inf)


def jobs_for(runtime: Runtime) -> int:
    """Processes that pay: one a core, and one on a GPU."""
    return usable_cores() if runtime.decoder.device.type == "cpu" else 1


@contextlib.contextmanager
def workers(runtime: Runtime, jobs: int) -> Iterator[Complete]:
    """`jobs` processes; this one if 1. A failure in one of them is raised where its result is read."""
    if jobs == 1:
        yield cold(runtime)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    shares = context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    for number in range(jobs):
        shares.put(cores[number::jobs])
    with ProcessPoolExecutor(jobs, context, _open, (runtime.model, shares)) as pool:
        yield lambda requests: pool.map(_complete, requests)


def _open(model: str, shares: SimpleQueue[list[int]]) -> None:
    """Each worker gets its own cores, so that its threads wait for no other worker."""
    global _runtime
    if cores := shares.get():
        os.sched_setaffinity(0, cores)
    _runtime = load_runtime(model)


def _complete(params: CompletionParams) -> CompletionResult:
    assert _runtime is not None
    return _complete_cold(_runtime, params)
