"""Packages of the Debian release that this machine runs, which carry sources: those in debian.txt. Nothing in them is installed or executed.

apt verifies what it downloads. Only packages whose copyright file has a permissive licence for all files (DEP-5) are used.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from green_code.problems import Problem
from green_code_lab.corpus.files import SOURCE_SUFFIXES, Report, SourceFile, in_skipped_folder, read_bytes, source_file
from green_code_lab.corpus.licences import permissive

LIST = Path(__file__).with_name("debian.txt")
_LICENCE_OF_ALL = re.compile(r"^Files:\s*\*\s*$.*?^License:\s*(.+?)\s*$", re.M | re.S)


def listed(text: str) -> list[str]:
    """The packages, one a line, before a comment."""
    return [name for line in text.splitlines() if (name := line.split("#")[0].strip())]


def debian_files(packages: list[str], cache: Path, report: Report) -> Iterator[SourceFile]:
    """Files of each package, downloaded into `cache` if missing.

    Raises:
        Problem: this is no Debian system.
    """
    for name in packages:
        if _archive(name, cache) is None:
            _download(name, cache)
        if (archive := _archive(name, cache)) is None:
            report.drop("projects not downloaded", name)
        else:
            yield from _read(archive, name, report)


def _archive(name: str, cache: Path) -> Path | None:
    return next(iter(sorted(cache.glob(f"{name}_*.deb"))), None)


def _download(name: str, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "--quiet", "download", name], cache)


def _read(archive: Path, name: str, report: Report) -> Iterator[SourceFile]:
    version, licence = archive.name.split("_")[1], ""
    found: list[tuple[PurePosixPath, bytes]] = []
    unpacked = archive.with_suffix(".tar")  # read member by member, and removed
    try:
        with unpacked.open("wb") as out:
            _run(["dpkg-deb", "--fsys-tarfile", str(archive.resolve())], archive.parent, out)
        with tarfile.open(unpacked) as members:
            for entry in members:
                path = PurePosixPath(entry.name)
                is_copyright = path.name == "copyright" and path.parent.name == name
                if (
                    entry.isfile()
                    and (is_copyright or path.suffix in SOURCE_SUFFIXES)
                    and (file := members.extractfile(entry))
                ):
                    data = read_bytes(file)
                    if is_copyright:
                        licence = _licence(data)
                    elif not in_skipped_folder(path.parts[1:-1]):  # below "."
                        found.append((path, data))
    except tarfile.TarError:
        report.drop("unreadable", name)
        return
    finally:
        unpacked.unlink(missing_ok=True)
    if not permissive(licence):
        report.drop("packages of other licences", f"{name} ({licence or 'no licence'})")
        return
    for path, data in found:
        yield from source_file(name, version, licence, str(path), data, report)


def _licence(copyright: bytes) -> str:
    """The licence of `Files: *`; "" where the file is written in prose."""
    found = _LICENCE_OF_ALL.search(copyright.decode("utf-8", "replace"))
    return found[1] if found else ""


def _run(command: list[str], folder: Path, out: object = subprocess.DEVNULL) -> None:
    try:
        subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.DEVNULL, check=False)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise Problem(
            "bad_request",
            f"the source debian needs {command[0]}, which this system lacks; leave debian out of --sources.",
        ) from error
