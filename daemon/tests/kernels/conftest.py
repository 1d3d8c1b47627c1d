"""Kernels are compiled once a session into a folder of their own, as a checkout may not have built any."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.kernels import binding
from green_code.kernels.binding import Kernel
from green_code.kernels.build import build, this_target


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kernel]:
    """All levels that this processor runs, best first."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    build(this_target(), folder)
    return {level: Kernel(path, level) for level, path in binding.levels(folder).items()}
