"""Compile the kernel with the compiler that the PyPI package `ziglang` carries, for this machine or for another.

    python -m green_code.kernels.build [--target linux-x64|linux-arm64|darwin-arm64|win32-x64|all] [--out DIR]

One library a level (lanes.h), and one that says which levels a processor runs (level.c), in a folder a target. A wheel
holds those of all targets: together they are smaller than the tokenizer.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
# No warning ends a build: some are of the machine (which GCC clang would take its headers from), not of these sources.
# Contraction would let the compiler round differently where a loop is unrolled differently; fma is written out.
_FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra")


def this_target() -> str:
    """Raises KeyError on a platform that no kernel is built for."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[platform.system()]
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    return f"{system}-{machine[platform.machine().lower()]}"


def library(level: str, target: str) -> str:
    """File name of a level's library; `level` of the one that tells levels apart is "level"."""
    return f"green-{level}{TARGETS[target][2]}"


def build(target: str, out: Path, flags: Sequence[str] = ()) -> list[Path]:
    """Compile all levels of a target into `out`/`target`, with further flags of the compiler.

    Raises:
        subprocess.CalledProcessError: the compiler refused; its words are on standard error.
    """
    triple, levels, _ = TARGETS[target]
    folder = out / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plainest = list(levels.values())[-1]
    sources = {"level": ("level.c", plainest), **{level: ("decoder.c", cpu) for level, cpu in levels.items()}}
    made = []
    for level, (source, processor) in sources.items():
        made.append(folder / library(level, target))
        with tempfile.TemporaryDirectory() as parts:
            # Linked for the plainest processor, so that the compiler makes its C library once and not for each level.
            compiled = Path(parts) / "kernel.o"
            position = () if "windows" in triple else ("-fPIC",)
            _zig(triple, processor, *_FLAGS, *flags, *position, "-c", str(HERE / source), "-o", str(compiled))
            linked = Path(parts) / made[-1].name
            _zig(triple, plainest, "-shared", "-s", str(compiled), "-o", str(linked))
            shutil.copy(linked, made[-1])  # alone: on Windows the linker leaves more beside it
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
