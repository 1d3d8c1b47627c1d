"""Source distributions of the projects listed in sdists.txt, from the package index. Nothing in them is executed.

Downloads are cached, and checked against the index's digests. Only projects whose own metadata has a permissive licence
are used.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path

from pypi_simple import PYPI_SIMPLE_ENDPOINT, DigestMismatchError, NoDigestsError, NoSuchProjectError, PyPISimple
from requests import HTTPError, RequestException

from green_code.problems import Problem
from green_code_lab.corpus.archives import members
from green_code_lab.corpus.files import SOURCE_SUFFIXES, Report, SourceFile, in_skipped_folder, source_file
from green_code_lab.corpus.licences import licence_of, permissive
from green_code_lab.corpus.pinned import pinned

LIST = Path(__file__).with_name("sdists.txt")
_ENTRY = re.compile(r"([a-z0-9][a-z0-9.-]*)==([0-9][\w.+!]*)")
_TIMEOUT_SECONDS = 60
_SUFFIXES = (".tar.gz", ".zip")


def listed(text: str) -> list[tuple[str, str]]:
    """(project, version) of each line `name==version  # licence`; see `pinned`."""
    return pinned(text, LIST, _ENTRY, "name==version")


def index_url() -> str:
    """The simple index that pip uses on this machine."""
    url = os.environ.get("PIP_INDEX_URL")
    if not url:
        command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        url = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return url or PYPI_SIMPLE_ENDPOINT


def sdist_files(projects: list[tuple[str, str]], cache: Path, index: str, report: Report) -> Iterator[SourceFile]:
    """Files of each project, downloaded into `cache` if missing.

    Raises Problem where the index cannot be reached, there is no room, or no project could be downloaded.
    """
    downloaded = 0
    with PyPISimple(index) as client:
        for name, version in projects:
            if archive := _download(client, name, version, cache, report):
                downloaded += 1
                yield from _read(archive, name, version, report)
    if not downloaded:
        raise Problem(
            "bad_request",
            "none of the listed source distributions could be downloaded; check that pip reaches its index, or leave them out: --sources installed,jdk.",
        )


def _download(client: PyPISimple, name: str, version: str, cache: Path, report: Report) -> Path | None:
    """The archive in `cache`, or None where the index has no valid one."""
    for suffix in _SUFFIXES:
        if (cache / f"{name}-{version}{suffix}").is_file():
            return cache / f"{name}-{version}{suffix}"
    try:
        page = client.get_project_page(name, timeout=_TIMEOUT_SECONDS)
        for package in page.packages:
            suffix = next((s for s in _SUFFIXES if package.filename.endswith(s)), "")
            if package.package_type == "sdist" and package.version == version and suffix:
                path = cache / f"{name}-{version}{suffix}"
                part = path.with_name(f"{path.name}.part")
                client.download_package(package, part, timeout=_TIMEOUT_SECONDS)
                part.replace(path)
                return path
        reason = "no such version"
    except (NoSuchProjectError, NoDigestsError, DigestMismatchError, HTTPError) as error:
        reason = type(error).__name__
    except RequestException as error:  # whose text may contain the index's address with a password
        raise Problem(
            "bad_request",
            f"the package index cannot be reached ({type(error).__name__}) for {name}; try again (finished downloads stay), or leave the source distributions out: --sources installed,jdk.",
        ) from error
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"{name} cannot be written to {cache} ({error.strerror}); the listed source distributions need about 200 MB.",
        ) from error
    report.drop("projects not downloaded", f"{name} {version} ({reason})")
    return None


def _read(archive: Path, name: str, version: str, report: Report) -> Iterator[SourceFile]:
    metadata = [data for path, data in members(archive, ("PKG-INFO",)) if len(path.parts) == 2]
    licence = licence_of(BytesParser().parsebytes(metadata[0], headersonly=True)) if metadata else ""
    if not permissive(licence):
        report.drop("packages of other licences", f"{name} ({licence or 'no licence'})")
        return
    for path, data in members(archive, SOURCE_SUFFIXES):
        inner = path.parts[1:]  # below the folder name-version
        if inner and not in_skipped_folder(inner[:-1]):
            yield from source_file(name, version, licence, "/".join(inner), data, report)
