"""`make test-arm64`: runs pytest with a Python for arm64, emulated by qemu-user, on Debian: python -m tests.arm64 FOLDER LOCK [ARGUMENT …].

The interpreter comes from Debian's packages, which apt verifies and which are unpacked and not installed; the product's packages
come by the hashes of LOCK (release/locks.py), hypothesis in this environment's version. pytest and what else is pure Python comes from this
environment itself. What FOLDER has is used again.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

DAEMON = Path(__file__).resolve().parents[1]
APT = """
APT::Architecture "arm64"; APT::Architectures {{ "arm64"; }};
Dir::State "{0}"; Dir::State::status "{0}/status"; Dir::Cache "{0}"; APT::Sandbox::User "root";
"""
ONLY_NEEDED = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
PACKAGES = ("python3", "libstdc++6")  # of the second, wheels say nothing
WITHOUT = ("debconf", "cdebconf")
"""They ask questions when a package is installed."""
GLIBC = ("2014", "_2_17", "_2_28", "_2_34")  # what a wheel may ask for
NOT_EMULATED = tuple(
    f"tests/link/test_discovery.py::{name}"
    for name in (
        "test_an_engine_that_hangs_is_killed",
        "test_only_the_engine_that_hung_is_ended",
        "test_an_engine_that_answers_no_ping_fails_the_requests_that_wait",
    )
)
"""They end a process only if it runs this interpreter, and the file that another process runs is the emulator here."""
LAUNCHER = '#!/bin/sh\nexec qemu-aarch64 -L "{root}" "{python}" "$@"\n'


def interpreter(folder: Path) -> Path:
    """Debian's Python for arm64 within `folder`, with all that it needs."""
    root, apt = folder / "root", folder / "apt"
    if not root.exists():
        for part in ("lists/partial", "archives/partial", "debs"):
            (apt / part).mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        (apt / "conf").write_text(APT.format(apt), "utf-8")
        _apt(apt, "apt-get", "update", "-qq")
        needed = _apt(apt, "apt-cache", "depends", "--recurse", *ONLY_NEEDED, *PACKAGES)
        names = {line for line in needed.splitlines() if line[:1].isalpha()}.difference(WITHOUT)
        _apt(apt, "apt-get", "download", "-qq", *sorted(names))
        part = folder / "root.part"
        for package in sorted((apt / "debs").glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(part)], check=True)
        if not (part / "lib").exists():
            (part / "lib").symlink_to("usr/lib")
        part.rename(root)
    return next(path for path in (root / "usr/bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name))


def _apt(apt: Path, *command: str) -> str:
    environment = {**os.environ, "APT_CONFIG": str(apt / "conf")}
    return subprocess.run(
        command, cwd=apt / "debs", env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def packages(folder: Path, lock: Path, version: str) -> Path:
    """The packages of `lock` for that Python."""
    made = folder / "site"
    if not made.exists():
        part = folder / "site.part"
        shutil.rmtree(part, ignore_errors=True)
        hypothesis = f"hypothesis=={importlib.metadata.version('hypothesis')}"
        _pip(part, version, "--require-hashes", "--requirement", str(lock))
        _pip(part, version, "--no-deps", hypothesis)
        part.rename(made)
    return made


def _pip(target: Path, version: str, *what: str) -> None:
    platforms = [f"--platform=manylinux{glibc}_aarch64" for glibc in GLIBC]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:", *platforms]
    subprocess.run([*command, "--python-version", version, "--target", str(target), *what], check=True)


def main(folder: Path, lock: Path, *arguments: str) -> None:
    if missing := [name for name in ("qemu-aarch64", "apt-get", "dpkg") if shutil.which(name) is None]:
        sys.exit(f"{missing[0]} is missing: this needs Debian with its package qemu-user.")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = interpreter(folder)
    launcher = folder / "python"
    launcher.write_text(LAUNCHER.format(root=folder / "root", python=python), "utf-8")
    launcher.chmod(0o755)
    modules = [packages(folder, lock, python.name.removeprefix("python")), *site.getsitepackages()]
    # Not in PYTHONPATH, which tests set. Compiled modules of the last folders have names of another platform.
    own = folder / "root/usr/lib/python3/dist-packages"
    own.mkdir(exist_ok=True)
    children = f"import sys; sys.executable = {str(launcher)!r}"  # for processes that a test starts
    (own / "arm64.pth").write_text("\n".join([children, *map(str, modules)]), "utf-8")
    compiled = {
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        "PYTHONDONTWRITEBYTECODE": "",
    }  # to compile takes longest here
    environment = {**os.environ, "PYTHONPATH": str(DAEMON), **compiled}
    deselected = [f"--deselect={test}" for test in NOT_EMULATED]
    os.execve(launcher, [str(launcher), "-m", "pytest", *deselected, *arguments], environment)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
