"""A user's own code: folders and archives, as they stand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from green_code.globs import matching_glob
from green_code.problems import Problem
from green_code.settings import default_settings
from green_code_lab.corpus.archives import SUFFIXES, is_archive, members
from green_code_lab.corpus.files import (
    OWN,
    SourceFile,
    in_skipped_folder,
    language_of,
    read_bytes,
    skipped_folder,
    source_file,
)
from green_code_lab.corpus.report import Report

_SECRET = default_settings().excluded_files


def own_files(path: Path, report: Report) -> Iterator[SourceFile]:
    """Files of one folder or archive, which is one project; `path` in them is relative to it.

    Hidden folders, build outputs and other people's code (virtual environments, node_modules, vendor folders) are
    left out, and so is what looks like a secret, as in the editor; links are not followed.

    Raises:
        Problem: there is no such folder or archive, or the archive is damaged.
    """
    path = path.resolve()
    if path.is_dir():
        yield from _folder(path, report)
    elif path.is_file() and is_archive(path):
        yield from _archive(path, report)
    else:
        raise Problem(
            "bad_request",
            f"{path} is neither a folder nor an archive ({', '.join(SUFFIXES)}); correct --from.",
        )


def _folder(root: Path, report: Report) -> Iterator[SourceFile]:
    def unreadable(error: OSError) -> None:
        report.drop("unreadable", str(error.filename))

    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        for name in filter(skipped_folder, subfolders):
            report.drop("folders of builds, packages or settings", str(Path(folder, name)))
        subfolders[:] = sorted(name for name in subfolders if not skipped_folder(name))
        for name in sorted(names):
            file = Path(folder, name)
            if language_of(name) and not file.is_symlink():
                relative = file.relative_to(root).as_posix()
                if _is_secret(root.name, relative, report):
                    continue
                try:
                    with file.open("rb") as opened:
                        data = read_bytes(opened)
                except OSError:
                    report.drop("unreadable", str(file))
                    continue
                found = source_file(root.name, "", OWN, relative, data, report)
                if found:
                    yield found


def _archive(archive: Path, report: Report) -> Iterator[SourceFile]:
    project = next(archive.name[: -len(s)] for s in SUFFIXES if archive.name.lower().endswith(s))
    for path, data in members(archive, (".py", ".java")):
        if not in_skipped_folder(path.parts[:-1]) and not _is_secret(project, path.as_posix(), report):
            found = source_file(project, "", OWN, path.as_posix(), data, report)
            if found:
                yield found


def _is_secret(project: str, path: str, report: Report) -> bool:
    if matching_glob(_SECRET, path, ()) is None:
        return False
    report.drop("looks like a secret", f"{project}/{path}")
    return True
