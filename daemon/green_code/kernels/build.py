"""Compile the kernel with the C compiler of the PyPI package `ziglang`, for this machine or for another.

    python -m green_code.kernels.build [--target linux-x64|linux-arm64|darwin-arm64|win32-x64|all] [--out DIR]

Each target has a folder with one library per level (simd.h), and one that tells which levels a processor runs (cpu_level.c). A
wheel holds those of all targets: together they are smaller than the tokenizer.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = HERE / "lib"
LEVELS_X64 = {
    "avx512vnni": "x86_64_v4+avx512vnni",
    "avxvnni": "x86_64_v3+avxvnni",
    "avx2": "x86_64_v3",
    "portable": "x86_64",
}
LEVELS_ARM64 = {"dotprod": "generic+dotprod", "portable": "generic"}
TARGETS = {
    "linux-x64": ("x86_64-linux-gnu.2.17", LEVELS_X64, ".so"),
    "linux-arm64": ("aarch64-linux-gnu.2.17", LEVELS_ARM64, ".so"),
    "darwin-arm64": ("aarch64-macos.11.0", LEVELS_ARM64, ".dylib"),
    "win32-x64": ("x86_64-windows-gnu", LEVELS_X64, ".dll"),
}
CPU_LEVEL = "level"
"""Stands for a level in the name of the library that tells levels apart."""
# The last two: newer compilers warn of several GCC installations on a machine, which is not about these sources.
WARNINGS = (
    "-Wall", "-Wextra", "-Werror", "-Wno-unknown-warning-option", "-Wno-error=gcc-install-dir-libstdcxx",
)  # fmt: skip
# Contraction would let the compiler round differently where it unrolls a loop differently; fma is written out.
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", *WARNINGS)


def this_target() -> str:
    """Raises KeyError on a platform that no kernel is built for."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[platform.system()]
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    return f"{system}-{machine[platform.machine().lower()]}"


def library(level: str, target: str) -> str:
    """File name of a level's library."""
    return f"green-{level}{TARGETS[target][2]}"


def build(target: str, out: Path) -> list[Path]:
    """Compile all libraries of a target into `out`/`target`.

    Raises:
        subprocess.CalledProcessError: the compiler failed; its messages are on standard error.
    """
    shutil.rmtree(out / target, ignore_errors=True)
    first = build_level(
        target, CPU_LEVEL, out
    )  # builds the target's C library, which the others find in the compiler's cache
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [first, *pool.map(lambda level: build_level(target, level, out), TARGETS[target][1])]


def build_level(target: str, level: str, out: Path, flags: Sequence[str] = ()) -> Path:
    """Compile one library into `out`/`target`, with more flags for the compiler.

    Raises:
        subprocess.CalledProcessError: the compiler failed; its messages are on standard error.
    """
    triple, levels, _ = TARGETS[target]
    oldest = list(levels.values())[-1]
    source = "cpu_level.c" if level == CPU_LEVEL else "decoder.c"
    made = out / target / library(level, target)
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        compiled, linked = Path(folder) / "kernel.o", Path(folder) / made.name
        position = () if "windows" in triple else ("-fPIC",)
        _zig(
            triple, levels.get(level, oldest), *FLAGS, *flags, *position, "-c", str(HERE / source), "-o", str(compiled)
        )  # fmt: skip
        # Linked for the oldest processor, so that the compiler builds its C library once and not for each level.
        name = (f"-Wl,-install_name,@rpath/{made.name}",) if "macos" in triple else ()  # else the path of this folder
        _zig(triple, oldest, "-shared", "-s", *name, str(compiled), "-o", str(linked))
        shutil.copy(linked, made)  # alone: on Windows the linker writes other files beside it
    return made


def _zig(triple: str, processor: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, f"-mcpu={processor}"]
    subprocess.run([*command, *arguments], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the CPU kernel.")
    parser.add_argument("--target", choices=(*TARGETS, "all"), help="default: this machine")
    parser.add_argument("--out", type=Path, default=LIBRARIES)
    args = parser.parse_args()
    for target in TARGETS if args.target == "all" else (args.target or this_target(),):
        for path in build(target, args.out):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
