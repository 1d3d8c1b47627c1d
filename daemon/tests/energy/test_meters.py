"""Meters against replayed counters; no hardware, no waiting."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from green_code.energy import meters, rows


class NvmlError(Exception):
    """The fake's NVMLError."""


class FakeNvml:
    """pynvml with a script of readings in millijoules; an exception in it is raised."""

    NVMLError = NvmlError

    def __init__(self, readings: list[Any], broken: bool = False) -> None:
        self.readings = readings
        self.broken = broken

    def nvmlInit(self) -> None:
        if self.broken:
            raise NvmlError("driver not loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        assert uuid == "GPU-1"
        return 1

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        value = self.readings.pop(0)
        if isinstance(value, Exception):
            raise value
        return int(value)


def make_package(root: Path, name: str, energy_uj: int, range_uj: int, label: str) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(label + "\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder


def test_nvml_counts_joules_from_its_creation(tmp_path: Path) -> None:
    meter = meters.pick_meter("GPU-1", powercap=tmp_path, nvml=FakeNvml([5_000, 7_500, 9_000]))
    assert meter.source == "nvml"
    assert [meter.read_joules(), meter.read_joules()] == [2.5, 4.0]
    assert "GPU-1" in meter.describe()


def test_an_nvml_failure_is_none_and_never_zero(tmp_path: Path) -> None:
    meter = meters.pick_meter("GPU-1", powercap=tmp_path, nvml=FakeNvml([0, NvmlError("GPU is lost"), 1_000]))
    assert [meter.read_joules(), meter.read_joules()] == [None, 1.0]


def test_a_gpus_joules_have_its_hosts_added(tmp_path: Path) -> None:
    package = make_package(tmp_path, "intel-rapl:0", 1_000_000, 9_999_999, "package-0")
    meter = meters.pick_meter("GPU-1", powercap=tmp_path, nvml=FakeNvml([0, 5_000, NvmlError("GPU is lost")]))
    (package / "energy_uj").write_text("3000000\n")
    assert meter.source == "nvml+rapl" and meter.read_joules() == 7.0
    assert meter.read_joules() is None, "a part that cannot be read is not 0"
    assert "NVML" in meter.describe() and "RAPL" in meter.describe()


@pytest.mark.parametrize("nvml", [FakeNvml([], broken=True), FakeNvml([NvmlError("Insufficient Permissions")])])
def test_without_nvml_a_gpus_joules_are_unknown_and_never_cpu_seconds(tmp_path: Path, nvml: FakeNvml) -> None:
    make_package(tmp_path, "intel-rapl:0", 1_000_000, 9_999_999, "package-0")
    meter = meters.pick_meter("GPU-1", powercap=tmp_path, nvml=nvml)
    assert meter.source == rows.UNKNOWN and meter.read_joules() is None
    assert "driver not loaded" in meter.describe() or "Insufficient Permissions" in meter.describe()


def test_a_missing_package_or_library_of_nvml_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", no_library)
    meter = meters.pick_meter("GPU-1", powercap=tmp_path)  # a driver without its library
    assert meter.source == rows.UNKNOWN and "NVML Shared Library Not Found" in meter.describe()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = meters.pick_meter("GPU-1", powercap=tmp_path)
    assert meter.source == rows.UNKNOWN and "pynvml is not installed" in meter.describe()


def test_rapl_adds_packages_and_unwraps_at_the_read(tmp_path: Path) -> None:
    first = make_package(tmp_path, "intel-rapl:0", 900, 999, "package-0")
    second = make_package(tmp_path, "intel-rapl:1", 10, 999, "package-1")
    make_package(tmp_path, "intel-rapl:0:0", 5, 999, "core")
    make_package(tmp_path, "intel-rapl:2", 5, 999, "psys")
    meter = meters.pick_meter(None, powercap=tmp_path)
    assert meter.source == "rapl" and meter.read_joules() == 0
    (first / "energy_uj").write_text("100")  # 900 → 999 → 0 → 100: 200 µJ
    (second / "energy_uj").write_text("60")
    assert meter.read_joules() == pytest.approx(250e-6)
    (first / "energy_uj").write_text("99")  # nearly a whole round
    assert meter.read_joules() == pytest.approx((250 + 999) * 1e-6)
    (second / "energy_uj").unlink()
    assert meter.read_joules() is None


def test_unreadable_rapl_is_absent_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path, "intel-rapl:0", 1, 999, "package-0")

    def refuse(*_: object) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(meters.RaplMeter, "__init__", refuse)
    absent = meters.open_rapl(tmp_path)
    assert isinstance(absent, meters.Absent) and "root only" in absent.why
    assert isinstance(meters.open_rapl(tmp_path / "none"), meters.Absent)


def test_the_estimate_is_cpu_seconds_times_watts() -> None:
    times = iter([100.0, 102.5])
    meter = meters.EstimateMeter(watts_per_core=8, cpu_seconds=lambda: next(times))
    assert meter.read_joules() == 20
    assert "8 W" in meter.describe()


@pytest.mark.parametrize(("text", "watts"), [("6.5", 6.5), ("", 10.0), ("many", 10.0), ("-3", 10.0)])
def test_watts_per_core_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, watts: float) -> None:
    monkeypatch.setenv(meters.WATTS_VARIABLE, text)
    assert meters.EstimateMeter().watts_per_core == watts


@pytest.mark.parametrize(("seconds", "short"), [(9.9, True), (10.0, False)])
def test_a_window_synchronises_at_both_edges_and_labels_short_ones(seconds: float, short: bool) -> None:
    clock = iter([50.0, 50.0 + seconds])
    synchronised: list[int] = []
    meter = meters.open_nvml("GPU-1", FakeNvml([0, 1_000, 4_000]))
    assert isinstance(meter, meters.NvmlMeter)
    with meters.Window(meter, lambda: synchronised.append(1), lambda: next(clock)) as window:
        assert len(synchronised) == 1
    reading = window.reading
    assert reading is not None and len(synchronised) == 2
    assert reading.joules == 3 and reading.seconds == pytest.approx(seconds)
    assert reading.short is short and reading.source == "nvml" and reading.cpu_seconds >= 0


def test_a_window_with_a_failed_reading_has_no_joules() -> None:
    meter = meters.open_nvml("GPU-1", FakeNvml([0, NvmlError("lost"), 4_000]))
    assert isinstance(meter, meters.NvmlMeter)
    with meters.Window(meter) as window:
        pass
    assert window.reading is not None and window.reading.joules is None
