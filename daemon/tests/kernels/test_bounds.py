"""The kernel keeps to its buffers and to what C defines: forbidden pages beside them, and the sanitizer's traps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from green_code.kernels import binding
from green_code.kernels.build import build, this_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forbids pages by mprotect")
UNDEFINED = ("-fsanitize=undefined", "-fsanitize-trap=undefined")


@pytest.fixture(scope="module")
def trapping(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Libraries that end the process where C leaves a result undefined."""
    folder: Path = tmp_path_factory.mktemp("trapping")
    build(this_target(), folder, UNDEFINED)
    return dict(binding.levels(folder))


@pytest.mark.parametrize("side", ["before", "after"])
def test_nothing_outside_of_a_buffer_is_touched_and_nothing_is_undefined(
    trapping: dict[str, Path], side: str
) -> None:
    assert trapping
    for level, library in trapping.items():
        command = [sys.executable, "-m", "tests.kernels.guarded", str(library), level, side]
        ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert ended.returncode == 0, (level, ended.stderr[-2000:])
