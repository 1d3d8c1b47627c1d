"""The kernel stays within its buffers and within defined behaviour: forbidden pages beside them, and the sanitizer's traps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from green_code.kernels.build import build_level, this_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forbids pages by mprotect")
UNDEFINED = ("-fsanitize=undefined", "-fsanitize-trap=undefined")  # ends the process where C defines no result


def run_guarded(level: str, library: Path) -> None:
    command = [sys.executable, "-m", "tests.kernels.guarded", str(library), level]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == 0, (level, ended.stderr[-2000:])


def test_the_best_level_touches_nothing_outside_of_a_buffer(libraries: dict[str, Path]) -> None:
    run_guarded(*next(iter(libraries.items())))


@pytest.mark.slow
def test_no_level_touches_anything_outside_of_a_buffer_or_is_undefined(
    libraries: dict[str, Path], tmp_path: Path
) -> None:
    for level in libraries:
        run_guarded(level, build_level(this_target(), level, tmp_path, UNDEFINED))
