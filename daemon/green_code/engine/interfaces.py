"""What the service needs of a loaded model; loading.py and session.py implement it, tests use a stand-in.

Must not know: either implementation, or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from green_code.link.messages import CompletionParams, CompletionResult, State
from green_code.problems import Problem

REMOTE: Final = "remote"
"""As a device: a server computes, perhaps on another machine."""

Progress = Callable[[State, str, "float | None"], None]
"""Called while loading: "loading", a sentence, a fraction or None."""

Cancelled = Callable[[], "str | None"]
"""Polled between calls of the decoder: None, or the refusal to answer with."""


class DeviceProblem(Problem):
    """A device other than the processor cannot be used, or no longer. `lost`: not until the process is another one."""

    def __init__(self, device: str, why: str, lost: bool = False) -> None:
        super().__init__("internal_error", f"{device} cannot be used ({why}).")
        self.device, self.lost = device, lost


class EndpointProblem(Problem):
    """A server does not answer, or with something else than a completion.

    Args:
        wait_seconds: how long that server wants to be left alone.
    """

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__("endpoint_failed", message)
        self.wait_seconds = wait_seconds


class Session(Protocol):
    """One document's caches; used by one thread at a time."""

    @property
    def cache_bytes(self) -> int:
        """Memory the caches hold."""

    def complete(self, params: CompletionParams, cancelled: Cancelled) -> CompletionResult:
        """Complete; `id` is left empty, and an interrupted one has no text. Raises Problem for that the user can fix."""

    def trim(self) -> None:
        """Drop the caches."""


class Runtime(Protocol):
    """A loaded model."""

    @property
    def model(self) -> str: ...
    @property
    def bundle(self) -> str: ...
    @property
    def device(self) -> str:
        """Where it computes: "cpu", "cuda", "mps", or "remote": a server does."""

    @property
    def card(self) -> str:
        """The GPU among several, as NVML names it; empty where none computes here."""

    @property
    def notice(self) -> str:
        """What is less than usual because the device has little room, as a part of a sentence; mostly empty."""

    @property
    def idle_watts(self) -> float:
        """What the device draws because models are resident on it; 0 where it is not measured apart."""

    @property
    def layers_total(self) -> int: ...
    @property
    def exits(self) -> tuple[int, ...]: ...
    @property
    def weights(self) -> str:
        """Changes when anything of the bundle does."""

    @property
    def energy_source(self) -> str: ...
    @property
    def costs_assumed(self) -> bool:
        """Whether joules are counted at assumed costs, because nothing was measured on this machine."""

    @property
    def reads_snippets(self) -> bool:
        """Whether the model's prompt has a place for lines of other files."""

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The bundle's calibration.json; empty without one."""

    def threshold(self, threshold: float | str) -> float:
        """The number of a preset. Raises Problem where it is not calibrated."""

    def measure_costs(self, interrupted: Callable[[], bool]) -> None:
        """Measure a piece of a second or so; the last one replaces the assumed costs. Not while a session computes.

        Args:
            interrupted: polled; ends the piece, which then does not count.
        Raises:
            Problem: the meter gives no readings.
        """

    def new_session(self) -> Session:
        """Fresh caches."""

    def close(self) -> None:
        """Give the memory back."""


MakeRoom = Callable[[int], None]
"""Called before weights of so many bytes are opened; raises Problem if there is no memory for them."""


class LoadRuntime(Protocol):
    """`loading.load_runtime`; runs for seconds, on its own thread; raises Problem, and `DeviceProblem` where a device alone is to blame."""

    def __call__(self, model: str, progress: Progress, device: str, make_room: MakeRoom, /) -> Runtime: ...
