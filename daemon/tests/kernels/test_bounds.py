"""The kernel stays within its buffers and within defined behaviour: forbidden pages beside them, and the sanitizers' checks.

AddressSanitizer's runtime is GCC's, where there is one: the compiler of the kernel has none of its own.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from green_code.kernels.build import build_level, this_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forbids pages by mprotect")
UNDEFINED = ("-fsanitize=undefined", "-fsanitize-trap=undefined")  # ends the process where C defines no result


ADDRESS = ("-fsanitize=address", "-fno-omit-frame-pointer")


@functools.cache
def address_sanitizer() -> Path | None:
    """The runtime of AddressSanitizer, a library; None where this machine has none."""
    if sys.platform != "linux" or (gcc := shutil.which("gcc")) is None:
        return None
    found = subprocess.run([gcc, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    return Path(found).resolve() if Path(found).is_absolute() else None


def run_module(module: str, *arguments: str, sanitizer: Path | None = None) -> None:
    preloaded = {"LD_PRELOAD": str(sanitizer), "ASAN_OPTIONS": "detect_leaks=0"} if sanitizer else {}
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=os.environ | preloaded
    )
    assert ended.returncode == 0, (arguments, ended.stdout[-2000:], ended.stderr[-3000:])


def run_guarded(level: str, library: Path) -> None:
    run_module("tests.kernels.guarded", str(library), level)


def test_the_best_level_touches_nothing_outside_of_a_buffer(libraries: dict[str, Path]) -> None:
    run_guarded(*next(iter(libraries.items())))


@pytest.mark.slow
def test_no_level_touches_anything_outside_of_a_buffer_or_is_undefined(
    libraries: dict[str, Path], tmp_path: Path
) -> None:
    for level in libraries:
        run_guarded(level, build_level(this_target(), level, tmp_path, UNDEFINED))


@pytest.mark.slow
@pytest.mark.skipif(address_sanitizer() is None, reason="has no runtime of AddressSanitizer")
def test_hostile_bundles_damage_no_memory(libraries: dict[str, Path], tmp_path: Path) -> None:
    level = next(iter(libraries))
    library = build_level(this_target(), level, tmp_path, ADDRESS)
    run_module("tests.hostile", "--library", str(library), level, sanitizer=address_sanitizer())
