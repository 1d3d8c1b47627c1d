"""Kernels are compiled once a session into a folder of their own, because a checkout may not have built any."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from green_code.kernels import binding
from green_code.kernels.binding import Kernel
from green_code.kernels.build import CPU_LEVEL, TARGETS, build_level, this_target

PROCESSOR = Path("/proc/cpuinfo")


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Level → library of all levels that this processor runs, best first."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    expected, target = expected_levels(), this_target()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda level: build_level(target, level, folder), (*expected, CPU_LEVEL)))
    found = dict(binding.levels(folder))
    assert found
    if PROCESSOR.is_file():
        assert list(found) == expected
    return found


@pytest.fixture(scope="session")
def kernels(libraries: dict[str, Path]) -> dict[str, Kernel]:
    return {level: Kernel(path, level) for level, path in libraries.items()}


def expected_levels() -> list[str]:
    """The levels of this processor, best first, as Linux describes it; all levels on another system."""
    known = list(TARGETS[this_target()][1])
    if not PROCESSOR.is_file():
        return known
    lines = PROCESSOR.read_text().splitlines()
    named = next(line for line in lines if line.startswith(("flags", "Features")))
    flags = set(named.partition(":")[2].split())
    needed = {
        "avx512vnni": {"avx512_vnni", "avx512bw"},
        "avxvnni": {"avx_vnni"},
        "avx2": {"avx2", "fma"},
        "dotprod": {"asimddp"},
    }
    return [level for level in known if needed.get(level, set()) <= flags]
