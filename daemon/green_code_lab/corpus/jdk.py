"""Source archives of OpenJDK's family: the JDK's src.zip, and OpenJFX's, which has its layout and licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from green_code.problems import Problem
from green_code_lab.corpus.archives import members
from green_code_lab.corpus.files import Report, SourceFile, source_file

_LICENCE = "GPL-2.0-only WITH Classpath-exception-2.0"
_DATA_MODULES = ("jdk.localedata", "jdk.charsets")  # tables in the form of Java source
_VERSIONS = {  # classes that print the version of the JDK and of OpenJFX
    "VersionProps.java": re.compile(rb'java_version\s*=\s*"([^"]+)"'),
    "VersionInfo.java": re.compile(rb'RELEASE_VERSION\s*=\s*"([^"]+)"'),
}


def jdk_files(archive: Path, report: Report) -> Iterator[SourceFile]:
    """Files of a src.zip; a project is a module.

    Raises Problem where the archive is missing, damaged, or has no Java.
    """
    found = 0
    version = _version(archive)
    for path, data in members(archive, (".java",)):
        module = path.parts[0]
        if module in _DATA_MODULES or len(path.parts) < 2:
            continue
        found += 1
        yield from source_file(module, version, _LICENCE, "/".join(path.parts[1:]), data, report)
    if not found:
        raise Problem("bad_request", f"{archive} has no Java sources; `make corpus` fetches the JDK's src.zip.")


def _version(archive: Path) -> str:
    for path, data in members(archive, tuple(_VERSIONS)):
        if path.name in _VERSIONS and (version := _VERSIONS[path.name].search(data)):
            return version[1].decode()
    return "unknown"
