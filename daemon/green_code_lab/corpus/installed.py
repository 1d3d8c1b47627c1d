"""The running interpreter's standard library and its permissively licensed packages."""

from __future__ import annotations

import importlib.metadata
import sysconfig
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from green_code_lab.corpus.files import Report, SourceFile, in_skipped_folder, language_of_file, read_source
from green_code_lab.corpus.licences import licence_of, permissive

_OURSELVES = ("green-code", "green-code-lab")
_LIBRARY_WITHOUT = {"site-packages", "dist-packages", "lib2to3", "idlelib", "__phello__"}


def installed_files(report: Report, projects: Container[str] | None = None) -> Iterator[SourceFile]:
    """All files, or those of some projects; the standard library is `cpython`."""
    library = Path(sysconfig.get_path("stdlib"))
    version = sysconfig.get_python_version()
    for path in sorted(library.rglob("*.py")) if projects is None or "cpython" in projects else ():
        parts = path.relative_to(library).parts
        if not _LIBRARY_WITHOUT & set(parts):
            yield from read_source("cpython", version, "PSF-2.0", path, "/".join(parts), report)
    for distribution in importlib.metadata.distributions():
        metadata: Any = distribution.metadata  # parsed anew at each access
        name, licence = (metadata.get("Name") or "").lower(), licence_of(metadata)
        if not name or name in _OURSELVES or (projects is not None and name not in projects):
            continue
        if not permissive(licence):
            report.drop("packages of other licences", f"{name} ({licence or 'no licence'})")
            continue
        version = metadata.get("Version") or ""
        for file in distribution.files or []:
            if language_of_file(file.name) and not in_skipped_folder(file.parts[:-1]):
                path = Path(str(distribution.locate_file(file)))
                yield from read_source(name, version, licence, path, file.as_posix(), report)
