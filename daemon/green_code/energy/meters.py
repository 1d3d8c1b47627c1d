"""Meters: cumulative joules of this machine's device, or an estimate, always labelled with its source.

- `nvml`: the GPU's total-energy counter (Volta and newer; updated about every 100 ms); `nvml+rapl`: with the host's, where it can be read;
- `rapl`: the CPU packages' counters under /sys/class/powercap (readable by root only on Linux since 2020);
- `estimate`: this process's CPU-seconds × watts per core, both shown;
- `assumed`: no meter: costs of another machine, for ratios of a GPU without a counter;
- `unknown`: a GPU computes whose counter cannot be read. CPU-seconds say nothing of its joules.

Readings never fall. A missing figure is None, never 0. A window shorter than 10 s is labelled, because the steps of the
counters then matter. Method after ml-energy/zeus.
Must not know: models, completions, or where figures go.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from green_code.energy.rows import UNKNOWN

log = logging.getLogger(__name__)

Source = Literal["nvml", "nvml+rapl", "rapl", "estimate", "assumed", "unknown"]

SHORT_WINDOW_SECONDS = 10.0

DEFAULT_WATTS_PER_CORE = 10.0
"""Watts that one busy core adds, for the estimate. Package power over cores, from data sheets: AMD EPYC 9654
360 W / 96 = 3.8, EPYC 9354 280 / 32 = 8.8, Intel Core i7-1260P 28 / 12 = 2.3 sustained (64 / 12 = 5.3 in turbo),
Core i9-13900K 253 / 24 = 10.5. 10 is a round figure near their upper end; ratios do not depend on it. Every figure made
from it is labelled `estimate`."""

WATTS_VARIABLE = "GREEN_CODE_WATTS_PER_CORE"

POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """A cumulative counter of joules."""

    @property
    def source(self) -> Source:
        """Where the figures come from."""

    def read_joules(self) -> float | None:
        """Joules since the meter was created, never falling; None if the counter cannot be read now."""

    def describe(self) -> str:
        """One line for the user: what is measured, and how."""


@dataclass(frozen=True)
class Absent:
    """A meter that this machine lacks, and why."""

    source: Source
    why: str


class NvmlMeter:
    """One GPU's total-energy counter; `library` is pynvml or a stand-in."""

    source: Source = "nvml"

    def __init__(self, library: Any, gpu: str | None) -> None:
        self._library = library
        self._name = gpu or "0"
        self._handle = library.nvmlDeviceGetHandleByUUID(gpu) if gpu else library.nvmlDeviceGetHandleByIndex(0)
        self._first_mj: int = library.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        self._joules = 0.0

    def read_joules(self) -> float | None:
        """Joules since the meter was created; the counter has millijoules."""
        try:
            now_mj: int = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._library.NVMLError as error:
            log.warning("NVML counter of GPU %s cannot be read: %s", self._name, error)
            return None
        self._joules = max(self._joules, (now_mj - self._first_mj) / 1000)
        return self._joules

    def describe(self) -> str:
        """See `Meter`."""
        return f"NVML total-energy counter of GPU {self._name}"


def open_nvml(gpu: str | None, library: Any = None) -> NvmlMeter | Absent:
    """The meter of the GPU with a UUID (None: the first GPU), or why there is none.

    Not by number: CUDA numbers the visible devices, NVML all of them.
    """
    if library is None:
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            return Absent("nvml", "pynvml is not installed; `pip install green-code[gpu]` adds it")
    try:
        library.nvmlInit()
        return NvmlMeter(library, gpu)
    except library.NVMLError as error:
        return Absent("nvml", f"NVML failed: {error}")


class RaplMeter:
    """The sum of all CPU packages' energy counters; a wrapped counter is corrected at each reading."""

    source: Source = "rapl"

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._ranges_uj = [int((package / "max_energy_range_uj").read_text()) for package in packages]
        self._last_uj = [int((package / "energy_uj").read_text()) for package in packages]
        self._total_uj = 0

    def read_joules(self) -> float | None:
        """Joules since the meter was created: each counter's difference modulo its range, summed."""
        try:
            now_uj = [int((package / "energy_uj").read_text()) for package in self._packages]
        except (OSError, ValueError) as error:
            log.warning("RAPL counter cannot be read: %s", error)
            return None
        for index, now in enumerate(now_uj):
            # The kernel's range is the counter's largest value, so there are range + 1 values.
            self._total_uj += (now - self._last_uj[index]) % (self._ranges_uj[index] + 1)
            self._last_uj[index] = now
        return self._total_uj / 1e6

    def describe(self) -> str:
        """See `Meter`."""
        return f"RAPL counters of {len(self._packages)} CPU package(s), including other programs' use"


def open_rapl(powercap: Path = POWERCAP) -> RaplMeter | Absent:
    """The CPU packages' meter, or why there is none."""
    packages = [
        folder
        for folder in sorted(powercap.glob("*-rapl:*"))
        if folder.name.count(":") == 1 and _read_name(folder).startswith("package")
    ]
    if not packages:
        return Absent("rapl", f"no CPU package under {powercap}")
    try:
        return RaplMeter(packages)
    except PermissionError:
        return Absent("rapl", f"{packages[0] / 'energy_uj'} is readable by root only")
    except (OSError, ValueError) as error:
        return Absent("rapl", f"{packages[0]}: {error}")


def _read_name(folder: Path) -> str:
    try:
        return (folder / "name").read_text().strip()
    except OSError:
        return ""


class EstimateMeter:
    """CPU-seconds of this process × watts per core; the rest of the machine is not included."""

    source: Source = "estimate"

    def __init__(
        self, watts_per_core: float | None = None, cpu_seconds: Callable[[], float] = time.process_time
    ) -> None:
        self.watts_per_core = _watts_from_environment() if watts_per_core is None else watts_per_core
        self._cpu_seconds = cpu_seconds
        self._first_seconds = cpu_seconds()

    def read_joules(self) -> float | None:
        """Joules since the meter was created."""
        return (self._cpu_seconds() - self._first_seconds) * self.watts_per_core

    def describe(self) -> str:
        """See `Meter`."""
        return f"estimate: CPU-seconds of this process × {self.watts_per_core:g} W per core ({WATTS_VARIABLE})"


def _watts_from_environment() -> float:
    text = os.environ.get(WATTS_VARIABLE)
    if not text:
        return DEFAULT_WATTS_PER_CORE
    try:
        watts = float(text)
    except ValueError:
        watts = -1.0
    if not 0 < watts < 1000:
        log.warning("%s=%s is not a number of watts; %g is used", WATTS_VARIABLE, text, DEFAULT_WATTS_PER_CORE)
        return DEFAULT_WATTS_PER_CORE
    return watts


class GpuAndHost:
    """A GPU's counter and that of the processor beside it."""

    source: Source = "nvml+rapl"

    def __init__(self, gpu: NvmlMeter, host: RaplMeter) -> None:
        self.gpu = gpu
        self._parts: tuple[NvmlMeter, RaplMeter] = (gpu, host)

    def read_joules(self) -> float | None:
        """The sum; None if one of them cannot be read now."""
        read = [part.read_joules() for part in self._parts]
        return None if None in read else sum(joules for joules in read if joules is not None)

    def describe(self) -> str:
        """See `Meter`."""
        return " + ".join(part.describe() for part in self._parts)


def own_part(meter: Meter) -> Meter | None:
    """What a meter counts of one process's device alone, without what it counts of the whole machine; None: nothing."""
    if isinstance(meter, GpuAndHost):
        return meter.gpu
    return None if isinstance(meter, RaplMeter) else meter


class UnknownMeter:
    """Of a GPU without a counter: its joules are unknown, which is not 0."""

    source: Source = UNKNOWN

    def __init__(self, why: str) -> None:
        self._why = why

    def read_joules(self) -> None:
        """See `Meter`."""
        return

    def describe(self) -> str:
        """See `Meter`."""
        return f"no energy counter of the GPU: {self._why}"


def pick_meter(gpu: str | None, *, powercap: Path = POWERCAP, nvml: Any = None) -> Meter:
    """The best meter for the GPU with a UUID, or for the CPU (None); the log says why it is an estimate, or unknown."""
    host = open_rapl(powercap)
    if gpu is None:
        if isinstance(host, Absent):
            log.info("no %s meter: %s; energy is estimated", host.source, host.why)
            return EstimateMeter()
        return host
    counter = open_nvml(gpu, nvml)
    if isinstance(counter, Absent):
        log.info("no %s meter: %s; energy is unknown", counter.source, counter.why)
        return UnknownMeter(counter.why)
    if isinstance(host, Absent):
        log.info("the host's joules are not included: %s", host.why)
        return counter
    return GpuAndHost(counter, host)


@dataclass(frozen=True)
class Reading:
    """A window's measurement. `joules` is None if the counter failed; `short` marks a window under 10 s."""

    joules: float | None
    seconds: float
    cpu_seconds: float
    source: Source
    short: bool


class Window:
    """Measures the block of a `with`; `reading` is set when it ends.

    Args:
        synchronise: waits for the device's queued work, at both edges of the window.
    """

    def __init__(
        self, meter: Meter, synchronise: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._meter = meter
        self._synchronise = synchronise
        self._clock = clock
        self.reading: Reading | None = None

    def __enter__(self) -> Window:
        self._synchronise()
        self._joules = self._meter.read_joules()
        self._cpu_seconds = time.process_time()
        self._seconds = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._synchronise()
        seconds = self._clock() - self._seconds
        cpu_seconds = time.process_time() - self._cpu_seconds
        joules = self._meter.read_joules()
        self.reading = Reading(
            joules=None if joules is None or self._joules is None else joules - self._joules,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            source=self._meter.source,
            short=seconds < SHORT_WINDOW_SECONDS,
        )
