"""Source archives of OpenJDK's family: the JDK's src.zip, and OpenJFX's, which has its layout and licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from green_code.problems import Problem
from green_code_lab.corpus.archives import members
from green_code_lab.corpus.files import SourceFile, source_file
from green_code_lab.corpus.report import Report

_LICENCE = "GPL-2.0-only WITH Classpath-exception-2.0"
_DATA_MODULES = ("jdk.localedata", "jdk.charsets")  # tables in the form of Java source
_VERSIONS = {
    "VersionProps.java": re.compile(rb'java_version\s*=\s*"([^"]+)"'),
    "VersionInfo.java": re.compile(rb'RELEASE_VERSION\s*=\s*"([^"]+)"'),
}
"""Classes from which the JDK and OpenJFX print their versions."""


def jdk_files(archive: Path, report: Report) -> Iterator[SourceFile]:
    """Files of a src.zip; a project is a module.

    Raises:
        Problem: the archive is missing, damaged, or holds no Java.
    """
    found = 0
    version = _version(archive)
    for path, data in members(archive, (".java",)):
        module = path.parts[0]
        if module in _DATA_MODULES or len(path.parts) < 2:
            continue
        found += 1
        file = source_file(module, version, _LICENCE, "/".join(path.parts[1:]), data, report)
        if file:
            yield file
    if not found:
        raise Problem(
            "bad_request", f"{archive} holds no Java sources; `make corpus` fetches the JDK's src.zip."
        )


def _version(archive: Path) -> str:
    for path, data in members(archive, tuple(_VERSIONS)):
        version = _VERSIONS[path.name].search(data) if path.name in _VERSIONS else None
        if version:
            return version[1].decode()
    return "unknown"
