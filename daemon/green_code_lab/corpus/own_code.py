"""A user's own code: folders and archives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from green_code.globs import matching_glob
from green_code.problems import Problem
from green_code.settings import default_settings
from green_code_lab.corpus.archives import SUFFIXES, members
from green_code_lab.corpus.files import (
    OWN,
    SOURCE_SUFFIXES,
    Report,
    SourceFile,
    in_skipped_folder,
    language_of_file,
    read_source,
    skipped_folder,
    source_file,
)

_SECRET = default_settings().excluded_files


def own_files(path: Path, report: Report) -> Iterator[SourceFile]:
    """Files of one folder or archive, which is one project; `path` in them is relative to it.

    Hidden folders, build outputs, third-party code and what looks like a secret are left out; links are not followed.

    Raises Problem where there is no such folder or archive, or the archive is damaged.
    """
    path = path.resolve()
    if path.is_dir():
        yield from _folder(path, report)
    elif path.is_file() and path.name.lower().endswith(SUFFIXES):
        yield from _archive(path, report)
    else:
        raise Problem(
            "bad_request", f"{path} is neither a folder nor an archive ({', '.join(SUFFIXES)}); correct --from."
        )


def _folder(root: Path, report: Report) -> Iterator[SourceFile]:
    walk = os.walk(root, onerror=lambda error: report.drop("unreadable", str(error.filename)))
    for folder, subfolders, names in walk:
        for name in filter(skipped_folder, subfolders):
            report.drop("folders of builds, packages or settings", str(Path(folder, name)))
        subfolders[:] = sorted(name for name in subfolders if not skipped_folder(name))
        for name in sorted(names):
            file = Path(folder, name)
            if language_of_file(name) and not file.is_symlink():
                path = file.relative_to(root).as_posix()
                if not _is_secret(root.name, path, report):
                    yield from read_source(root.name, "", OWN, file, path, report)


def _archive(archive: Path, report: Report) -> Iterator[SourceFile]:
    project = next(archive.name[: -len(s)] for s in SUFFIXES if archive.name.lower().endswith(s))
    for path, data in members(archive, SOURCE_SUFFIXES):
        if not in_skipped_folder(path.parts[:-1]) and not _is_secret(project, path.as_posix(), report):
            yield from source_file(project, "", OWN, path.as_posix(), data, report)


def _is_secret(project: str, path: str, report: Report) -> bool:
    if matching_glob(_SECRET, path, ()) is None:
        return False
    report.drop("looks like a secret", f"{project}/{path}")
    return True
