"""Work over several processes, each with its own model; outcomes come in the items' order.

Completions and joules are the same as of one process, since joules are counted from the work done.
"""

from __future__ import annotations

import contextlib
import copy
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from green_code.engine.loading import Runtime, load_measured
from green_code.engine.prompts import PromptLayout
from green_code.kernels.thread_pool import usable_cores
from green_code.link.messages import CompletionParams, CompletionResult

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Complete = Callable[[Iterable[CompletionParams]], Iterable[CompletionResult]]

_runtime: Runtime | None = None  # of a worker


def cold(runtime: Runtime) -> Complete:
    """In this process, each request in a fresh session."""
    return lambda requests: (_complete_cold(runtime.layout, runtime, params) for params in requests)


def _complete_cold(layout: PromptLayout, runtime: Runtime, params: CompletionParams) -> CompletionResult:
    return laid_out(runtime, layout).new_session().complete(params, lambda: None, math.inf)


def laid_out(runtime: Runtime, layout: PromptLayout) -> Runtime:
    """The same model with another layout of its prompts. A worker's own model has the default one."""
    other = copy.copy(runtime)
    other.layout = layout
    return other


def jobs_for(runtime: Runtime) -> int:
    """Processes that pay: one a core, and one on a GPU."""
    return usable_cores() if runtime.decoder.gpu is None else 1


@contextlib.contextmanager
def workers(runtime: Runtime, jobs: int) -> Iterator[Complete]:
    """Rows completed cold, with the runtime's layout of prompts; see `processes`."""
    with processes(runtime, jobs, partial(_complete_cold, runtime.layout)) as complete:
        yield complete


@contextlib.contextmanager
def processes(
    runtime: Runtime, jobs: int, work: Callable[[Runtime, Item], Outcome]
) -> Iterator[Callable[[Iterable[Item]], Iterable[Outcome]]]:
    """`work` over items, in their order, in `jobs` processes; this one if 1. A failure in one of them is raised where its outcome is
    read.

    Args:
        work: of a module, with a worker's own model; or a partial of such.
    """
    if jobs == 1:
        yield lambda items: (work(runtime, item) for item in items)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    shares = context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    for number in range(jobs):
        shares.put(cores[number::jobs])
    with ProcessPoolExecutor(jobs, context, _open, (runtime.model, runtime.device, shares)) as pool:
        yield lambda items: pool.map(partial(_work, work), items)


def _open(model: str, device: str, shares: SimpleQueue[list[int]]) -> None:
    """Each worker gets its own cores, so that its threads wait for no other worker."""
    global _runtime
    if cores := shares.get():
        os.sched_setaffinity(0, cores)
    _runtime = load_measured(model, device=device)


def _work(work: Callable[[Runtime, Item], Outcome], item: Item) -> Outcome:
    assert _runtime is not None
    return work(_runtime, item)
