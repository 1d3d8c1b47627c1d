"""Recorded launches that are replayed with one call: CUDA graphs.

What is recorded may only launch kernels over tensors that stay where they are, and copy between such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Launcher(Protocol):
    """Queues work on the device."""

    def __call__(self, kernel: Any, grid: Sequence[int], /, *arguments: Any, **constants: Any) -> None:
        """Launch a Triton kernel."""

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Between device and host, or on the device."""


class Graph(Protocol):
    def replay(self) -> None:
        """Queue all that was recorded."""


class Machine(Protocol):
    """A device with its queue. It computes in the order of the calls."""

    @property
    def device(self) -> torch.device: ...

    @property
    def launch(self) -> Launcher:
        """Queues work at once, not recorded."""

    def record(self, body: Callable[[Launcher], None]) -> Graph:
        """Record what `body` launches. It is also run before, and must not change anything then."""

    def on_host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Zeros on the host that the device copies without waiting."""

    def synchronise(self) -> None:
        """Wait for all that is queued."""


class _CudaLauncher:
    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, kernel: Any, grid: Sequence[int], /, *arguments: Any, **constants: Any) -> None:
        torch.cuda.set_device(self._device)
        kernel[tuple(grid)](*arguments, **constants)

    def copy(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source, non_blocking=True)


class _CudaGraph:
    def __init__(self, device: torch.device, graph: torch.cuda.CUDAGraph) -> None:
        self._device, self._graph = device, graph

    def replay(self) -> None:
        torch.cuda.set_device(self._device)
        self._graph.replay()


class CudaMachine:
    """See `Machine`. All work is on the card's default stream, which threads share: one loads a model, another computes. Which card is the
    current one is a thread's own matter, so it is said at each call."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.launch = device, _CudaLauncher(device)
        torch.cuda.set_device(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, body: Callable[[Launcher], None]) -> Graph:
        for _ in range(2):  # Triton compiles in the first run, which a graph does not take
            body(self.launch)
        self.synchronise()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            body(self.launch)
        return _CudaGraph(self.device, graph)

    def on_host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def synchronise(self) -> None:
        torch.cuda.default_stream(self.device).synchronize()
