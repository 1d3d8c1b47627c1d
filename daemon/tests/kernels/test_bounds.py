"""The kernel stays within its buffers and within defined behaviour: forbidden pages beside them, and the sanitizers' checks.

AddressSanitizer's runtime is GCC's, where there is one: the compiler of the kernel has none of its own.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from green_code.kernels.build import build_level, this_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forbids pages by mprotect")
UNDEFINED = ("-fsanitize=undefined", "-fsanitize-trap=undefined")  # ends the process where C defines no result


ADDRESS = ("-fsanitize=address", "-fno-omit-frame-pointer")


@functools.cache
def address_sanitizer() -> list[str]:
    """The runtime of AddressSanitizer and the C++ library that it must find, to be preloaded; empty where this machine has none."""
    if sys.platform != "linux" or (gcc := shutil.which("gcc")) is None:
        return []
    names = ("libasan.so", "libstdc++.so")
    ended = [subprocess.run([gcc, f"-print-file-name={name}"], capture_output=True, text=True) for name in names]
    found = [Path(one.stdout.strip()) for one in ended]
    return [str(path.resolve()) for path in found] if all(path.is_absolute() for path in found) else []


def run_module(module: str, *arguments: str, sanitizer: Sequence[str] = ()) -> None:
    preloaded = {"LD_PRELOAD": " ".join(sanitizer), "ASAN_OPTIONS": "detect_leaks=0"} if sanitizer else {}
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
@pytest.mark.skipif(not address_sanitizer(), reason="has no runtime of AddressSanitizer")
@pytest.mark.parametrize("more", [(), ("--models",), ("--gguf",)], ids=["bundles", "models", "gguf"])
def test_hostile_files_damage_no_memory(libraries: dict[str, Path], tmp_path: Path, more: tuple[str, ...]) -> None:
    level = next(iter(libraries))
    library = build_level(this_target(), level, tmp_path, ADDRESS)
    run_module("tests.hostile", "--library", str(library), level, *more, sanitizer=address_sanitizer())
