"""Kernels are compiled once a session into a folder of their own, as a checkout may not have built any."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.kernels import binding
from green_code.kernels.binding import Kernel
from green_code.kernels.build import TARGETS, build, this_target


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kernel]:
    """All levels that this processor runs, best first."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    build(this_target(), folder)
    found = {level: Kernel(path, level) for level, path in binding.levels(folder).items()}
    assert found
    if Path("/proc/cpuinfo").is_file():
        assert list(found) == expected_levels(), "what this processor runs, best first"
    return found


def expected_levels() -> list[str]:
    """As Linux knows its processor."""
    target = this_target()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = next(line for line in lines if line.startswith(("flags", "Features")))
    flags = set(named.partition(":")[2].split())
    needed = {
        "avx512vnni": {"avx512_vnni", "avx512bw"},
        "avxvnni": {"avx_vnni"},
        "avx2": {"avx2", "fma"},
        "dotprod": {"asimddp"},
    }
    return [level for level in TARGETS[target][1] if needed.get(level, set()) <= flags]
