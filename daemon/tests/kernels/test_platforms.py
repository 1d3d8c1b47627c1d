"""The kernel's sources on platforms that this machine is not: emulated where an emulator is installed, else the exports are read.

Quantisation and products must have the same bits everywhere. An emulator that is missing skips its tests with a sentence; in CI
(environment variable CI) it fails, where the platform's emulator is one that `.ci/run` installs.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from green_code.kernels import build
from green_code.kernels.binding import ABI
from green_code.kernels.build import CPU_LEVEL, LEVELS_ARM64, TARGETS, build_level
from tests.kernels.conftest import expected_levels

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulators run on Linux")
HOST = Path(__file__).with_name("host.c")
LIMIT_SECONDS = 120
EMULATORS = {"aarch64": ("qemu-aarch64", "qemu-aarch64-static"), "x86_64": ("qemu-x86_64", "qemu-x86_64-static")}
EXPORTS = {
    "green_abi", "green_apply_lens", "green_constants", "green_embed", "green_exit_probability", "green_key_bytes",
    "green_layout", "green_logits", "green_project_kv", "green_run_helper", "green_run_layers", "green_run_rows",
    "green_top_token_among",
    "green_top_tokens", "green_value_bytes",
}  # fmt: skip


def emulator(machine: str) -> str:
    found = next(filter(None, map(shutil.which, EMULATORS[machine])), None)
    if found is None:
        text = f"no {EMULATORS[machine][0]} (Debian's package qemu-user)"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return found


def compiled(folder: Path, target: str, level: str, triple: str = "", *flags: str) -> Path:
    """The program for a target's level; linked for the oldest processor, as the libraries are (build.py)."""
    usual, levels, _ = TARGETS[target]
    triple, oldest = triple or usual, list(levels.values())[-1]
    made = folder / f"{target}-{level}{'.exe' if 'windows' in triple else ''}"
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", triple)
    unused = "-Wno-unused-function"  # thread_pool.h is for several threads
    headers = [flag for flag in flags if flag != "-nostdlib"]
    compile_ = (f"-mcpu={levels[level]}", *build.FLAGS, unused, *headers, f"-I{build.HERE}", "-c", str(HOST))
    subprocess.run([*compiler, *compile_, "-o", f"{made}.o"], check=True)
    libraries = () if "windows" in triple or "-nostdlib" in flags else ("-lm", "-ldl")
    subprocess.run([*compiler, f"-mcpu={oldest}", *flags, f"{made}.o", "-o", str(made), *libraries], check=True)
    return made


def printed(*command: str | Path) -> list[str]:
    """The program's lines.

    Raises:
        AssertionError: it ended with an error.
    """
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert ended.returncode == 0, (command, ended.returncode, ended.stderr[-2000:])
    return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the best level of this machine gives; test_gemm.py compares that with NumPy."""
    lines = printed(compiled(tmp_path_factory.mktemp("host"), build.this_target(), expected_levels()[0]))
    assert len(lines) == len(set(lines)) == 12
    return lines


@pytest.mark.parametrize("level", LEVELS_ARM64)
def test_arm64_computes_the_same_bits(level: str, wanted: list[str], tmp_path: Path) -> None:
    emulate = emulator("aarch64")
    alone = ("-DFREESTANDING", "-nostdlib", "-static", "-fno-stack-protector", "-fno-builtin")
    program = compiled(tmp_path, "linux-arm64", level, "aarch64-linux-musl", *alone)
    processor = "max" if level == "dotprod" else "cortex-a53"  # the second has no dot products
    assert printed(emulate, "-cpu", processor, program) == wanted


@pytest.mark.skipif(build.this_target() != "linux-x64", reason="takes this machine's C library")
def test_a_processor_without_avx2_computes_the_same_bits(wanted: list[str], tmp_path: Path) -> None:
    emulate = emulator("x86_64")
    program = compiled(tmp_path, "linux-x64", "portable")
    assert printed(emulate, "-cpu", "Nehalem", program) == wanted


@pytest.mark.slow  # compiles a C library
@pytest.mark.skipif(build.this_target() != "linux-x64", reason="runs here")
def test_musl_computes_the_same_bits(wanted: list[str], tmp_path: Path) -> None:
    assert printed(compiled(tmp_path, "linux-x64", "portable", "x86_64-linux-musl", "-static")) == wanted


@pytest.mark.slow  # compiles a part of a C library
@pytest.mark.skipif(build.this_target() != "linux-x64", reason="runs here")
def test_musl_loads_the_libraries_that_are_linked_with_glibc(tmp_path: Path) -> None:
    """Its loader is itself every C library that one asks for, and knows no versions of symbols."""
    loader = Path("/lib/ld-musl-x86_64.so.1")
    if not loader.exists():
        pytest.skip("no musl (Debian's package musl)")
    program = compiled(tmp_path, "linux-x64", "portable", "x86_64-linux-musl", "-dynamic")
    made = [build_level("linux-x64", level, tmp_path) for level in ("portable", CPU_LEVEL)]
    [line] = printed(loader, program, *made)
    assert line.startswith(f"abi {ABI}, ") and line.endswith("levels 1")


@pytest.mark.slow  # compiles a C library
def test_wine_loads_the_library_and_computes_the_same_bits(wanted: list[str], tmp_path: Path) -> None:
    wine = next(filter(None, map(shutil.which, ("wine64", "wine", "/usr/lib/wine/wine64"))), None)
    if wine is None:
        pytest.skip("no wine (Debian's package wine64)")
    program = compiled(tmp_path, "win32-x64", "portable")
    made = [build_level("win32-x64", level, tmp_path) for level in ("portable", CPU_LEVEL)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINEPREFIX", str(tmp_path / "wine"))
        patch.setenv("WINEDEBUG", "-all")
        assert printed(wine, program) == wanted
        [line] = printed(wine, program, *(f"Z:{path}" for path in made))
    assert line.startswith(f"abi {ABI}, ") and line.endswith("levels 1")


def test_the_library_for_macos_exports_what_python_calls(tmp_path: Path) -> None:
    for level in LEVELS_ARM64:
        data = build_level("darwin-arm64", level, tmp_path).read_bytes()
        assert tempfile.gettempdir().encode() not in data, "it is the same wherever it is built"
        names, kind = mach_o_exports(data)
        assert kind == 6, "a dynamic library"  # MH_DYLIB
        assert names == EXPORTS
    names, _ = mach_o_exports(build_level("darwin-arm64", CPU_LEVEL, tmp_path).read_bytes())
    assert names == {"green_levels"}


_OF_THE_LINKER = {"__dso_handle", "_mh_dylib_header"}


def mach_o_exports(data: bytes) -> tuple[set[str], int]:
    """Names of external symbols that are defined, without the leading underscore, and the type of the file (mach-o/loader.h)."""
    magic, processor, _, kind, commands = struct.unpack_from("<5I", data)
    assert (magic, processor) == (0xFEEDFACF, 0x0100000C), "64 bits, arm64"
    at = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<2I", data, at)
        if command == 2:  # LC_SYMTAB
            symbols, count, strings, _ = struct.unpack_from("<4I", data, at + 8)
            entries = [struct.unpack_from("<IBBHQ", data, symbols + 16 * i) for i in range(count)]
            defined = [name for name, what, *_ in entries if what & 0x01 and what & 0x0E]  # N_EXT, N_TYPE is not N_UNDF
            names = {
                data[strings + name : data.index(0, strings + name)].decode().removeprefix("_") for name in defined
            }
            return names - _OF_THE_LINKER, kind
        at += size
    raise AssertionError("no table of symbols")
