"""Packages of the npm registry that are listed in npm.txt. Nothing in them is executed or unpacked.

npm verifies what it downloads. Only packages whose own package.json has a permissive licence are used.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from green_code.problems import Problem
from green_code_lab.corpus.archives import members
from green_code_lab.corpus.files import SOURCE_SUFFIXES, Report, SourceFile, in_skipped_folder, source_file
from green_code_lab.corpus.licences import permissive
from green_code_lab.corpus.pinned import pinned

LIST = Path(__file__).with_name("npm.txt")

_ENTRY = re.compile(r"((?:@[\w.-]+/)?[\w.-]+)@([0-9][\w.+-]*)")
_BUILT = frozenset(("browser", "cjs", "es", "es6", "esm", "lib", "umd"))
"""Folders that a compiler wrote, where the sources are beside them."""


def listed(text: str) -> list[tuple[str, str]]:
    """(package, version) of each line `name@version  # licence`; see `pinned`."""
    return pinned(text, LIST, _ENTRY, "name@version")


def npm_files(packages: list[tuple[str, str]], cache: Path, report: Report) -> Iterator[SourceFile]:
    """Files of each package, downloaded into `cache` if missing.

    Raises:
        Problem: npm is missing.
    """
    for name, version in packages:
        archive = cache / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
        if not archive.is_file():
            _download(f"{name}@{version}", cache)
        if archive.is_file():
            yield from _read(archive, name, version, report)
        else:
            report.drop("projects not downloaded", f"{name} {version}")


def _download(package: str, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", package, "--ignore-scripts", "--silent", "--pack-destination", str(cache)]
    try:
        subprocess.run(command, cwd=cache, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise Problem(
            "bad_request", "the source npm needs npm (Node.js); install it, or leave npm out of --sources."
        ) from error


def _read(archive: Path, name: str, version: str, report: Report) -> Iterator[SourceFile]:
    licence = _licence(archive)
    if not permissive(licence):
        report.drop("packages of other licences", f"{name} ({licence or 'no licence'})")
        return
    sources = [(path.parts[1:], data) for path, data in members(archive, SOURCE_SUFFIXES)]  # below the folder "package"
    has_own = any(inner[:1] == ("src",) for inner, _ in sources)
    for inner, data in sources:
        is_built = inner[-1].endswith(".d.ts") or (has_own and inner[0] in _BUILT)
        if not is_built and not in_skipped_folder(inner[:-1]):
            yield from source_file(name, version, licence, "/".join(inner), data, report)


def _licence(archive: Path) -> str:
    for path, data in members(archive, ("package.json",)):
        if len(path.parts) == 2:
            try:
                return str(json.loads(data).get("license", ""))
            except (ValueError, AttributeError):
                return ""
    return ""
