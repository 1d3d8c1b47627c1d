"""Several rows at once, in one process: their sessions take turns, and what each has to run over a few positions runs in one call.

A token waits for the weights, so those of several sessions cost little more than one. Depths are ragged: each session has its own cache, and
steps are batched that run the same layers. A session's text, work and joules are to the bit those that it has alone, since a row's result
in the kernel depends on the row alone; its joules are those of being alone, too, and `experiments batching` measures what a batch spends.

One session computes at a time, until it waits for its step: threads are used as coroutines. When all that have a row wait, the last
one runs the steps of all.
"""

from __future__ import annotations

import copy
import math
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from green_code.engine.loading import Runtime
from green_code.kernels.binding import CHUNK
from green_code.kernels.decoder import KernelDecoder
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.models.backend import Buffers, ExitQuestion, TopToken
from green_code.problems import Problem
from green_code_lab.evaluation.kernel_rows import RowsDecoder

FEW: int = 8
"""Positions of a step that waits for others; a longer one is a prompt, and shares the weights among its own."""


@dataclass
class _Step:
    """What a session waits for: layers over some positions, or the top tokens of some."""

    key: tuple[Any, ...]  # of steps that run together
    rows: list[tuple[Buffers, int]]
    tops: list[TopToken] = field(default_factory=list)
    is_done: bool = False
    error: BaseException | None = None


class Together:
    """A decoder that several sessions share, as a backend; all else is the decoder's.

    Args:
        serving: threads that call `serve`.
    """

    def __init__(self, decoder: KernelDecoder, serving: int) -> None:
        self._decoder, self._serving = RowsDecoder(decoder), serving
        self._turn = threading.Condition()
        self._waiting: list[_Step] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def serve(self, runtime: Runtime, rows: deque[tuple[Future[CompletionResult], CompletionParams]]) -> None:
        """Complete rows, each in a fresh session, while there are some: the work of one thread."""
        with self._turn:
            while rows:
                outcome, params = rows.popleft()
                try:
                    outcome.set_result(runtime.new_session().complete(params, lambda: None, math.inf))
                except BaseException as error:
                    outcome.set_exception(error)
            self._serving -= 1
            self._run_if_all_wait()

    def run_layers(self, first: int, last: int, buffers: Buffers, start: int, stop: int) -> None:
        """See `Backend`."""
        if stop - start > FEW:
            self._decoder.run_layers(first, last, buffers, start, stop)
        else:
            self._wait(_Step(("layers", first, last), [(buffers, position) for position in range(start, stop)]))

    def top_tokens(
        self, buffers: Buffers, positions: Sequence[int], depth: int, question: ExitQuestion | None = None
    ) -> list[TopToken]:
        """See `Backend`; questions are answered later, as by the kernel."""
        return self._wait(_Step(("head", depth), [(buffers, position) for position in positions])).tops

    def _wait(self, step: _Step) -> _Step:
        self._waiting.append(step)
        self._run_if_all_wait()
        while not step.is_done:
            self._turn.wait()
        if step.error is not None:
            raise step.error
        return step

    def _run_if_all_wait(self) -> None:
        if len(self._waiting) < self._serving:
            return
        steps, self._waiting = self._waiting, []
        alike = defaultdict[tuple[Any, ...], list[_Step]](list)
        for step in steps:
            alike[step.key].append(step)
        for key, group in alike.items():
            try:
                self._run(key, group)
            except BaseException as error:
                for step in group:
                    step.error = error
        for step in steps:
            step.is_done = True
        self._turn.notify_all()

    def _run(self, key: tuple[Any, ...], group: list[_Step]) -> None:
        rows = [row for step in group for row in step.rows]
        if key[0] == "head":
            tops = iter(self._decoder.top_tokens_of(rows, key[1]))
            for step in group:
                step.tops = [next(tops) for _ in step.rows]
            return
        _, first, last = key
        for begin in range(0, len(rows), CHUNK):
            self._decoder.run_rows(first, last, rows[begin : begin + CHUNK])


def complete_together(runtime: Runtime, requests: Iterable[CompletionParams], most: int) -> Iterator[CompletionResult]:
    """Completions of `parallel.cold`, in the requests' order; `most` of them at once.

    Raises:
        Problem: the model does not run in the kernel.
    """
    if not isinstance(runtime.decoder, KernelDecoder):
        raise Problem(
            "bad_request",
            f"Batches need the processor's kernel, but {runtime.model} runs in {runtime.decoder.description}; give --device cpu, or no --batch.",
        )
    outcomes = [(Future[CompletionResult](), params) for params in requests]
    rows, count = deque(outcomes), min(most, len(outcomes))
    together, shared = Together(runtime.decoder, count), copy.copy(runtime)
    shared.decoder = together  # type: ignore[assignment]  # it has a backend's methods from the decoder
    threads = [threading.Thread(target=together.serve, args=(shared, rows), name="row") for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for outcome, _ in outcomes:
            yield outcome.result()
    finally:
        rows.clear()  # after a failure, or where nobody reads on
        for thread in threads:
            thread.join()
