"""Rows completed by several processes, each with a model of its own; results come in the rows' order.

Completions and joules are those of one process (joules are counted from what ran); only times suffer where cores are shared.
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

_runtime: Runtime | None = None
"""A worker's own."""


def cold(runtime: Runtime) -> Complete:
    """One process: each request by a session of its own."""

    def complete(asked: Iterable[CompletionParams]) -> Iterator[CompletionResult]:
        for params in asked:
            yield runtime.new_session().complete(params, lambda: None, math.inf)

    return complete


def jobs_for(runtime: Runtime) -> int:
    """How many processes pay: one a core, and one on a GPU, however many cores there are beside it."""
    return usable_cores() if runtime.decoder.device.type == "cpu" else 1


@contextlib.contextmanager
def workers(runtime: Runtime, jobs: int) -> Iterator[Complete]:
    """`jobs` processes, this one alone if 1. A failure in one of them is raised where its result is taken."""
    if jobs == 1:
        yield cold(runtime)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    shares = context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    for number in range(jobs):
        shares.put(cores[number::jobs])
    with ProcessPoolExecutor(jobs, context, _open, (runtime.model, shares)) as pool:
        yield lambda asked: pool.map(_complete, asked)


def _open(model: str, shares: SimpleQueue[list[int]]) -> None:
    """Each worker has cores of its own: threads of several on one core would wait for one another."""
    global _runtime
    if cores := shares.get():
        os.sched_setaffinity(0, cores)
    _runtime = load_runtime(model)


def _complete(params: CompletionParams) -> CompletionResult:
    assert _runtime is not None
    return _runtime.new_session().complete(params, lambda: None, math.inf)
