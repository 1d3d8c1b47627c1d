"""A machine without a GPU that keeps the rules of one: it replays the same launches on the processor, in Triton's interpreter.

It fails where a CUDA graph would compute something else or could not be recorded: an allocation or any other operation of torch while
it is recorded, a read by the host, and a tensor that has moved or has another shape when it is replayed.
Triton decides when it is imported whether it interprets: TRITON_INTERPRET=1 must be set before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class NotRecordable(RuntimeError):
    """A graph could not do this."""


@dataclass(frozen=True)
class Launch:
    """A kernel with its grid and arguments, or a copy (`kernel` is None, arguments are target and source)."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    constants: Mapping[str, Any]

    @property
    def name(self) -> str:
        return "copy" if self.kernel is None else str(self.kernel.fn.__name__)

    def run(self) -> None:
        if self.kernel is None:
            self.arguments[0].copy_(self.arguments[1])
        else:
            self.kernel[self.grid](*self.arguments, **self.constants)


class Recorder:
    """A `Launcher` that only writes down what is launched."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []

    def __call__(self, kernel: Any, grid: Sequence[int], /, *arguments: Any, **constants: Any) -> None:
        self.launches.append(Launch(kernel, tuple(grid), arguments, constants))

    def copy(self, target: Tensor, source: Tensor) -> None:
        self.launches.append(Launch(None, (), (target, source), {}))


class _Runner:
    def __call__(self, kernel: Any, grid: Sequence[int], /, *arguments: Any, **constants: Any) -> None:
        Launch(kernel, tuple(grid), arguments, constants).run()

    def copy(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source)


class _NothingButViews(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            raise NotRecordable(f"{func} within a graph")
        return func(*args, **(kwargs or {}))


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


class RecordedGraph:
    """See `graphs.Graph`."""

    def __init__(self, body: Callable[[Any], None]) -> None:
        recorder = Recorder()
        with _NothingButViews():  # type: ignore[no-untyped-call]
            body(recorder)
        self.launches = recorder.launches
        self._tensors = [each for one in self.launches for each in one.arguments if isinstance(each, Tensor)]
        self._places = [_place(tensor) for tensor in self._tensors]

    def replay(self) -> None:
        if [_place(tensor) for tensor in self._tensors] != self._places:
            raise NotRecordable("a tensor of the graph has moved, or has another shape")
        for launch in self.launches:
            launch.run()


@dataclass
class Counter:
    """See `graphs.Machine`. It counts and runs nothing, so it serves models of any size without their weights; what is read is 0."""

    device: torch.device = field(default_factory=lambda: torch.device("meta"))
    launch: Recorder = field(default_factory=Recorder)
    replays: int = 0
    synchronisations: int = 0

    def record(self, body: Callable[[Any], None]) -> _Replayed:
        recorder = Recorder()
        body(recorder)
        return _Replayed(self, recorder.launches)

    def on_host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def synchronise(self) -> None:
        self.synchronisations += 1


@dataclass
class _Replayed:
    machine: Counter
    launches: list[Launch]

    def replay(self) -> None:
        self.machine.launch.launches += self.launches
        self.machine.replays += 1


@dataclass
class StandIn:
    """See `graphs.Machine`. It counts what is asked of the device."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    launch: _Runner = field(default_factory=_Runner)
    recorded: list[RecordedGraph] = field(default_factory=list)
    replays: int = 0
    synchronisations: int = 0

    def __post_init__(self) -> None:
        _patch_once()

    def record(self, body: Callable[[Any], None]) -> _Counted:
        body(self.launch)
        graph = RecordedGraph(body)
        self.recorded.append(graph)
        return _Counted(self, graph)

    def on_host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def synchronise(self) -> None:
        self.synchronisations += 1


@dataclass
class _Counted:
    machine: StandIn
    graph: RecordedGraph

    def replay(self) -> None:
        self.machine.replays += 1
        self.graph.replay()


class _Scope(Protocol):
    def restore(self) -> None: ...


def _patch_once() -> None:
    """The interpreter replaces Triton's language for each launch and back, which takes far longer than a launch: once will do."""
    from triton.runtime import interpreter

    if getattr(interpreter, "_patched_once", False):
        return
    patch_language, done = interpreter._patch_lang, set[int]()

    class Kept:
        def restore(self) -> None: ...

    def patch(function: Any) -> _Scope:
        if id(function.__globals__) not in done:
            done.add(id(function.__globals__))
            patch_language(function)
        return Kept()

    interpreter._patch_lang, interpreter._patched_once = patch, True
    options = interpreter.interpreter_builder.options
    interpreter.interpreter_builder.options = replace(options, sanitize_overflow=False)
