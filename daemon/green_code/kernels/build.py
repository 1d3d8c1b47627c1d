"""Compile the kernel with the compiler that the PyPI package `ziglang` carries, for this machine or for another.

    python -m green_code.kernels.build [--target linux-x64|linux-arm64|darwin-arm64|win32-x64] [--out DIR]

One library a level (lanes.h), and one that says which levels a processor runs (level.c). Libraries lie beside this
file, where binding.py looks for them.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
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
# Contraction would let the compiler round differently where a loop is unrolled differently; fma is written out.
_FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror", "-shared")


def this_target() -> str:
    """Raises KeyError on a platform that no kernel is built for."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[platform.system()]
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    return f"{system}-{machine[platform.machine().lower()]}"


def library(level: str, target: str) -> str:
    """File name of a level's library; `level` of the one that tells levels apart is "level"."""
    return f"green-{level}{TARGETS[target][2]}"


def build(target: str, out: Path) -> list[Path]:
    """Compile all levels of a target into `out`.

    Raises:
        subprocess.CalledProcessError: the compiler refused; its words are on standard error.
    """
    triple, levels, _ = TARGETS[target]
    plainest = list(levels.values())[-1]
    made = [_compile("level.c", triple, plainest, out / library("level", target))]
    for level, processor in levels.items():
        made.append(_compile("decoder.c", triple, processor, out / library(level, target)))
    return made


def _compile(source: str, triple: str, processor: str, to: Path) -> Path:
    position = () if "windows" in triple else ("-fPIC",)
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        triple,
        f"-mcpu={processor}",
        *_FLAGS,
        *position,
    ]
    subprocess.run([*command, "-o", str(to), str(HERE / source)], check=True)
    return to


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the CPU kernel.")
    parser.add_argument("--target", choices=TARGETS, default=None, help="default: this machine")
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    for path in build(args.target or this_target(), args.out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
